package iptables

import (
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// A port counts the connections that its rule has translated, and nothing else; a port that
// has no rule is not counted.
func TestCount(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		w := newWorld(t, h, k)
		p := w.policy(nil)
		count := func() map[model.PortBinding]firewall.Counter {
			t.Helper()
			counted, err := w.b.Count(t.Context(), p.Ports)
			if err != nil {
				t.Fatal(err)
			}
			return counted
		}
		if have := count(); len(have) > 0 {
			t.Errorf("without rules: %v", have)
		}
		w.apply(p)
		w.expect("lan tcp 192.0.2.1:8080 -> a lan\n host tcp 192.0.2.1:8080 -> a *\n lan udp 192.0.2.1:8080 -> a lan\n lan tcp 192.0.2.1:8180 -> c lan")
		have := count()
		for _, port := range p.Ports {
			want := uint64(0)
			if k.Has(port.Container.Addr()) {
				want = map[string]uint64{"tcp 8080": 2, "udp 8080": 1, "tcp 8180": 1}[port.Proto.String()+" "+span(port.Host.Port(), 1, "")]
			}
			if c, ok := have[port.PortBinding]; !ok || c.Connections != want {
				t.Errorf("%s: %d (%v), want %d", port.PortBinding, c.Connections, ok, want)
			}
		}
		stranger := p.Ports[0]
		stranger.Host = p.Ports[2].Host
		if c, err := w.b.Count(t.Context(), []firewall.Port{stranger}); err != nil || len(c) > 0 {
			t.Errorf("a port without a rule: %v %v", c, err)
		}
	})
}

func TestCounters(t *testing.T) {
	have := counters("*nat\n:MYBR-PORTS - [0:0]\n[3:180] -A MYBR-PORTS -p tcp -j X\n[1:60] -A MYBR-PORTS-2 -p tcp -j Y\n[a:1] -A MYBR-PORTS z\n[2:9] -A OTHER ] -A MYBR-PORTS q\nCOMMIT\n", "MYBR-PORTS")
	if len(have) != 1 || have["-p tcp -j X"] != 3 {
		t.Errorf("have %v", have)
	}
}
