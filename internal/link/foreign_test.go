package link

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// A bridge or a pair that was being made when the process died has no alias, but the
// MAC that was chosen for it.
func TestHalfMade(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	v := veth(1, br)
	want := set([]Bridge{br}, v)
	apply(t, nil, want)
	good := dumpText(t, h)
	none := set(nil)
	apply(t, &want, none)

	for _, have := range []*Set{nil, &none} {
		h.Run("ip", "link", "add", br.Name, "address", br.MAC.String(), "type", "bridge")
		h.Run("ip", "link", "add", v.Host, "type", "veth", "peer", "name", v.Peer, "address", v.MAC.String())
		apply(t, have, want)
		if now := dumpText(t, h); now != good {
			t.Errorf("have\n%s\nwant\n%s", now, good)
		}
		apply(t, &want, none)
	}

	// Deleting one that is half made, too.
	h.Run("ip", "link", "add", br.Name, "address", br.MAC.String(), "type", "bridge")
	apply(t, &want, none)
	if text := dumpText(t, h); strings.Contains(text, br.Name) {
		t.Error(text)
	}
}

// Links of somebody else are neither changed nor deleted, whatever they are called.
func TestForeign(t *testing.T) {
	h := nettest.New(t)
	br, other := bridge(1), bridge(2)
	v, w := veth(1, br), veth(2, other)
	h.Run("ip", "link", "add", br.Name, "type", "bridge")
	h.Run("ip", "link", "add", w.Host, "type", "veth", "peer", "name", w.Peer, "address", "02:00:00:00:00:99")
	h.Run("ip", "link", "add", "x0", "type", "bridge")
	h.Run("ip", "link", "add", "mybr8", "type", "bridge")
	h.Run("ip", "link", "add", "veth0000000008", "type", "veth", "peer", "name", "veth0000000008c")
	h.Run("ip", "link", "set", "x0", "alias", "mybr uplink")
	before := dumpText(t, h)

	none := set(nil)
	good := veth(3, other)
	want := set([]Bridge{br, other}, v, w, good)
	for _, have := range []*Set{nil, &none} {
		errs := refused(t, have, want)
		if !errors.Is(errs[br.Name], model.ErrConflict) || !errors.Is(errs[w.Host], model.ErrConflict) || errs[v.Host] == nil || len(errs) != 3 {
			t.Errorf("errors %v", errs)
		}
		now := dumpText(t, h)
		for _, line := range strings.Split(before, "\n") {
			if !strings.Contains(now, line) {
				t.Errorf("%s\nhas changed:\n%s", line, now)
			}
		}
		if !strings.Contains(now, good.Host+" ") || strings.Contains(now, v.Host+" ") {
			t.Errorf("a bad link has kept a good one from being made, or the other way round:\n%s", now)
		}
		apply(t, &want, none)
		if now := dumpText(t, h); now != before {
			t.Errorf("have\n%s\nwant\n%s", now, before)
		}
	}
	t.Log(refused(t, nil, want))

	// The name of the peer is taken.
	h.Run("ip", "link", "add", v.Peer, "type", "veth", "peer", "name", "x1")
	if errs := refused(t, nil, set([]Bridge{other}, veth(1, other))); !errors.Is(errs[v.Host], model.ErrConflict) {
		t.Error(errs)
	}
	// There is a link of that name that is no bridge.
	if errs := refused(t, nil, set([]Bridge{{Name: v.Peer}})); !errors.Is(errs[v.Peer], model.ErrConflict) {
		t.Error(errs)
	}
}

