package conntrack

import (
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// A limit that comes ends flows of strangers in both directions, and no others.
func TestPastLimit(t *testing.T) {
	ap, addr := netip.MustParseAddrPort, netip.MustParseAddr
	l := Limit{Addr: addr("172.18.0.2"), PortSpan: model.PortSpan{Proto: model.TCP, First: 80, Count: 2},
		Own: netip.MustParsePrefix("172.18.0.0/16"), From: model.Clients("192.0.2.0/24")}
	c := difference(&Set{}, Set{Limits: []Limit{l}})
	if again := difference(&Set{Limits: []Limit{l}}, Set{Limits: []Limit{l}}); len(again.limits) > 0 || len(c.limits) != 1 {
		t.Fatalf("came: %v, and again %v", c.limits, again.limits)
	}
	if unsure := difference(&Set{Limits: []Limit{l}, Unsure: true}, Set{Limits: []Limit{l}}); len(unsure.limits) != 1 {
		t.Error("flows may have begun past the rules, and are not looked at")
	}
	f := filter{limits: limitsOf(model.IPv4, c.limits), local: map[netip.Addr]bool{addr("198.51.100.1"): true}}
	for _, flow := range []struct {
		what                 string
		proto                model.Proto
		from, asked, answers string
		stale                bool
	}{
		{"a client", model.TCP, "192.0.2.9:4000", "198.51.100.1:8080", "172.18.0.2:80", false},
		{"a stranger", model.TCP, "203.0.113.9:4000", "198.51.100.1:8080", "172.18.0.2:80", true},
		{"a stranger, at the container's own address", model.TCP, "203.0.113.9:4000", "172.18.0.2:81", "172.18.0.2:81", true},
		{"another port", model.TCP, "203.0.113.9:4000", "198.51.100.1:8082", "172.18.0.2:82", false},
		{"another protocol", model.UDP, "203.0.113.9:4000", "198.51.100.1:8080", "172.18.0.2:80", false},
		{"another container", model.TCP, "203.0.113.9:4000", "198.51.100.1:8080", "172.18.0.3:80", false},
		{"the host", model.TCP, "198.51.100.1:4000", "198.51.100.1:8080", "172.18.0.2:80", false},
		{"a neighbour", model.TCP, "172.18.0.3:4000", "198.51.100.1:8080", "172.18.0.2:80", false},
		{"the server to a stranger", model.TCP, "172.18.0.2:80", "203.0.113.9:4000", "203.0.113.9:4000", true},
		{"the server to a client", model.TCP, "172.18.0.2:80", "192.0.2.9:4000", "192.0.2.9:4000", false},
		{"the container, from another port", model.TCP, "172.18.0.2:40000", "203.0.113.9:80", "203.0.113.9:80", false},
	} {
		one := flowOf(flow.proto, ap(flow.from), ap(flow.asked), ap(flow.answers))
		if got := f.stale(one); got != flow.stale {
			t.Errorf("%s: stale %t", flow.what, got)
		}
		of := l
		of.Translated = true
		translated := filter{limits: limitsOf(model.IPv4, []Limit{of}), local: f.local}
		if got := translated.stale(one); got != (flow.stale && flow.asked != flow.answers) {
			t.Errorf("of translated flows alone: %s: stale %t", flow.what, got)
		}
	}
}

// What a container may begin from its ports ends when the limit comes, and stays where it is only not
// known what has happened meanwhile; what others began ends in both cases.
func TestLimitOfWhoAsks(t *testing.T) {
	ap := netip.MustParseAddrPort
	l := Limit{Addr: netip.MustParseAddr("172.18.0.2"), PortSpan: model.PortSpan{Proto: model.UDP, First: 53, Count: 1},
		Own: netip.MustParsePrefix("172.18.0.0/16"), From: model.NewClients(nil), Asks: true}
	asked := flowOf(model.UDP, ap("172.18.0.2:53"), ap("203.0.113.9:53"), ap("203.0.113.9:53"))
	past := flowOf(model.UDP, ap("203.0.113.9:4000"), ap("198.51.100.1:53"), ap("172.18.0.2:53"))
	direct := flowOf(model.UDP, ap("203.0.113.9:4000"), ap("172.18.0.2:53"), ap("172.18.0.2:53"))
	for _, c := range []struct {
		what string
		have Set
		ends bool
	}{{"it comes", Set{}, true}, {"it comes, and rules may have been missing", Set{Unsure: true}, true},
		{"at a start", Set{Unsure: true, Partial: true}, false}, {"rules may have been missing", Set{Limits: []Limit{l}, Unsure: true}, false}} {
		f := filter{limits: limitsOf(model.IPv4, difference(&c.have, Set{Limits: []Limit{l}}).limits)}
		if got := f.stale(asked); got != c.ends || !f.stale(past) || !f.stale(direct) {
			t.Errorf("%s: what the container began ends: %t; what others began: %t, %t", c.what, got, f.stale(past), f.stale(direct))
		}
	}
}

// Where the port has clients, what the container began with who is none of them ends at a start, too,
// and the rest stays; a limit of clients that comes or goes ends no more than that.
func TestLimitOfWhoAsksClients(t *testing.T) {
	ap := netip.MustParseAddrPort
	l := Limit{Addr: netip.MustParseAddr("172.18.0.2"), PortSpan: model.PortSpan{Proto: model.UDP, First: 53, Count: 1},
		Own: netip.MustParsePrefix("172.18.0.0/16"), From: model.NewClients(nil), Asks: true}
	clients := l
	clients.From, clients.Asks = "192.0.2.0/24", false
	to := func(a string) flow { return flowOf(model.UDP, ap("172.18.0.2:53"), ap(a), ap(a)) }
	both := []Limit{l, clients}
	for what, c := range map[string]struct {
		have     Set
		want     []Limit
		stranger bool
	}{
		"at a start":                  {Set{Unsure: true, Partial: true}, both, true},
		"clients come":                {Set{Limits: []Limit{l}}, both, true},
		"clients go":                  {Set{Limits: both}, []Limit{l}, false},
		"rules may have been missing": {Set{Limits: both, Unsure: true}, both, true},
	} {
		f := filter{limits: limitsOf(model.IPv4, difference(&c.have, Set{Limits: c.want}).limits)}
		if client, stranger := f.stale(to("192.0.2.9:53")), f.stale(to("203.0.113.9:53")); client || stranger != c.stranger {
			t.Errorf("%s: with a client it ends: %t; with a stranger: %t", what, client, stranger)
		}
	}
}

// flowOf is an established one whose source is not translated.
func flowOf(proto model.Proto, from, asked, answers netip.AddrPort) flow {
	return flow{proto: proto, from: from, asked: asked, answers: answers, translated: from, answered: true, tcpState: 3}
}
