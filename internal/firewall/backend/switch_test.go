package backend_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/backend"
	"github.com/mybr/mybr/internal/firewall/iptables"
	"github.com/mybr/mybr/internal/firewall/nftables"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// One backend takes over from the other: a connection by a published port goes on, new ones
// come in, and nothing of the other one stays; nothing of either, when there is nothing to do.
func TestSwitch(t *testing.T) {
	h := nettest.New(t)
	lan, box := h.Peer("lan"), h.Peer("box")
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{"192.0.2.1/24"}}, lan, nettest.End{Name: "eth0", Addresses: []string{"192.0.2.2/24"}})
	h.Run("ip", "link", "add", "br0", "type", "bridge")
	h.Address("br0", "172.18.0.1/16")
	h.Run("ip", "link", "set", "br0", "up")
	h.Connect(nettest.End{Name: "va", Master: "br0"}, box, nettest.End{Name: "eth0", Addresses: []string{"172.18.0.2/16"}})
	box.Route("0.0.0.0/0", "172.18.0.1")
	box.Echo("tcp4", "0.0.0.0:80")
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Run("iptables", "-P", "FORWARD", "DROP")

	p := firewall.Policy{
		Networks: []firewall.Network{{ID: "n", Bridge: "br0", ICC: true, V4: firewall.Family{Prefix: netip.MustParsePrefix("172.18.0.0/16"), Masquerade: true, Hairpin: true}}},
		Ports: []firewall.Port{{Bridge: "br0", ICC: true, Link: "va", PortBinding: model.PortBinding{Proto: model.TCP, Count: 1,
			Host: netip.MustParseAddrPort("0.0.0.0:8080"), Container: netip.MustParseAddrPort("172.18.0.2:80")}}},
	}
	left := func(kind string) (text string) {
		if kind == nftables.Name {
			return h.Run("nft", "list", "tables")
		}
		return h.Run("iptables-save") + h.Run("ip6tables-save")
	}
	words := map[string][]string{nftables.Name: {"table ip mybr", "table ip6 mybr"}, iptables.Name: {"MYBR-PORTS", "MYBR-POSTROUTING", "MYBR-EGRESS"}}
	other := map[string]string{nftables.Name: iptables.Name, iptables.Name: nftables.Name}
	var b firewall.Backend
	use := func(kind string, p firewall.Policy) {
		t.Helper()
		var err error
		if b, err = backend.Open(kind, firewall.Config{}); err != nil {
			t.Fatal(err)
		}
		steps, err := b.Plan(t.Context(), nil, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range steps.Changes() {
			if _, ok := b.Told(line); !ok {
				t.Errorf("%s can't read its own %q", kind, line)
			}
		}
		if err := steps.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		if steps, err := b.Plan(t.Context(), nil, p); err != nil || len(steps) > 0 {
			t.Errorf("%s: still to do: %q, %v", kind, steps.Changes(), err)
		}
		for _, word := range words[other[kind]] {
			if text := left(other[kind]); strings.Contains(text, word+"\n") || strings.Contains(text, word+" ") {
				t.Errorf("with %s there is\n%s", kind, text)
			}
		}
	}
	use(iptables.Name, p)
	c, err := lan.Dial("tcp4", "192.0.2.1:8080", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := nettest.AskOn(c, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{nftables.Name, iptables.Name, nftables.Name} {
		use(kind, p)
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("still there?")); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 64)); err != nil || n == 0 {
			t.Fatalf("%s: the connection: %d, %v", kind, n, err)
		}
		if a, err := lan.Ask("tcp4", "192.0.2.1:8080", 5*time.Second); err != nil || a.Server != "box" {
			t.Errorf("%s: a new connection: %+v, %v", kind, a, err)
		}
	}
	for _, kind := range []string{iptables.Name, nftables.Name} {
		use(other[kind], p)
		use(kind, firewall.Policy{})
		for _, k := range []string{iptables.Name, nftables.Name} {
			if text := left(k); strings.Contains(text, "MYBR-") || strings.Contains(text, " mybr") {
				t.Errorf("%s has left\n%s", kind, text)
			}
		}
	}
}
