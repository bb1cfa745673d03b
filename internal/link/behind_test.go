package link

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// A pair may stay for a moment, unless its bridge goes or something of it is wanted.
func TestBehind(t *testing.T) {
	a, b := bridge(1), bridge(2)
	one, other := veth(1, a), veth(2, a)
	one.V4, other.V4 = netip.MustParseAddr("172.21.0.2"), netip.MustParseAddr("172.21.0.3")
	like := func(change func(*Veth)) Veth {
		v := veth(9, a)
		v.V4 = netip.MustParseAddr("172.21.0.9")
		change(&v)
		return v
	}
	var crowd []Veth
	for n := range maxPorts - 1 {
		crowd = append(crowd, many(1000+n, a))
	}
	for name, c := range map[string]struct {
		have, want Set
		leaving    []Veth
	}{
		"nothing goes":                  {set([]Bridge{a}, one), set([]Bridge{a}, one, other), nil},
		"a pair goes":                   {set([]Bridge{a}, one, other), set([]Bridge{a}, other), []Veth{one}},
		"another one follows":           {Set{Bridges: []Bridge{a}, Veths: []Veth{other}, Leaving: []Veth{one}}, set([]Bridge{a}), []Veth{one, other}},
		"with its bridge":               {set([]Bridge{a, b}, one), set([]Bridge{b}), nil},
		"with its bridge, later":        {Set{Bridges: []Bridge{a, b}, Leaving: []Veth{one}}, set([]Bridge{b}), nil},
		"it is wanted again":            {Set{Bridges: []Bridge{a}, Leaving: []Veth{one}}, set([]Bridge{a}, one), nil},
		"its MAC is wanted":             {set([]Bridge{a}, one), set([]Bridge{a}, like(func(v *Veth) { v.MAC = one.MAC })), nil},
		"its address is wanted":         {set([]Bridge{a}, one), set([]Bridge{a}, like(func(v *Veth) { v.V4 = one.V4 })), nil},
		"its address is wanted, later":  {Set{Bridges: []Bridge{a}, Leaving: []Veth{one}}, set([]Bridge{a}, like(func(v *Veth) { v.V4 = one.V4 })), nil},
		"its name is wanted":            {set([]Bridge{a}, one), set([]Bridge{a}, like(func(v *Veth) { v.Peer = one.Peer })), nil},
		"its bridge is full":            {Set{Bridges: []Bridge{a}, Veths: crowd, Leaving: []Veth{one}}, set([]Bridge{a}, append(slices.Clone(crowd), other)...), nil},
		"there is room":                 {Set{Bridges: []Bridge{a}, Veths: crowd, Leaving: []Veth{one}}, set([]Bridge{a}, crowd...), []Veth{one}},
		"its address on another bridge": {set([]Bridge{a, b}, one), set([]Bridge{a, b}, like(func(v *Veth) { v.V4, v.Bridge = one.V4, b.Name })), []Veth{one}},
	} {
		first := Behind(c.have, c.want)
		if !slices.Equal(first.Leaving, c.leaving) {
			t.Errorf("%s: %v stay, want %v", name, first.Leaving, c.leaving)
		}
		if first.Leaving = nil; !first.Equal(c.want) {
			t.Errorf("%s: what is wanted has changed", name)
		}
	}
}

// Pairs that leave stay until a set without them is wanted: then all of them go, together with
// what else is in the way.
func TestLeaving(t *testing.T) {
	h := nettest.New(t)
	on := bridge(1)
	want := set([]Bridge{on})
	for n := range byte(40) {
		want.Veths = append(want.Veths, veth(n+1, on))
	}
	apply(t, nil, want)
	less := want
	less.Veths = want.Veths[30:]
	first := Behind(want, less)
	a, asked := counted()
	if err := a.Apply(t.Context(), &want, first); err != nil || len(asked) > 0 {
		t.Errorf("%v; the kernel was asked for %v, want nothing", err, asked)
	}
	if n := strings.Count(dumpText(t, h), "veth"); n < 80 {
		t.Fatalf("links are named %d times", n)
	}
	apply(t, &first, less)
	matches(t, less)

	// An endpoint that is made again while its pair leaves has it back.
	first = Behind(less, set([]Bridge{on}))
	apply(t, &first, less)
	matches(t, less)
}

// Leftovers are told from pairs that leave.
func TestLeavingIsNoLeftover(t *testing.T) {
	h := nettest.New(t)
	on := bridge(1)
	want := set([]Bridge{on}, veth(1, on), veth(2, on))
	apply(t, nil, want)
	less := set([]Bridge{on}, veth(2, on))
	first := Behind(want, less)
	apply(t, nil, first)
	if !strings.Contains(dumpText(t, h), model.AliasEndpoint+"0001") {
		t.Error("a pair that may stay was deleted")
	}
	apply(t, nil, less)
	if strings.Contains(dumpText(t, h), model.AliasEndpoint+"0001") {
		t.Error("a pair that is not wanted stays")
	}
}
