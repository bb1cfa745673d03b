package conntrack

import (
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// When a list with names changes, what was led to the process because of names and is not any more
// ends, and so does what DNS had opened for a name that is gone.
func TestPastNames(t *testing.T) {
	ap, addr := netip.MustParseAddrPort, netip.MustParseAddr
	e := Egress{ID: "e", Addr: addr("172.18.0.2"), Own: netip.MustParsePrefix("172.18.0.0/16"), To: "10.0.0.0/8", Names: "example.com:443,git.example.com:22"}
	there, was := []Endpoint{{ID: "e", V4: e.Addr}}, e
	was.Names += ",other.example.com"
	granted := []Granted{{Addr: e.Addr, To: addr("192.0.2.7"), Proto: model.TCP, First: 22, Last: 22}}
	want := Set{Endpoints: there, Egress: []Egress{e}, Granted: granted, Process: Process{DNS: 5301, TCP: 5302}}
	if again := difference(&Set{Endpoints: there, Egress: []Egress{e}}, want); len(again.egress) > 0 || !want.Same(Set{Endpoints: there, Egress: []Egress{e}}) {
		t.Errorf("because of a grant alone, %v is looked for", again.egress)
	}
	c := difference(&Set{Endpoints: there, Egress: []Egress{was}}, want)
	if len(c.egress) != 1 {
		t.Fatal("a name that went is not looked for")
	}
	f := c.filter(model.IPv4)
	f.local = map[netip.Addr]bool{addr("172.18.0.1"): true}
	for _, flow := range []struct {
		what                 string
		proto                model.Proto
		from, asked, answers string
		stale                bool
	}{
		{"a carried port", model.TCP, "172.18.0.2:4000", "203.0.113.9:443", "172.18.0.1:5302", false},
		{"one that is no more", model.TCP, "172.18.0.2:4000", "203.0.113.9:80", "172.18.0.1:5302", true},
		{"DNS", model.UDP, "172.18.0.2:4000", "203.0.113.9:53", "172.18.0.1:5301", false},
		{"DNS by TCP", model.TCP, "172.18.0.2:4000", "203.0.113.9:53", "172.18.0.1:5301", false},
		{"another port of the host's", model.TCP, "172.18.0.2:4000", "203.0.113.9:80", "172.18.0.1:8080", false},
		{"a neighbour's port", model.TCP, "172.18.0.2:4000", "198.51.100.1:80", "172.18.0.3:5302", false},
		{"an address", model.TCP, "172.18.0.2:4000", "10.1.2.3:80", "10.1.2.3:80", false},
		{"what was granted", model.TCP, "172.18.0.2:4000", "192.0.2.7:22", "192.0.2.7:22", false},
		{"another port there", model.TCP, "172.18.0.2:4000", "192.0.2.7:23", "192.0.2.7:23", true},
		{"another protocol there", model.UDP, "172.18.0.2:4000", "192.0.2.7:22", "192.0.2.7:22", true},
		{"another address", model.TCP, "172.18.0.2:4000", "192.0.2.8:22", "192.0.2.8:22", true},
	} {
		if got := f.stale(flowOf(flow.proto, ap(flow.from), ap(flow.asked), ap(flow.answers))); got != flow.stale {
			t.Errorf("%s: stale %t", flow.what, got)
		}
	}
	// The process listens elsewhere, or nowhere since no list has names: nobody answers any more what
	// was led to where it was.
	for _, to := range []Process{{DNS: 5401, TCP: 5402}, {}} {
		next := e
		next.Names, next.To = "", "203.0.113.9:53"
		if to.DNS != 0 {
			next.Names = "example.com:443"
		}
		f := difference(&Set{Endpoints: there, Egress: []Egress{e}, Process: want.Process}, Set{Endpoints: there, Egress: []Egress{next}, Process: to}).filter(model.IPv4)
		f.local = map[netip.Addr]bool{addr("172.18.0.1"): true}
		for answers, stale := range map[string]bool{"172.18.0.1:5301": true, "172.18.0.1:8080": false, "172.18.0.3:5301": false} {
			if got := f.stale(flowOf(model.UDP, ap("172.18.0.2:4000"), ap("203.0.113.9:53"), ap(answers))); got != stale {
				t.Errorf("the process is at %v: what leads to %s is stale %t", to, answers, got)
			}
		}
	}
	none := e
	none.Names = ""
	f = difference(&Set{Endpoints: there, Egress: []Egress{e}}, Set{Endpoints: there, Egress: []Egress{none}, Process: want.Process}).filter(model.IPv4)
	f.local = map[netip.Addr]bool{addr("172.18.0.1"): true}
	if !f.stale(flowOf(model.UDP, ap("172.18.0.2:4000"), ap("203.0.113.9:53"), ap("172.18.0.1:5301"))) {
		t.Error("without names DNS goes on being led")
	}
}

// Where a list with names is only watched from now on, or everything is allowed, DNS that was led to
// the process would go on being led as long as the container keeps its socket busy. Connections are
// ended by the process.
func TestNamesThatWent(t *testing.T) {
	ap, addr := netip.MustParseAddrPort, netip.MustParseAddr
	e := Egress{ID: "e", Addr: addr("172.18.0.2"), Own: netip.MustParsePrefix("172.18.0.0/16"), To: "10.0.0.0/8", Names: "example.com:443"}
	there := []Endpoint{{ID: "e", V4: e.Addr}}
	plain := e
	plain.Names = ""
	have := Set{Endpoints: there, Egress: []Egress{e}, Process: Process{DNS: 5301, TCP: 5302}}
	c := difference(&have, Set{Endpoints: there})
	if c.canWait(&have, Set{Endpoints: there}) {
		t.Error("it is looked for behind the answer, where nobody looks for lists")
	}
	f := c.filter(model.IPv4)
	f.local = map[netip.Addr]bool{addr("172.18.0.1"): true}
	for _, flow := range []struct {
		what                 string
		proto                model.Proto
		from, asked, answers string
		stale                bool
	}{
		{"DNS", model.UDP, "172.18.0.2:4000", "203.0.113.9:53", "172.18.0.1:5301", true},
		{"DNS by TCP", model.TCP, "172.18.0.2:4000", "203.0.113.9:53", "172.18.0.1:5301", false},
		{"a connection that is carried", model.TCP, "172.18.0.2:4000", "203.0.113.9:443", "172.18.0.1:5302", false},
		{"another port of the host's", model.UDP, "172.18.0.2:4000", "203.0.113.9:53", "172.18.0.1:8080", false},
		{"DNS that is asked of others", model.UDP, "172.18.0.2:4000", "203.0.113.9:53", "203.0.113.9:53", false},
		{"what the list did not have", model.TCP, "172.18.0.2:4000", "203.0.113.9:80", "203.0.113.9:80", false},
		{"a neighbour", model.UDP, "172.18.0.3:4000", "203.0.113.9:53", "172.18.0.1:5301", false},
	} {
		if got := f.stale(flowOf(flow.proto, ap(flow.from), ap(flow.asked), ap(flow.answers))); got != flow.stale {
			t.Errorf("%s: stale %t", flow.what, got)
		}
	}
	for what, c := range map[string]change{
		"the endpoint is gone": difference(&have, Set{}),
		"it had no names":      difference(&Set{Endpoints: there, Egress: []Egress{plain}}, Set{Endpoints: there}),
		"it has another list":  difference(&have, Set{Endpoints: there, Egress: []Egress{plain}}),
		"nothing has changed":  difference(&have, have),
		"nothing was known":    difference(nil, Set{Endpoints: there}),
	} {
		if len(c.unled) > 0 {
			t.Errorf("%s: %v is looked for", what, c.unled)
		}
	}
}
