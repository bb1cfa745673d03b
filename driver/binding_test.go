package driver

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// The default host address of a network, as the option host_binding_ipv4 gives it: 0.0.0.0
// is Docker's default and stands for all addresses of both families, and [::] for those of
// IPv6. A published port that names 0.0.0.0 itself is one of IPv4 alone.
func TestDefaultHostAddress(t *testing.T) {
	open := []model.PortSpan{{Proto: model.TCP, First: 80, Count: 1}}
	for _, c := range []struct {
		binding, host string
		want          []string // published where both families translate
		open4, open6  []model.PortSpan
	}{
		{"", "", []string{"tcp 8080 0.0.0.0→10.1.0.2:80 ::→[fd00:1::2]:80"}, open, open},
		{"0.0.0.0", "", []string{"tcp 8080 0.0.0.0→10.1.0.2:80 ::→[fd00:1::2]:80"}, open, open},
		{"::ffff:0.0.0.0", "", []string{"tcp 8080 0.0.0.0→10.1.0.2:80 ::→[fd00:1::2]:80"}, open, open},
		{"::", "", []string{"tcp 8080 ::→[fd00:1::2]:80"}, nil, open},
		{"127.0.0.1", "", []string{"tcp 8080 127.0.0.1→10.1.0.2:80"}, open, nil},
		{"0.0.0.0", "0.0.0.0", []string{"tcp 8080 0.0.0.0→10.1.0.2:80"}, open, nil},
		{"0.0.0.0", "::", []string{"tcp 8080 ::→[fd00:1::2]:80"}, nil, open},
	} {
		ports := fmt.Sprintf(`[{"Proto":6,"Port":80,"HostPort":8080,"HostIP":%q}]`, c.host)
		for _, mode := range []string{"nat", "routed"} {
			t.Run(fmt.Sprintf("%q and %q, %s", c.binding, c.host, mode), func(t *testing.T) {
				w := newWorld(t)
				user := userOptions(modeKey(model.IPv4), mode, modeKey(model.IPv6), mode)
				if c.binding != "" {
					user[optHostBinding] = c.binding
				}
				must(t, w.dualNetwork(netA, user, "10.1.0.0/24", "fd00:1::/64"))
				must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24", "fd00:1::2/64"))
				_, err := w.Join(ctx, decode[network.JoinRequest](t, fmt.Sprintf(
					`{"NetworkID":%q,"EndpointID":%q,"SandboxKey":%q,"Options":{%q:%s}}`, netA, ep1, sandbox, optPortMap, ports)))
				must(t, err)
				must(t, w.publish(netA, ep1, ports, false))
				e := w.endpointRecord(ep1)
				if mode == "nat" {
					if have := requestTexts(w.ports.reqs); !slices.Equal(have, c.want) || e.OpenV4 != nil || e.OpenV6 != nil {
						t.Errorf("have %q, opened %v and %v\nwant %q", have, e.OpenV4, e.OpenV6, c.want)
					}
				} else if w.ports.reqs != nil || !reflect.DeepEqual(e.OpenV4, c.open4) || !reflect.DeepEqual(e.OpenV6, c.open6) {
					t.Errorf("have %v and %v, published %v\nwant %v and %v", e.OpenV4, e.OpenV6, w.ports.reqs, c.open4, c.open6)
				}
			})
		}
	}
}

// A network whose record has 0.0.0.0 as its default host address publishes on both families.
func TestRecordedDefaultHostAddress(t *testing.T) {
	w := newWorld(t)
	must(t, w.dualNetwork(netA, nil, "10.1.0.0/24", "fd00:1::/64"))
	_, err := w.store.Update(func(tx *store.Tx) error {
		n, err := tx.Network(netA)
		must(t, err)
		n.HostBinding = netip.IPv4Unspecified()
		return tx.PutNetwork(n)
	})
	must(t, err)
	must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24", "fd00:1::2/64"))
	must(t, w.pec(netA, ep1, port8080))
	if have, want := requestTexts(w.ports.reqs), []string{"tcp 8080 0.0.0.0→10.1.0.2:80 ::→[fd00:1::2]:80"}; !slices.Equal(have, want) {
		t.Errorf("have %q, want %q", have, want)
	}
}
