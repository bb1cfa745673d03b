package link

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// TestMain runs each law on fewer examples than rapid would by itself, since they take
// a tenth of a second; -rapid.checks asks for more.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
	nettest.Parallel(6)
	os.Exit(m.Run())
}

// sets generates Sets over a few names, as Render would make them: veths only on
// bridges that are wanted, with the MTU of the bridge. One bridge is somebody else's.
func sets(joined bool) *rapid.Generator[Set] {
	return rapid.Custom(func(t *rapid.T) Set {
		var s Set
		for n := byte(1); n <= 2; n++ {
			if rapid.Bool().Draw(t, "bridge") {
				b := bridge(n)
				b.MTU = rapid.SampledFrom([]int{0, 1400, 9000}).Draw(t, "mtu")
				// A network that took over the bridge's name has another ID and subnet.
				if rapid.Bool().Draw(t, "another network") {
					b.Alias, b.V4, b.MAC = b.Alias+"b", netip.MustParsePrefix("10.0.0.1/8"), mac(200+n)
				}
				if rapid.Bool().Draw(t, "inhibit_ipv4") {
					b.Alias, b.V4 = b.Alias+"i", netip.Prefix{}
				}
				b.V6 = rapid.SampledFrom([]netip.Prefix{{}, b.V6, netip.MustParsePrefix("fd00:20::9/48"), netip.MustParsePrefix("fe80::1/64")}).Draw(t, "IPv6")
				if b.V6 != bridge(n).V6 {
					b.Alias += b.V6.String() // another network
				}
				s.Bridges = append(s.Bridges, b)
			}
		}
		if rapid.Bool().Draw(t, "foreign bridge") {
			s.Bridges = slices.Insert(s.Bridges, 0, Bridge{Name: "br0", V4: netip.MustParsePrefix("192.0.2.1/24"), V6: netip.MustParsePrefix("2001:db8:2::1/64")})
		}
		for n := byte(1); n <= 3 && len(s.Bridges) > 0; n++ {
			if !rapid.Bool().Draw(t, "veth") {
				continue
			}
			v := veth(n, rapid.SampledFrom(s.Bridges).Draw(t, "on"))
			v.MAC = mac(rapid.SampledFrom([]byte{n, n + 50}).Draw(t, "mac"))
			v.Hairpin = rapid.Bool().Draw(t, "hairpin")
			v.Isolated = rapid.Bool().Draw(t, "isolated")
			v.Joined = joined && rapid.Bool().Draw(t, "joined")
			s.Veths = append(s.Veths, &v)
		}
		return s
	})
}

// foreigners makes links that Apply must leave alone and returns their part of the dump.
func foreigners(t testing.TB, h *nettest.Host) string {
	h.Run("ip", "link", "add", "br0", "address", "02:00:00:00:00:b0", "type", "bridge")
	h.Run("ip", "link", "set", "br0", "up")
	h.Run("ip", "link", "add", "mybr7", "address", "02:00:00:00:00:b7", "type", "bridge")
	return dumpText(t, h)
}

// after returns the dump behind a series of Applies on a fresh host, and what remains
// of it when nothing is wanted any longer. The last of them has nothing left to change.
func after(t testing.TB, h *nettest.Host, last Set, applies ...func() error) (text string, err error) {
	h.Fresh(func(h *nettest.Host) {
		clean := foreigners(t, h)
		for _, a := range applies {
			if err = a(); err != nil {
				return
			}
		}
		text = dumpText(t, h)
		matches(t, last)
		br0 := Set{Bridges: []Bridge{{Name: "br0", V4: netip.MustParsePrefix("192.0.2.1/24"), V6: netip.MustParsePrefix("2001:db8:2::1/64")}}}
		apply(t, nil, br0)
		apply(t, &br0, Set{})
		if left := dumpText(t, h); left != clean {
			t.Errorf("left\n%s\nwant\n%s", left, clean)
		}
	})
	return text, err
}

// step is one Apply for after.
func step(have *Set, want Set) func() error {
	return func() error { return (&Applier{}).Apply(context.Background(), have, want) }
}

// Which way a host came to match makes no difference.
func TestLawDifference(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	rapid.Check(t, func(rt *rapid.T) {
		a, b := sets(false).Draw(rt, "a"), sets(false).Draw(rt, "b")
		direct, err := after(t, h, b, step(nil, b))
		if err != nil {
			rt.Fatal(err)
		}
		byWay, err := after(t, h, b, step(nil, a), step(&a, b))
		if err != nil {
			rt.Fatal(err)
		}
		if direct != byWay {
			rt.Fatalf("Apply(nil, b):\n%s\nApply(nil, a); Apply(&a, b):\n%s", direct, byWay)
		}
	})
}

// A difference does what a look at everything does, pairs that Docker has included.
func TestLawFull(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	rapid.Check(t, func(rt *rapid.T) {
		a, b := sets(true).Draw(rt, "a"), sets(true).Draw(rt, "b")
		keepMTU(a, &b)
		// br0's address can be told from its owner's only by the difference.
		b.Bridges = slices.DeleteFunc(b.Bridges, func(b Bridge) bool { return !b.Owned })
		b.Veths = slices.DeleteFunc(b.Veths, func(v *Veth) bool { return v.Bridge == "br0" })
		a.Bridges = slices.DeleteFunc(a.Bridges, func(b Bridge) bool { return !b.Owned })
		a.Veths = slices.DeleteFunc(a.Veths, func(v *Veth) bool { return v.Bridge == "br0" })
		full, err := after(t, h, b, step(nil, a), step(nil, b))
		if err != nil {
			rt.Fatal(err)
		}
		delta, err := after(t, h, b, step(nil, a), step(&a, b))
		if err != nil {
			rt.Fatal(err)
		}
		if full != delta {
			rt.Fatalf("Apply(nil, a); Apply(nil, b):\n%s\nApply(nil, a); Apply(&a, b):\n%s", full, delta)
		}
	})
}

