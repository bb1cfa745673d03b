package link

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/plan"
)

// joined is a set of two bridges, the second with an MTU, and a port of each; of the ports
// one is in a container.
func joined(t *testing.T, h *nettest.Host) Set {
	t.Helper()
	a, b := bridge(1), bridge(2)
	b.MTU = 1450
	idle, inside := veth(1, a), veth(2, b)
	apply(t, nil, set([]Bridge{a, b}, idle, inside))
	inside.Joined = true
	h.Peer("container").Adopt(h, inside.Peer, nettest.End{Name: "eth0"})
	return set([]Bridge{a, b}, idle, inside)
}

// Whatever is done to a link by hand is found by a look at it, and at no other one, and is
// undone by a pass that starts from nothing, which leaves a link what it was.
func TestLook(t *testing.T) {
	for _, c := range []struct {
		do    string // with ip(8)
		link  string
		want  plan.Finding
		lasts bool // the link is the same one afterwards
	}{
		{"link set mybr2 up", "mybr2", plan.Same, true},
		{"link set mybr2 down", "mybr2", plan.Differs, true},
		{"link set mybr2 mtu 1300", "mybr2", plan.Differs, true},
		{"link set mybr2 address 02:42:00:00:00:77", "mybr2", plan.Differs, true},
		{"addr del 172.22.0.1/16 dev mybr2", "mybr2", plan.Differs, true},
		{"addr del fd00:22::1/64 dev mybr2", "mybr2", plan.Differs, true},
		{"addr add 10.9.9.9/32 dev mybr2", "mybr2", plan.Same, true}, // somebody's own
		{"link del mybr2", "mybr2", plan.Gone, false},
		{"link set mybr2 name other2", "mybr2", plan.Gone, true},
		{"link set veth0000000002 down", "veth0000000002", plan.Differs, true},
		{"link set veth0000000002 mtu 1300", "veth0000000002", plan.Differs, true},
		{"link set veth0000000002 nomaster", "veth0000000002", plan.Differs, true},
		{"link set veth0000000002 master mybr1", "veth0000000002", plan.Differs, true},
		{"link set veth0000000002 type bridge_slave isolated on", "veth0000000002", plan.Differs, true},
		{"link set veth0000000002 type bridge_slave hairpin on", "veth0000000002", plan.Differs, true},
		{"link set veth0000000002 name other2", "veth0000000002", plan.Gone, true},
		{"link set veth0000000001 name other1", "veth0000000001", plan.Gone, true}, // no container has it yet
		{"link del veth0000000001", "veth0000000001", plan.Gone, false},
	} {
		t.Run(c.do, func(t *testing.T) {
			h := nettest.New(t)
			want := joined(t, h)
			before := ipLinks(t, h)
			h.Run("ip", strings.Fields(c.do)...)
			asked := 0
			a := &Applier{asked: func(*nl.NetlinkRequest) { asked++ }}
			for name := range want.Subjects() {
				finding := plan.Same
				switch {
				case name == c.link:
					finding = c.want
				case c.want == plan.Gone && want.on(name) == c.link: // its bridge may be told of first
					finding = plan.Gone
				}
				if got := a.Look(t.Context(), want, name); got != finding {
					t.Errorf("%s: finding %d, want %d", name, got, finding)
				}
			}
			if asked > 4*len(want.Subjects()) {
				t.Errorf("%d requests for %d looks", asked, len(want.Subjects()))
			}
			apply(t, nil, want)
			matches(t, want)
			after := ipLinks(t, h)
			if same := before[c.link].Index == after[c.link].Index; same != c.lasts {
				t.Errorf("%s had index %d and has %d", c.link, before[c.link].Index, after[c.link].Index)
			}
			for _, other := range []string{"other1", "other2"} {
				if _, there := after[other]; there {
					t.Errorf("%s is left", other)
				}
			}
		})
	}
}

// on returns the bridge of a pair's host end.
func (s Set) on(name string) string {
	for _, v := range s.Veths {
		if v.Host == name {
			return v.Bridge
		}
	}
	return ""
}

// The pair of a container that is gone can't be made again: that is told, once, with what
// helps; and again when another endpoint's is.
func TestLostPair(t *testing.T) {
	h := nettest.New(t)
	want := joined(t, h)
	var told []string
	a := &Applier{Warn: func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }}
	h.Run("ip", "link", "del", "veth0000000002")
	if got := a.Look(t.Context(), want, "veth0000000002"); got != plan.Gone {
		t.Errorf("finding %d, want that it is gone", got)
	}
	for range 3 {
		if err := a.Apply(t.Context(), nil, want); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != 1 || !strings.Contains(told[0], "endpoint 0002") || !strings.Contains(told[0], "docker network disconnect -f NETWORK CONTAINER") {
		t.Errorf("told %q", told)
	}
	if _, there := ipLinks(t, h)["veth0000000002"]; there {
		t.Error("it was made again")
	}
	without := want.Only(func(name string) bool { return name != "veth0000000002" })
	if err := a.Apply(t.Context(), &want, without); err != nil {
		t.Error(err)
	}
	if err := a.Apply(t.Context(), nil, want); err != nil || len(told) != 2 {
		t.Errorf("%v; told %d times", err, len(told))
	}
}
