package link

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/sysctl"
)

// What somebody has changed by hand is found as changes of that link alone (with a bridge
// that is gone, of its ports too), and mended; and nothing is changed before Do.
func TestChangesByHand(t *testing.T) {
	h := nettest.New(t)
	b1, v := withSettings(1)
	b2, _ := withSettings(2)
	b1.MTU, v.MTU, v.Hairpin = 1400, 1400, true
	v2 := veth(2, b1)
	theirs := Bridge{Name: "br0", V4: bridge(5).V4}
	h.Run("ip", "link", "add", "br0", "type", "bridge")
	want := set([]Bridge{theirs, b1, b2}, v, v2)
	a := &Applier{Settings: &sysctl.Applier{}}
	if err := a.Apply(t.Context(), nil, want); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		text := dumpText(t, h)
		for _, path := range []string{"mybr1/accept_ra", "mybr1/disable_ipv6", v.Host + "/disable_ipv6"} {
			value, _ := h.Try("cat", "/proc/sys/net/ipv6/conf/"+path) // an error where the link is gone
			text += "\n" + path + " " + value
		}
		return text
	}
	good := state()
	for _, c := range []struct{ command, changes string }{
		{"ip link set mybr1 down", "link mybr1: add address fd00:21::1/64; link mybr1: add address fe80::42:ff:fe00:65/64; link mybr1: bring up"},
		{"ip addr del 172.21.0.1/16 dev mybr1", "link mybr1: add address 172.21.0.1/16"},
		{"ip addr flush dev br0", "link br0: add address 172.25.0.1/16"},
		{"ip link set br0 down", "link br0: bring up"},
		{"ip link set mybr1 mtu 1300", "link mybr1: MTU 1300 -> 1400"},
		{"ip link set mybr1 address 02:00:00:00:00:99", "link mybr1: MAC 02:00:00:00:00:99 -> 02:42:00:00:00:65"},
		{"ip link set VETH mtu 1300", "link VETH: MTU 1300 -> 1400"},
		{"ip link set VETHc mtu 1300", "link VETH: peer's MTU 1300 -> 1400"},
		{"ip link set VETHc name other0", "link VETH: peer's name other0 -> VETHc"},
		{"ip link set VETH nomaster", "link VETH: put into bridge mybr1; link VETH: bridge port flag hairpin: false -> true"},
		{"ip link set VETH master mybr2", "link VETH: put into bridge mybr1; link VETH: bridge port flag hairpin: false -> true"},
		{"ip link set VETH down", "link VETH: bring up"},
		{"ip link set VETH type bridge_slave hairpin off", "link VETH: bridge port flag hairpin: false -> true"},
		{"ip link set VETH type bridge_slave isolated on", "link VETH: bridge port flag isolated: true -> false"},
		{"ip link del VETH", "link VETH: make pair in bridge mybr1; net/ipv6/conf/VETH/disable_ipv6: 0 -> 1"},
		{"sysctl -qw net/ipv6/conf/mybr1/accept_ra=1", "net/ipv6/conf/mybr1/accept_ra: 1 -> 0"},
		{"sysctl -qw net/ipv6/conf/mybr1/disable_ipv6=1", "net/ipv6/conf/mybr1/disable_ipv6: 1 -> 0; link mybr1: add address fd00:21::1/64; link mybr1: add address fe80::42:ff:fe00:65/64"},
		{"sysctl -qw net/ipv6/conf/VETH/disable_ipv6=0", "net/ipv6/conf/VETH/disable_ipv6: 0 -> 1"},
		{"ip link del mybr1", "link mybr1: make bridge; link mybr1: MTU 1500 -> 1400; net/ipv6/conf/mybr1/accept_ra: 1 -> 0; …"},
	} {
		command := strings.ReplaceAll(c.command, "VETH", v.Host)
		args := strings.Fields(command)
		h.Run(args[0], args[1:]...)
		damaged := state()
		if damaged == good {
			t.Fatalf("%s: no damage", command)
		}
		p, err := a.Plan(t.Context(), nil, want)
		if err != nil {
			t.Fatal(err)
		}
		if state() != damaged {
			t.Errorf("%s: a plan has changed the host", command)
		}
		var subjects []string
		for _, s := range p {
			subjects = append(subjects, s.Subject)
		}
		wanted := []string{strings.Trim(strings.Fields(strings.ReplaceAll(c.changes, "net/ipv6/conf/", "link "))[1], ":")}
		wanted[0], _, _ = strings.Cut(strings.ReplaceAll(wanted[0], "VETH", v.Host), "/")
		if c.command == "ip link del mybr1" {
			wanted = append(wanted, v.Host, v2.Host)
		}
		if !slices.Equal(subjects, wanted) {
			t.Errorf("%s: subjects %q, want %q", command, subjects, wanted)
		}
		got, begin := strings.Join(p.Changes(), "; "), strings.ReplaceAll(c.changes, "VETH", v.Host)
		if before, cut := strings.CutSuffix(begin, "…"); cut && !strings.HasPrefix(got, before) || !cut && got != begin {
			t.Errorf("%s:\ngot  %s\nwant %s", command, got, begin)
		}
		if err := p.Do(t.Context()); err != nil {
			t.Error(err)
		}
		if now := state(); now != good {
			t.Errorf("%s:\nhave\n%s\nwant\n%s", command, now, good)
		}
		if p, err := a.Plan(t.Context(), nil, want); err != nil || len(p) > 0 {
			t.Errorf("%s: still to change: %q, %v", command, p.Changes(), err)
		}
	}
}

