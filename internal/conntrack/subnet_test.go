package conntrack

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

func TestPastRules(t *testing.T) {
	subnet := func(prefix string, s Subnet) Subnet { s.Prefix = netip.MustParsePrefix(prefix); return s }
	f := filter{
		subnets: []Subnet{
			subnet("172.18.0.0/16", Subnet{Masquerade: true, Closed: true}),
			subnet("172.19.0.0/16", Subnet{Closed: true}),
			subnet("172.20.0.0/16", Subnet{Closed: true, Internal: true}),
			subnet("172.21.0.0/16", Subnet{Masquerade: true}),
			subnet("172.22.0.0/16", Subnet{Masquerade: true, Closed: true, Apart: true}),
		},
		local: map[netip.Addr]bool{},
	}
	for _, a := range []string{"192.0.2.1", "172.18.0.1", "172.19.0.1", "172.20.0.1", "172.22.0.1"} {
		f.local[netip.MustParseAddr(a)] = true
	}
	const lan = "192.0.2.9:53"
	for _, c := range []struct {
		name, from, asked, answers, translated string // answers and translated: "" is as without translation
		answered, expected                     bool
		want                                   bool
	}{
		{name: "out, not masqueraded", from: "172.18.0.2:4242", asked: lan, want: true},
		{name: "out, not masqueraded and answered", from: "172.18.0.2:4242", asked: lan, answered: true},
		{name: "out, masqueraded", from: "172.18.0.2:4242", asked: lan, translated: "192.0.2.1:4242"},
		{name: "out of a network without masquerade", from: "172.19.0.2:4242", asked: lan},
		{name: "to the host", from: "172.18.0.2:4242", asked: "192.0.2.1:53"},
		{name: "to a group", from: "172.18.0.2:4242", asked: "239.255.255.250:1900"},
		{name: "to all", from: "172.18.0.2:68", asked: "255.255.255.255:67"},
		{name: "to a neighbour", from: "172.18.0.2:4242", asked: "172.18.0.3:53"},
		{name: "to a neighbour's published port", from: "172.18.0.2:4242", asked: "192.0.2.9:53", answers: "172.18.0.3:53"},
		{name: "to another network's published port, not masqueraded", from: "172.18.0.2:4242", asked: "192.0.2.9:53", answers: "172.19.0.3:53", want: true},
		{name: "in", from: "192.0.2.9:4242", asked: "172.18.0.2:53", answered: true, want: true},
		{name: "in, announced", from: "192.0.2.9:4242", asked: "172.18.0.2:53", answered: true, expected: true},
		{name: "in by a published port", from: "192.0.2.9:4242", asked: "192.0.2.1:53", answers: "172.18.0.2:53", answered: true},
		{name: "in from the host", from: "172.18.0.1:4242", asked: "172.18.0.2:53", answered: true},
		{name: "in from the host by its other address", from: "192.0.2.1:4242", asked: "172.18.0.2:53", answered: true},
		{name: "in, where that is allowed", from: "192.0.2.9:4242", asked: "172.21.0.2:53", answered: true},
		{name: "from another network", from: "172.19.0.2:4242", asked: "172.18.0.2:53", answered: true, want: true},
		{name: "out of an internal network", from: "172.20.0.2:4242", asked: lan, answered: true, want: true},
		{name: "out of an internal network to the host", from: "172.20.0.2:4242", asked: "172.20.0.1:53", answered: true},
		{name: "to a neighbour that it is kept from", from: "172.22.0.2:4242", asked: "172.22.0.3:53", answered: true, want: true},
		{name: "kept from neighbours, to the host", from: "172.22.0.2:4242", asked: "172.22.0.1:53", answered: true},
		{name: "kept from neighbours, from the host", from: "172.22.0.1:4242", asked: "172.22.0.3:53", answered: true},
		{name: "others", from: "192.0.2.9:4242", asked: "198.51.100.7:53"},
	} {
		l := flow{proto: model.UDP, from: netip.MustParseAddrPort(c.from), asked: netip.MustParseAddrPort(c.asked), answered: c.answered, expected: c.expected}
		l.answers, l.translated = l.asked, l.from
		if c.answers != "" {
			l.answers = netip.MustParseAddrPort(c.answers)
		}
		if c.translated != "" {
			l.translated = netip.MustParseAddrPort(c.translated)
		}
		if got := f.pastRules(l); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// Flows that began while a subnet had no rules end when it has them again: those that would
// never be masqueraded, and those that rules keep out. What is sure is not looked at.
func TestFlowsThatBeganWithoutRules(t *testing.T) { inBoth(t, testFlowsThatBeganWithoutRules) }

func testFlowsThatBeganWithoutRules(t *testing.T, f testFamily) {
	h := nettest.New(t)
	lan, router, a := h.Peer("lan"), h.Peer("router"), h.Peer("a")
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.1/24")}}, lan, nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.2/24")}})
	h.Connect(nettest.End{Name: "eth1", Addresses: []string{f.say("198.51.100.1/24")}}, router, nettest.End{Name: "eth0", Addresses: []string{f.say("198.51.100.2/24")}})
	h.Connect(nettest.End{Name: "va", Addresses: []string{f.say("172.18.0.1/24")}}, a, nettest.End{Name: "eth0", Addresses: []string{f.say("172.18.0.2/24")}})
	a.Route(f.say("0.0.0.0/0"), f.say("172.18.0.1"))
	router.Route(f.say("172.18.0.0/24"), f.say("198.51.100.1"))
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	for _, server := range []*nettest.Host{lan, router, a} {
		server.Echo("udp"+f.suffix, f.say("0.0.0.0:53"))
	}
	h.Run(f.command, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID") // turns tracking on
	h.Run(f.command, "-t", "nat", "-A", "POSTROUTING", "-j", "RETURN")           // and translation

	out, in := newClient(t, a, f.say("192.0.2.2:53")), newClient(t, router, f.say("172.18.0.2:53"))
	if _, err := nettest.AskOn(out.c, 200*time.Millisecond); err == nil {
		t.Fatal("an answer without a way back")
	}
	if got := in.server(); got != "a" {
		t.Fatal(got)
	}
	h.Run(f.command, "-t", "nat", "-I", "POSTROUTING", "-s", f.say("172.18.0.0/24"), "-o", "eth+", "-j", "MASQUERADE")
	h.Run(f.command, "-A", "FORWARD", "-o", "va", "-m", "conntrack", "!", "--ctstate", "RELATED,ESTABLISHED,DNAT", "-j", "DROP")
	if _, err := nettest.AskOn(out.c, 200*time.Millisecond); err == nil {
		t.Fatal("the flow is masqueraded by itself")
	}
	if got := in.server(); got != "a" {
		t.Fatal(got)
	}

	want := Set{Subnets: []Subnet{{Prefix: netip.MustParsePrefix(f.say("172.18.0.0/24")), Masquerade: true, Closed: true}}}
	if got := apply(t, &want, want); len(got) > 0 {
		t.Errorf("the rules were always there, and yet: %q", got)
	}
	have := want
	have.Unsure = true
	changes := []string{
		fmt.Sprintf("conntrack: forget udp %s -> %s", out.c.LocalAddr(), f.say("192.0.2.2:53")),
		fmt.Sprintf("conntrack: forget udp %s -> %s", in.c.LocalAddr(), f.say("172.18.0.2:53")),
	}
	got := apply(t, &have, want)
	slices.Sort(got)
	slices.Sort(changes)
	if !slices.Equal(got, changes) {
		t.Errorf("changes %q, want %q", got, changes)
	}
	if got := out.server(); got != "lan" {
		t.Errorf("out: %s answers", got)
	}
	if a, err := nettest.AskOn(in.c, 200*time.Millisecond); err == nil {
		t.Errorf("in: %s answers", a.Server)
	}
	if got := apply(t, &have, want); len(got) > 0 {
		t.Errorf("again: %q", got)
	}
}
