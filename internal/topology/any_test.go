package topology

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/view"
)

// anyView draws a view with texts, addresses and references that nobody has checked.
func anyView(t *rapid.T) (view.View, Host) {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "web", "漢字", "\x1b[1m", "<b>&\"'", "a\nb", "\xff", "\u0301"}), rapid.String())
	ids := rapid.SampledFrom([]string{"", "a", "b", "c", id(1), id(2), id(3), "\x00\xff", "漢字漢字漢字"})
	address := rapid.Custom(func(t *rapid.T) netip.Addr {
		b := rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "address")
		a, _ := netip.AddrFromSlice(append(b, make([]byte, (20-len(b))%4)...))
		if a.Is6() && rapid.Bool().Draw(t, "zoned") {
			a = a.WithZone(text.Draw(t, "zone"))
		}
		return a
	})
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		return netip.PrefixFrom(address.Draw(t, "a"), rapid.IntRange(0, 128).Draw(t, "bits"))
	})
	port := rapid.Custom(func(t *rapid.T) netip.AddrPort {
		return netip.AddrPortFrom(address.Draw(t, "a"), rapid.Uint16().Draw(t, "p"))
	})
	subnet := rapid.Custom(func(t *rapid.T) view.Subnet {
		return view.Subnet{Family: text.Draw(t, "f"), Prefix: prefix.Draw(t, "p"), Gateway: address.Draw(t, "g"), Address: prefix.Draw(t, "a"),
			Mode:       rapid.OneOf(rapid.SampledFrom([]string{"nat", "nat-unprotected", "routed", "isolated"}), text).Draw(t, "m"),
			Masquerade: rapid.Bool().Draw(t, "masq"), SNAT: address.Draw(t, "snat")}
	})
	var v view.View
	v.Networks = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) view.Network {
		return view.Network{ID: ids.Draw(t, "id"), Name: text.Draw(t, "name"), Bridge: text.Draw(t, "bridge"), Owned: rapid.Bool().Draw(t, "owned"),
			MTU: rapid.Int().Draw(t, "mtu"), Internal: rapid.Bool().Draw(t, "internal"), ICC: rapid.Bool().Draw(t, "icc"),
			Trusted: rapid.SliceOfN(text, 0, 3).Draw(t, "trusted"), Subnets: rapid.SliceOfN(subnet, 0, 3).Draw(t, "subnets")}
	}), 0, 15).Draw(t, "networks")
	v.Endpoints = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) view.Endpoint {
		return view.Endpoint{ID: ids.Draw(t, "id"), Container: text.Draw(t, "name"), Network: ids.Draw(t, "network"), Bridge: text.Draw(t, "bridge"),
			Veth: text.Draw(t, "veth"), MAC: text.Draw(t, "mac"), IPv4: prefix.Draw(t, "v4"), IPv6: prefix.Draw(t, "v6"),
			Sandbox: rapid.OneOf(ids, text).Draw(t, "sandbox")}
	}), 0, 40).Draw(t, "endpoints")
	v.Ports = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) view.Port {
		return view.Port{Proto: text.Draw(t, "proto"), Host: port.Draw(t, "host"), Container: port.Draw(t, "container"), Count: rapid.Uint16().Draw(t, "n"),
			Carried:  rapid.OneOf(rapid.SampledFrom([]string{view.ByNAT, view.ByProcess, view.Directly}), text).Draw(t, "carried"),
			Endpoint: ids.Draw(t, "endpoint"), Name: text.Draw(t, "name")}
	}), 0, 30).Draw(t, "ports")
	h := Host{Name: text.Draw(t, "host"), Inside: rapid.MapOfN(ids, text, 0, 5).Draw(t, "inside")}
	h.Uplinks = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Uplink {
		return Uplink{text.Draw(t, "uplink"), rapid.SliceOfN(prefix, 0, 3).Draw(t, "addresses")}
	}), 0, 4).Draw(t, "uplinks")
	return v, h
}

func anyLimits(t *rapid.T) Limits {
	return rapid.SampledFrom([]Limits{Usual, All, {Uplinks: 1, Addresses: 1, Networks: 1, Containers: 1, Ports: 1}}).Draw(t, "limits")
}

// checkLines says what holds for every drawing in a terminal.
func checkLines(t *rapid.T, text string, g Glyphs) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if w := uniseg.StringWidth(line); w > Width {
			t.Fatalf("%d columns: %s", w, line)
		}
		if model.Printable(line) != line {
			t.Fatalf("not printable: %q", line)
		}
		if g == ASCII && strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			t.Fatalf("not ASCII: %q", line)
		}
	}
}