// A plan is for operators: what it says of links that come and go.
func TestChangesInWords(t *testing.T) {
	nettest.New(t)
	br := bridge(1)
	br.MTU = 1400
	v, w := veth(1, br), veth(2, br)
	w.Isolated = true
	a := &Applier{}
	check := func(have *Set, want Set, changes ...string) {
		t.Helper()
		p, err := a.Plan(t.Context(), have, want)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Changes(); !slices.Equal(got, changes) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(changes, "\n"))
		}
		for _, s := range p {
			if s.Renews != slices.ContainsFunc(s.Changes, func(c string) bool { return strings.Contains(c, ": make ") }) {
				t.Errorf("%s: renews %v: %q", s.Subject, s.Renews, s.Changes)
			}
			if isVeth := strings.HasPrefix(s.Subject, "veth"); isVeth && s.Renews && !slices.Equal(s.Needs, []string{br.Name}) {
				t.Errorf("%s needs %q", s.Subject, s.Needs)
			}
		}
		if err := errors.Join(p.Do(t.Context()), a.Wait(t.Context())); err != nil {
			t.Fatal(err)
		}
		matches(t, want)
	}
	both := set([]Bridge{br}, v, w)
	check(nil, both,
		"link mybr1: make bridge", "link mybr1: MTU 1500 -> 1400",
		"link mybr1: add address 172.21.0.1/16", "link mybr1: add address fd00:21::1/64", "link mybr1: add address fe80::42:ff:fe00:65/64", "link mybr1: bring up",
		"link veth0000000001: make pair in bridge mybr1", "link veth0000000002: make pair in bridge mybr1")
	one := set([]Bridge{br}, w)
	one.Bridges[0].MTU, one.Veths[0].MTU, one.Veths[0].Hairpin = 1300, 1300, true
	check(&both, one,
		"link veth0000000001: delete pair", "link mybr1: MTU 1400 -> 1300",
		"link veth0000000002: peer's MTU 1400 -> 1300", "link veth0000000002: MTU 1400 -> 1300", "link veth0000000002: bridge port flag hairpin: false -> true")
	taken := set([]Bridge{br}, w)
	taken.Bridges[0].Alias, taken.Bridges[0].V4 = model.AliasNetwork+"b", bridge(2).V4
	taken.Veths[0].Alias, taken.Veths[0].MTU = model.AliasEndpoint+"b", 1400
	check(nil, taken,
		"link mybr1: MTU 1300 -> 1400", "link mybr1: delete address 172.21.0.1/16", "link mybr1: add address 172.22.0.1/16", `link mybr1: alias "mybr network 0001" -> "mybr network b"`,
		"link veth0000000002: delete that of endpoint 0002", "link veth0000000002: make pair in bridge mybr1")
	check(nil, set(nil), `link veth0000000002: delete leftover (alias "mybr endpoint b")`, `link mybr1: delete leftover (alias "mybr network b")`)
}

// counted is an applier that counts what it asks the kernel for.
func counted() (*Applier, map[string]int) {
	requests := map[string]int{}
	names := map[uint16]string{unix.RTM_GETLINK: "read link", unix.RTM_NEWLINK: "write link", unix.RTM_DELLINK: "delete link",
		unix.RTM_GETADDR: "read addresses", unix.RTM_NEWADDR: "add address", unix.RTM_DELADDR: "delete address", unix.RTM_DELNEIGH: "forget neighbour"}
	return &Applier{asked: func(req *nl.NetlinkRequest) {
		name := names[req.Type]
		if req.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP {
			name = "dump: " + name
		}
		requests[name]++
	}}, requests
}