// A bridge that was there before gets our address and is brought up; only that address
// goes again, even where the kernel takes others with it.
func TestBridgeOfSomebodyElse(t *testing.T) {
	h := nettest.New(t)
	br := Bridge{Name: "br0", V4: netip.MustParsePrefix("172.30.0.1/16"), V6: netip.MustParsePrefix("fd00:30::1/64")}
	v := veth(1, br)
	want, none := set([]Bridge{br}, v), set(nil)
	errs := refused(t, nil, want)
	if !errors.Is(errs["br0"], model.ErrNotFound) || errs[v.Host] == nil {
		t.Errorf("errors %v", errs)
	}
	h.Run("ip", "link", "add", "br0", "mtu", "1450", "type", "bridge")
	h.Run("ip", "link", "set", "br0", "alias", "the office", "up")
	h.Sysctl("net/ipv4/conf/br0/promote_secondaries", "0")
	h.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "br0")
	h.Run("ip", "addr", "add", "fd00:30::7/64", "dev", "br0", "nodad")
	apply(t, nil, want)
	if text := dumpText(t, h); !strings.Contains(text, "172.30.0.1/16 brd 172.30.255.255") || !strings.Contains(text, `alias="the office"`) || !strings.Contains(text, v.Host) {
		t.Error(text)
	}
	h.Run("ip", "addr", "add", "172.30.0.7/16", "brd", "+", "dev", "br0")
	other := want
	other.Bridges = []Bridge{br}
	other.Bridges[0].V4, other.Bridges[0].V6 = netip.MustParsePrefix("172.30.0.9/16"), netip.MustParsePrefix("fd00:30::9/64")
	apply(t, &want, other)
	for i, address := range []string{"172.30.0.1/16", "172.30.0.7/16", "172.30.0.9/16", "fd00:30::1/64", "fd00:30::7/64", "fd00:30::9/64"} {
		if has := strings.Contains(dumpText(t, h), address); has != (i%3 > 0) {
			t.Errorf("%s: %v", address, has)
		}
	}
	apply(t, &other, none)
	text := dumpText(t, h)
	if strings.Contains(text, "172.30.0.9") || strings.Contains(text, "fd00:30::9") || !strings.Contains(text, "fd00:30::7/64") || !strings.Contains(text, "172.30.0.7/16") || !strings.Contains(text, "192.0.2.1/24") || strings.Contains(text, v.Host) {
		t.Error(text)
	}
	h.Run("ip", "link", "set", "br0", "down")
	apply(t, nil, want)
	if text := dumpText(t, h); !strings.Contains(text, "br0 bridge up=true") {
		t.Error(text)
	}
	h.Run("ip", "link", "del", "br0")
	apply(t, &want, none)
}

// A bridge of mybr's that was deleted is made anew with its ports, whether the difference
// is about the bridge or about a pair that it should have, and whatever else is there.
func TestOwnedBridgeIsMadeAnewWithItsPorts(t *testing.T) {
	h := nettest.New(t)
	br, other := bridge(1), bridge(2)
	v1, v2, v3, elsewhere := veth(1, br), veth(2, br), veth(3, br), veth(4, other)
	v2.Hairpin, v3.Joined = true, true
	more := set([]Bridge{br, other}, v1, v2, v3, veth(5, br), elsewhere)
	wider := set([]Bridge{br, other}, v1, v2, v3, elsewhere)
	wider.Bridges[0].MTU = 1400
	for i := range wider.Veths[:3] {
		wider.Veths[i].MTU = 1400
	}
	for name, want := range map[string]Set{"a pair comes": more, "the bridge changes": wider} {
		made := set([]Bridge{br, other}, v1, v2, v3, elsewhere)
		made.Veths[2].Joined = false
		have := set([]Bridge{br, other}, v1, v2, v3, elsewhere)
		apply(t, nil, made)
		apply(t, &have, want)
		good := dumpText(t, h)
		apply(t, nil, set(nil))
		apply(t, nil, made)

		h.Run("ip", "link", "del", br.Name)
		p, err := (&Applier{}).Plan(t.Context(), &have, want)
		if err != nil {
			t.Fatal(err)
		}
		if renewed, _ := p.Renewed(); !slices.Contains(renewed, br.Name) {
			t.Errorf("%s: renewed %q", name, renewed)
		}
		if text := strings.Join(p.Changes(), "\n"); !strings.Contains(text, "link "+v1.Host+": put into bridge "+br.Name) || strings.Contains(text, elsewhere.Host) {
			t.Errorf("%s: changes\n%s", name, text)
		}
		if err := p.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now := dumpText(t, h); now != good {
			t.Errorf("%s: have\n%s\nwant\n%s", name, now, good)
		}
		matches(t, want)
		apply(t, nil, set(nil))
	}
}

