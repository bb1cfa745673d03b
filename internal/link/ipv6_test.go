package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
)

func TestMTUThatIsTooSmallForIPv6(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	br.MTU = minMTU6 - 1
	want := "bridge mybr1: add address fd00:21::1/64: IPv6 needs an MTU of at least 1280, have 1279: invalid argument"
	if errs := refused(t, nil, set([]Bridge{br})); fmt.Sprint(errs[br.Name]) != want {
		t.Errorf("have %v\nwant %s", errs[br.Name], want)
	}
	br.MTU = minMTU6
	apply(t, nil, set([]Bridge{br}))
	if text := dumpText(t, h); !strings.Contains(text, "fd00:21::1/64") {
		t.Error(text)
	}
}

// An address on a bridge without ports can be bound at once, its route is the one that
// ip(8) makes, and a link-local gateway is beside the kernel's own address.
func TestIPv6AddressIsUsableAtOnce(t *testing.T) {
	h := nettest.New(t)
	for _, who := range []string{"all", "default"} { // as on a real host
		h.Sysctl("net/ipv6/conf/"+who+"/accept_dad", "1")
	}
	for _, p := range []string{"fd00:21::1/64", "fe80::1/64", "fd00:22::1/80"} {
		br := bridge(1)
		br.V6 = netip.MustParsePrefix(p)
		apply(t, nil, set([]Bridge{br}))
		zone := ""
		if br.V6.Addr().IsLinkLocalUnicast() {
			zone = "%" + br.Name
		}
		h.Echo("udp", fmt.Sprintf("[%s%s]:0", br.V6.Addr(), zone))

		h.Run("ip", "link", "add", "plain0", "type", "bridge")
		h.Run("ip", "link", "set", "plain0", "up")
		h.Run("ip", "addr", "add", p, "dev", "plain0", "nodad")
		route := func(dev string) string { // without what says that no port is up
			return strings.ReplaceAll(h.Run("ip", "-6", "route", "show", "root", br.V6.Masked().String(), "dev", dev), " linkdown", "")
		}
		if mine, its := route(br.Name), route("plain0"); mine == "" || mine != its {
			t.Errorf("have route %q, want %q", mine, its)
		}
		h.Run("ip", "link", "del", "plain0")
		apply(t, nil, set(nil))
	}
}

// The host has an address that it can ask for neighbours from (RFC 4861, section 4.3: never
// a tentative one) as soon as the bridge has a carrier: what it forwards to the first
// container doesn't wait until the kernel has looked for duplicates.
func TestBridgeAsksForNeighboursAtOnce(t *testing.T) {
	h := nettest.New(t)
	for _, who := range []string{"all", "default"} { // as on a real host
		h.Sysctl("net/ipv6/conf/"+who+"/accept_dad", "1")
	}
	br := bridge(1)
	v := veth(1, br)
	apply(t, nil, set([]Bridge{br}, v))
	h.Peer("box").Adopt(h, v.Peer, nettest.End{Name: "eth0"})
	want := "fe80::42:ff:fe00:65" // RFC 4291, appendix A, of 02:42:00:00:00:65
	var linkLocal []string
	for _, a := range ipLinks(t, h)[br.Name].Addresses {
		if a.Scope == "link" {
			linkLocal = append(linkLocal, a.Local)
			if a.Tentative || !a.NoDAD {
				t.Errorf("%s is tentative, or has been: %+v", a.Local, a)
			}
		}
	}
	if !slices.Equal(linkLocal, []string{want}) {
		t.Errorf("link-local addresses %v, want %s alone", linkLocal, want)
	}
	br.V6 = netip.Prefix{} // the network no longer has IPv6
	apply(t, &Set{Bridges: []Bridge{bridge(1)}, Veths: []*Veth{&v}}, set([]Bridge{br}, v))
	for _, a := range ipLinks(t, h)[br.Name].Addresses {
		if a.NoDAD {
			t.Errorf("%s is left", a.Local)
		}
	}
}

// The kernel may be looking for duplicates of the link-local address of a bridge that is
// taken over: that ends, too.
func TestBridgeTakenOverAsksForNeighboursAtOnce(t *testing.T) {
	h := nettest.New(t)
	br, other := bridge(1), bridge(1)
	other.Alias, other.V6 = other.Alias+"b", netip.Prefix{}
	v := veth(1, br)
	have, want := set([]Bridge{other}, v), set([]Bridge{br}, v)
	for _, had := range []*Set{nil, &have} {
		for _, links := range []string{"all", "default"} { // as on a real host
			h.Sysctl("net/ipv6/conf/"+links+"/accept_dad", "1")
		}
		h.Sysctl("net/ipv6/conf/default/dad_transmits", "30") // so that it takes half a minute
		apply(t, nil, have)
		h.Sysctl("net/ipv6/conf/default/dad_transmits", "1")
		h.Run("ip", "link", "set", v.Peer, "up") // the bridge gets a carrier
		nettest.Eventually(t, 5*time.Second, func() error {
			for _, a := range ipLinks(t, h)[br.Name].Addresses {
				if a.Scope == "link" && a.Tentative {
					return nil
				}
			}
			return errors.New("no tentative address")
		})
		apply(t, had, want)
		if text := dumpText(t, h); !strings.Contains(text, "fe80::42:ff:fe00:65/64 brd  nodad=true tentative=false") {
			t.Error(text)
		}
		matches(t, want)
		apply(t, nil, set(nil))
	}
}

// A link-local gateway goes with its network, though the kernel's own address stays.
func TestLinkLocalGatewayGoes(t *testing.T) {
	h := nettest.New(t)
	br, next := bridge(1), bridge(1)
	br.V6 = netip.MustParsePrefix("fe80::1/64")
	next.Alias += "b"
	v := veth(1, br)
	have, want := set([]Bridge{br}, v), set([]Bridge{next}, v)
	for _, had := range []*Set{&have, nil} {
		apply(t, nil, have)
		h.Peer(fmt.Sprint("box", had == nil)).Adopt(h, v.Peer, nettest.End{Name: "eth0"}) // so that the bridge has a carrier
		linkLocal := func() (all []string) {
			for _, a := range ipLinks(t, h)[br.Name].Addresses {
				if a.Scope == "link" {
					all = append(all, a.Local)
				}
			}
			slices.Sort(all)
			return all
		}
		nettest.Eventually(t, 5*time.Second, func() error {
			if all := linkLocal(); len(all) != 2 || all[0] != "fe80::1" {
				return fmt.Errorf("link-local addresses %v", all)
			}
			return nil
		})
		own := linkLocal()[1:]
		apply(t, had, want)
		if all := linkLocal(); !slices.Equal(all, own) {
			t.Errorf("link-local addresses %v, want %v", all, own)
		}
		apply(t, nil, set(nil))
	}
}