// Beside a thousand pairs, one more takes the few requests that it takes alone, and a look
// at everything two. A thousand is near what a bridge has room for (1023), hence two.
func TestDeltaDoesNotGrowWithTheHost(t *testing.T) {
	nettest.New(t)
	b1, b2 := bridge(1), bridge(2)
	have := set([]Bridge{b1, b2})
	for n := range 1000 {
		v := veth(0, []Bridge{b1, b2}[n%2])
		v.Host, v.Peer = fmt.Sprintf("veth%04d", n), fmt.Sprintf("veth%04dc", n)
		v.Alias, v.MAC = fmt.Sprintf("%s%04d", model.AliasEndpoint, n), model.MAC{2, 0x43, 0, 0, byte(n >> 8), byte(n)}
		have.Veths = append(have.Veths, &v)
	}
	apply(t, nil, have)
	late := veth(1, b1)
	late.Announce, late.V4, late.V6 = true, bridge(1).V4.Addr().Next(), bridge(1).V6.Addr().Next()
	more := set(have.Bridges, append(values(have.Veths), late)...)
	quiet := set(have.Bridges, values(more.Veths)...)
	quiet.Veths[1000].Announce = false
	wider := set([]Bridge{b1, b2}, values(more.Veths)...)
	wider.Bridges[1].V4 = bridge(3).V4
	a, requests := counted()
	for _, c := range []struct {
		name       string
		have, want *Set
		requests   map[string]int
	}{
		{"a pair comes", &have, &more, map[string]int{"read link": 1, "write link": 2, "forget neighbour": 2}},
		{"it goes", &more, &have, map[string]int{"read link": 1, "write link": 1}},
		{"a pair comes that is not announced", &have, &quiet, map[string]int{"read link": 1, "write link": 2}},
		{"nothing changes", &more, &more, map[string]int{}},
		{"a bridge changes", &more, &wider, map[string]int{"read link": 1, "dump: read addresses": 2, "delete address": 1, "add address": 1}},
		{"it changes back", &wider, &more, map[string]int{"read link": 1, "dump: read addresses": 2, "delete address": 1, "add address": 1}},
		{"it goes again", &more, &have, map[string]int{"read link": 1, "write link": 1}},
		{"everything", nil, &have, map[string]int{"dump: read link": 1, "dump: read addresses": 1}},
	} {
		clear(requests)
		if err := a.Apply(t.Context(), c.have, *c.want); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(requests, c.requests) {
			t.Errorf("%s: %v, want %v", c.name, requests, c.requests)
		}
	}
}

// A step that is carried out although the host has changed since does no harm, and one
// that is repeated neither.
func TestStepsBearRepetition(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	v := veth(1, br)
	v.Hairpin = true
	want := set([]Bridge{br}, v)
	p, err := (&Applier{}).Plan(t.Context(), nil, want)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, nil, want)
	good := dumpText(t, h)
	for range 2 {
		if err := p.Do(t.Context()); err != nil {
			t.Error(err)
		}
		if now := dumpText(t, h); now != good {
			t.Errorf("have\n%s\nwant\n%s", now, good)
		}
	}
}

// The addresses of one link are asked for alone (kernels from 4.20 on do so).
func TestAddressesOfOneLink(t *testing.T) {
	nettest.New(t)
	b1, b2 := bridge(1), bridge(2)
	apply(t, nil, set([]Bridge{b1, b2}))
	l, err := kernel{}.getLink(b1.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	one, err := kernel{}.dumpAddresses(l.index)
	if err != nil || len(one) != 1 || len(one[l.index]) != len(b1.addresses()) {
		t.Errorf("%v, %v", one, err)
	}
	if all, err := (kernel{}).dumpAddresses(0); err != nil || len(all) != 3 { // with lo
		t.Errorf("%v, %v", all, err)
	}
}

// A pair that was being made when the step failed is completed when it is repeated.
func TestStepCompletesWhatItHasBegun(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	v := veth(1, br)
	want := set([]Bridge{br}, v)
	for _, have := range []*Set{nil, {Bridges: want.Bridges}} {
		apply(t, nil, set([]Bridge{br}))
		p, err := (&Applier{}).Plan(t.Context(), have, want)
		if err != nil {
			t.Fatal(err)
		}
		h.Run("ip", "link", "add", v.Host, "type", "veth", "peer", "name", v.Peer, "address", v.MAC.String())
		if err := p.Do(t.Context()); err != nil {
			t.Error(err)
		}
		matches(t, want)
	}
}

func TestErrorsAreOfTheirSubjects(t *testing.T) {
	nettest.New(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("given up")
	cancel(late)
	p, err := (&Applier{}).Plan(ctx, nil, set([]Bridge{bridge(1)}))
	if e, ok := err.(*plan.Error); !ok || e.Subject != "" || !errors.Is(err, late) || p != nil {
		t.Errorf("%v, %v", p, err)
	}
	// A bridge that nobody has.
	errs := refused(t, &Set{}, set(nil, veth(1, bridge(1))))
	if e := errs[veth(1, bridge(1)).Host]; len(errs) != 1 || !errors.Is(e, model.ErrNotFound) || e.Error() != "veth veth0000000001: bridge mybr1: not found" {
		t.Error(errs)
	}
}

func TestSubjects(t *testing.T) {
	br, other := bridge(1), bridge(2)
	v := veth(1, br)
	s := set([]Bridge{br, other}, v)
	if got, want := s.Subjects(), (map[string]any{br.Name: br, other.Name: other, v.Host: v}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if got := s.Only(func(subject string) bool { return subject != br.Name }); !reflect.DeepEqual(got, set([]Bridge{other}, v)) {
		t.Errorf("%v", got)
	}
	if got := s.Only(func(string) bool { return false }); !reflect.DeepEqual(got, Set{}) {
		t.Errorf("%v", got)
	}
}
