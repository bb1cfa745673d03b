package iptables

import (
	"slices"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// The host takes from a bridge what it is to take, and there is a chain for it only as
// long as that isn't everything. The jump is in front of other rules, also of those that came later.
func TestInput(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		w := newWorld(t, h, k)
		h.Echo(w.Net("tcp"), k.In("0.0.0.0:90"))
		with := func(in firewall.Input) firewall.Policy {
			p := w.Policy(nil)
			if p.Networks[0].V6.Input = in; k.Family == model.IPv4 {
				p.Networks[0].V4.Input, p.Networks[0].V6.Input = in, firewall.InputAll
			}
			return p
		}
		jumps := func(want int) {
			t.Helper()
			rules := k.rules(h, "filter", "INPUT")
			if at := slices.Index(rules, "-j "+chainInput); at != want {
				t.Errorf("INPUT is %q", rules)
			}
		}
		all, none := with(firewall.InputAll), with(firewall.InputNone)
		k.Do(h, "-A INPUT -j ACCEPT")
		firewalltest.Apply(t, w.b, nil, all)
		jumps(-1)
		w.Expect("a tcp 172.18.0.1:90 -> host a\n a tcp 192.0.2.1:90 -> host a\n c tcp 172.19.0.1:90 -> host c")
		matters := func(want bool) {
			t.Helper()
			if got := w.b.Matters("filter", "INPUT", nil); got != want {
				t.Errorf("a rule of others in INPUT matters: %t, want %t", got, want)
			}
		}
		matters(false)
		firewalltest.Apply(t, w.b, &all, none)
		jumps(0)
		if _, err := w.b.Plan(t.Context(), nil, all); err != nil { // to tell what has changed since
			t.Fatal(err)
		}
		matters(true)
		const dropped = `
			a tcp 172.18.0.1:90 -> nothing
			a tcp 192.0.2.1:90 -> nothing
			c tcp 172.19.0.1:90 -> host c
			a tcp lan:80 -> lan 192.0.2.1
			lan tcp 192.0.2.1:8080 -> a lan`
		w.Expect(dropped)
		k.Do(h, "-I INPUT -j ACCEPT")
		firewalltest.Apply(t, w.b, nil, none)
		jumps(0)
		w.Expect(dropped)
		one := none
		one.Networks, one.Ports = none.Networks[:1], nil
		firewalltest.Apply(t, w.b, &none, one)
		jumps(0)
		firewalltest.Apply(t, w.b, &one, all)
		jumps(-1)
		w.Expect("a tcp 172.18.0.1:90 -> host a")
		if _, there := parseSave(k.save(h)).chain("filter", chainInput); there {
			t.Errorf("%s is there without need", chainInput)
		}
	})
}

// Router advertisements are dropped, from that bridge, and other ICMPv6 isn't.
func TestInputNoAdvertisements(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"nft", "legacy"} {
		t.Run(name, func(t *testing.T) {
			h := nettest.New(t)
			k := kindOf(t, name, ipv6())
			w := newWorld(t, h, k)
			k.Do(h, "-I INPUT -j ACCEPT")
			p := w.Policy(nil)
			w.Apply(p)
			if !w.advertises("a", "172.18.0.1", 5*time.Second) {
				t.Error("without the filter no advertisement arrives")
			}
			p.Networks[0].V6.Input = firewall.InputNoAdvertisements
			w.Apply(p)
			if w.advertises("a", "172.18.0.1", 300*time.Millisecond) {
				t.Error("an advertisement arrives")
			}
			if !w.advertises("c", "172.19.0.1", 5*time.Second) {
				t.Error("from another network none arrives")
			}
			w.Pings(true, "a host, host a, a b")
		})
	}
}

// advertises sends a router advertisement to an address of the host and reports whether it
// arrives in time.
func (w *world) advertises(from, to string, timeout time.Duration) bool {
	w.T.Helper()
	l := w.Host.ListenPacket("ip6:ipv6-icmp", "::")
	defer l.Close()
	w.Advertise(from, to)
	_ = l.SetReadDeadline(time.Now().Add(timeout))
	for got := make([]byte, 1500); ; {
		n, by, err := l.ReadFrom(got)
		if err != nil {
			return false
		}
		if n == 16 && got[0] == 134 && by.String() == w.k.In(firewalltest.Address(from)) {
			return true
		}
	}
}