// What is known of a link, or is not because it has failed before, makes no difference for
// what it is made to be.
func TestLawFailedSubjects(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	rapid.Check(t, func(rt *rapid.T) {
		a, b := sets(true).Draw(rt, "a"), sets(true).Draw(rt, "b")
		keepMTU(a, &b)
		wanted := b.Subjects()
		known := a.Only(func(subject string) bool { return wanted[subject] == nil || rapid.Bool().Draw(rt, "known: "+subject) })
		direct, err := after(t, h, b, step(nil, a), step(&a, b))
		if err != nil {
			rt.Fatal(err)
		}
		mended, err := after(t, h, b, step(nil, a), step(&known, b))
		if err != nil {
			rt.Fatal(err)
		}
		if direct != mended {
			rt.Fatalf("Apply(&a, b):\n%s\nApply(&known, b):\n%s", direct, mended)
		}
	})
}

// keepMTU gives bridges of one network one MTU: 0 leaves a bridge as it is found.
func keepMTU(a Set, b *Set) {
	for i := range b.Bridges {
		for _, had := range a.Bridges {
			if had.Name == b.Bridges[i].Name && had.Alias == b.Bridges[i].Alias {
				b.Bridges[i].MTU = had.MTU
			}
		}
		for j := range b.Veths {
			if b.Veths[j].Bridge == b.Bridges[i].Name {
				b.Veths[j].MTU = b.Bridges[i].MTU
			}
		}
	}
}

// Links that come and go while the kernel is asked don't make others vanish.
func TestInterruptedDump(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	want := set([]Bridge{br})
	for n := byte(1); n <= 40; n++ {
		v := veth(n, br)
		want.Veths = append(want.Veths, &v)
	}
	apply(t, nil, want)
	stop := make(chan struct{})
	h.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				other := bridge(9)
				if err := (kernel{}).makeBridge(other); err != nil {
					t.Error(err)
				}
				l, err := kernel{}.getLink(other.Name, 0)
				if err == nil {
					err = kernel{}.deleteLink(l.index)
				}
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
	defer close(stop)
	deadline := time.Now().Add(time.Second)
	for time.Now().Before(deadline) {
		links, err := (&Applier{}).Links()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for _, l := range links {
			seen[l.Name]++
		}
		for _, v := range want.Veths {
			if seen[v.Host] != 1 || seen[v.Peer] != 1 {
				t.Fatalf("%s is there %d times, its peer %d times", v.Host, seen[v.Host], seen[v.Peer])
			}
		}
		apply(t, nil, want)
	}
}

func TestLinksAndRoutes(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	apply(t, nil, set([]Bridge{br}, veth(1, br)))
	h.Run("ip", "addr", "add", "2001:db8::1/64", "dev", br.Name)
	h.Run("ip", "route", "add", "198.51.100.0/24", "via", "172.21.0.9")
	h.Run("ip", "route", "add", "203.0.113.0/24", "via", "172.21.0.9", "table", "77")
	h.Run("ip", "route", "add", "default", "via", "172.21.0.9")
	h.Run("ip", "route", "add", "blackhole", "192.0.2.0/24")
	h.Run("ip", "route", "add", "2001:db8:1::/48", "via", "2001:db8::9")
	a := &Applier{}
	links, err := a.Links()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(links, func(l model.Link) bool { return l.Name == br.Name })
	if i < 0 || links[i].Kind != "bridge" || links[i].Alias != br.Alias ||
		!slices.Contains(links[i].Addresses, br.V4) || !slices.Contains(links[i].Addresses, netip.MustParsePrefix("2001:db8::1/64")) {
		t.Errorf("links %+v", links)
	}
	e := veth(1, br)
	state := func() (up, hadLink bool) {
		t.Helper()
		links, err := a.Links()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if l.Name == e.Peer {
				up = l.Up
			} else if l.Name == e.Host {
				hadLink = l.HadLink
			}
		}
		return up, hadLink
	}
	if up, hadLink := state(); up || hadLink {
		t.Errorf("a new pair: up %v, had a link %v", up, hadLink)
	}
	h.Run("ip", "link", "set", e.Peer, "up")
	if up, hadLink := state(); !up || !hadLink {
		t.Errorf("a pair in use: up %v, had a link %v", up, hadLink)
	}
	h.Run("ip", "link", "set", e.Peer, "down")
	if up, hadLink := state(); up || !hadLink {
		t.Errorf("a pair that was in use: up %v, had a link %v", up, hadLink)
	}
	routes, err := a.Routes()
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{
		"127.0.0.0/8": true, "172.21.0.0/16": true, "198.51.100.0/24": true, "203.0.113.0/24": true,
		"2001:db8::/64": true, "2001:db8:1::/48": true, "0.0.0.0/0": false, "192.0.2.0/24": false,
	} {
		if slices.Contains(routes, netip.MustParsePrefix(p)) != want {
			t.Errorf("%s: want %v in %v", p, want, routes)
		}
	}
	if !slices.IsSortedFunc(routes, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) }) {
		t.Error("not sorted")
	}

}