// TestAnyViewIsDrawn: whatever the view holds, nothing of it is lost, and the drawing fits.
func TestAnyViewIsDrawn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, h := anyView(t)
		s := Of(v, h, anyLimits(t))
		endpoints := s.more.endpoints
		for _, n := range s.networks {
			if n.more < 0 {
				t.Fatalf("%s: %d more", n.title, n.more)
			}
			endpoints += n.more
		}
		for i, b := range s.boxes {
			endpoints += len(b.nics)
			homes := 0
			for _, n := range s.networks {
				for _, at := range n.home {
					homes += ifelse(at == i, 1)
				}
			}
			if homes != 1 {
				t.Fatalf("%s is drawn %d times", b.title, homes)
			}
		}
		if endpoints != len(v.Endpoints) {
			t.Fatalf("%d endpoints of %d", endpoints, len(v.Endpoints))
		}
		listed := make(map[string]bool)
		for _, n := range v.Networks {
			listed[n.ID] = true
		}
		others := make(map[string]bool)
		for _, e := range v.Endpoints {
			others[e.Network] = others[e.Network] || !listed[e.Network]
		}
		want := len(v.Networks)
		for _, other := range others {
			want += ifelse(other, 1)
		}
		if have := len(s.networks) + s.more.networks; have != want {
			t.Fatalf("%d networks of %d", have, want)
		}
		checkLines(t, s.Text(Unicode), Unicode)
		checkLines(t, s.Text(ASCII), ASCII)
	})
}

var more = regexp.MustCompile(`… (\d+) more`)

// TestTextHasAll reads a drawing: each container and network is in it once, or counted.
func TestTextHasAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b builder
		networks := rapid.IntRange(0, 20).Draw(t, "networks")
		for i := range networks {
			b.network(fmt.Sprintf("net-%d-", i), fmt.Sprintf("mybr%d", i), func(n *view.Network) { n.Internal = rapid.Bool().Draw(t, "internal") }, fmt.Sprintf("10.0.%d.1/24", i))
		}
		containers := 0
		if networks > 0 {
			containers = rapid.IntRange(0, 40).Draw(t, "containers")
		}
		for c := range containers {
			on := rapid.SliceOfNDistinct(rapid.IntRange(0, networks-1), 1, min(4, networks), rapid.ID).Draw(t, "on")
			for _, n := range on {
				b.endpoint(b.Networks[n].ID, fmt.Sprintf("box-%d-", c), fmt.Sprintf("10.0.%d.%d/24", n, c+2))
			}
		}
		limits := anyLimits(t)
		text := Of(b.View, Host{}, limits).Text(Unicode)
		have := 0 // endpoints: each has an address of its own
		for _, e := range b.Endpoints {
			if n := strings.Count(text, " "+e.IPv4.String()+" "); n > 1 {
				t.Fatalf("%s is drawn %d times:\n%s", e.IPv4, n, text)
			} else {
				have += n
			}
		}
		drawn := 0
		for _, n := range b.Networks {
			if strings.Contains(text, "─ "+n.Name+" · ") {
				drawn++
			}
		}
		for _, m := range more.FindAllStringSubmatch(strings.ReplaceAll(text, "more network", "other network"), -1) {
			n, _ := strconv.Atoi(m[1])
			have += n
		}
		if m := regexp.MustCompile(`… (\d+) more networks? with (\d+) endpoint`).FindStringSubmatch(text); m != nil {
			n, _ := strconv.Atoi(m[1])
			drawn += n
			n, _ = strconv.Atoi(m[2])
			have += n
		}
		if have != len(b.Endpoints) || drawn != networks {
			t.Fatalf("%d endpoints of %d, %d networks of %d:\n%s", have, len(b.Endpoints), drawn, networks, text)
		}
		if limits == All && more.MatchString(text) {
			t.Fatalf("All, and yet:\n%s", text)
		}
	})
}

// TestSameValuesSameDrawing: the order in which a view lists things does not matter, save of
// what has the same names.
func TestSameValuesSameDrawing(t *testing.T) {
	for _, e := range examples() {
		want := Of(e.view, e.host, e.most).Text(Unicode)
		slices.Reverse(e.view.Networks)
		slices.Reverse(e.view.Ports)
		if have := Of(e.view, e.host, e.most).Text(Unicode); have != want {
			t.Errorf("%s: in another order it is\n%s\nnot\n%s", e.name, have, want)
		}
	}
}