// While a bridge of somebody else is gone, it fails with all of its ports, and they alone;
// when it is back, so are its ports, by differences only.
func TestForeignBridgeComesBack(t *testing.T) {
	h := nettest.New(t)
	br, own := Bridge{Name: "br0", V4: netip.MustParsePrefix("172.30.0.1/16")}, bridge(1)
	v1, v2, joined, fine, late := veth(1, br), veth(2, br), veth(3, br), veth(4, own), veth(5, br)
	joined.Isolated, joined.Joined = true, true
	broken := []string{"br0", v1.Host, v2.Host, joined.Host}
	for _, full := range []bool{true, false} {
		h.Run("ip", "link", "add", "br0", "type", "bridge")
		made := set([]Bridge{br, own}, v1, v2, joined, fine)
		made.Veths[2].Joined = false
		apply(t, nil, made)
		have := set([]Bridge{br, own}, v1, v2, joined, fine)
		want, failing := have, broken
		h.Run("ip", "link", "del", "br0")
		known := &have
		if full {
			known = nil
		} else { // a difference finds it when it is about the bridge
			want = set([]Bridge{br, own}, v1, v2, joined, fine, late)
			failing = append(slices.Clone(broken), late.Host)
		}
		for range 2 {
			errs := refused(t, known, want)
			if got := slices.Sorted(maps.Keys(errs)); !slices.Equal(got, failing) || !errors.Is(errs["br0"], model.ErrNotFound) {
				t.Errorf("full %v: failed %q, want %q: %v", full, got, failing, errs)
			}
			ok := want.Only(func(s string) bool { return !slices.Contains(failing, s) })
			known = &ok
		}
		h.Run("ip", "link", "add", "br0", "type", "bridge")
		if err := (&Applier{}).Apply(t.Context(), known, want); err != nil {
			t.Fatal(err)
		}
		matches(t, want)
		links := ipLinks(t, h)
		for _, v := range []Veth{v1, v2, joined} {
			if links[v.Host].Master != "br0" {
				t.Errorf("full %v: %s is in %q", full, v.Host, links[v.Host].Master)
			}
		}
		h.Run("ip", "link", "del", "br0")
		apply(t, nil, set(nil))
	}
}

// A bridge of somebody else that takes the lowest MAC of its ports keeps that of its hardware.
func TestForeignBridgeKeepsItsMAC(t *testing.T) {
	h := nettest.New(t)
	h.Run("ip", "link", "add", "br0", "type", "bridge")
	h.Connect(nettest.End{Name: "eth0", Master: "br0", MAC: "fc:ff:ff:00:00:01"}, h.Peer("lan"), nettest.End{Name: "eth0"})
	br := Bridge{Name: "br0"}
	v, fe := veth(1, br), veth(2, br)
	v.MAC, fe.MAC = model.MAC{0x02, 0, 0, 0, 0, 5}, model.MAC{0xfe, 0, 0, 0, 0, 5}
	apply(t, nil, set([]Bridge{br}, v))
	links := ipLinks(t, h)
	if have := links["br0"].MAC; have != "fc:ff:ff:00:00:01" {
		t.Errorf("MAC of br0 is %s", have)
	}
	apply(t, nil, set([]Bridge{br}, v, fe))
	links = ipLinks(t, h)
	for host, want := range map[string]string{v.Host: "fe:00:00:00:00:05", fe.Host: "fa:00:00:00:00:05"} {
		if have := links[host].MAC; have != want {
			t.Errorf("MAC of %s is %s, want %s", host, have, want)
		}
	}
}
