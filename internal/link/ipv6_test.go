package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// enable is what Prepare is meant for.
func enable(h *nettest.Host, calls *[]string) func(context.Context, Bridge) error {
	return func(_ context.Context, b Bridge) error {
		l, err := getLink(b.Name, 0)
		if err != nil {
			return err
		}
		*calls = append(*calls, fmt.Sprintf("%s up=%v", b.Name, l.up))
		if b.V6.IsValid() {
			h.Sysctl("net/ipv6/conf/"+b.Name+"/disable_ipv6", "0")
		}
		h.Sysctl("net/ipv6/conf/"+b.Name+"/accept_ra", "0")
		return nil
	}
}

// On a host that has IPv6 switched off for new links, a bridge with an IPv6 address is
// prepared for it, be it new, taken over, or somebody else's.
func TestPrepare(t *testing.T) {
	h := nettest.New(t)
	h.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	var calls []string
	a := &Applier{Prepare: enable(h, &calls)}
	plain, six := bridge(1), bridge(2)
	plain.V6 = netip.Prefix{}
	theirs := Bridge{Name: "br0", V6: netip.MustParsePrefix("fd00:30::1/64")}
	h.Run("ip", "link", "add", "br0", "type", "bridge")
	h.Run("ip", "link", "set", "br0", "up")

	if errs := refused(t, nil, set([]Bridge{theirs, plain, six})); !errors.Is(errs["br0"], unix.EACCES) || !errors.Is(errs[six.Name], unix.EACCES) || len(errs) != 2 {
		t.Errorf("the test can't fail: %v", errs)
	}
	apply(t, nil, set(nil))
	want, more := set([]Bridge{theirs, plain, six}), set([]Bridge{theirs, bridge(1), six})
	for _, step := range []struct {
		have  *Set
		want  Set
		calls string
	}{
		{nil, want, "br0 up=true, mybr1 up=false, mybr2 up=false"},
		{nil, want, ""},
		{&want, more, "mybr1 up=true"},
	} {
		calls = nil
		if err := a.Apply(t.Context(), step.have, step.want); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(calls, ", "); got != step.calls {
			t.Errorf("prepared %q, want %q", got, step.calls)
		}
		text := dumpText(t, h)
		for _, b := range step.want.Bridges {
			if b.V6.IsValid() && !strings.Contains(text, b.V6.String()+" brd  nodad=true tentative=false") {
				t.Errorf("%s is missing: %s", b.V6, text)
			}
		}
	}
}

// What can't be prepared keeps no other bridge from being made.
func TestPrepareFails(t *testing.T) {
	h := nettest.New(t)
	broken := errors.New("read-only file system")
	a := &Applier{Prepare: func(_ context.Context, b Bridge) error {
		if b.Name == "mybr1" {
			return broken
		}
		return nil
	}}
	err := a.Apply(t.Context(), nil, set([]Bridge{bridge(1), bridge(2)}))
	var of *Error
	if !errors.Is(err, broken) || !errors.As(err, &of) || of.Link != "mybr1" {
		t.Error(err)
	}
	if text := dumpText(t, h); strings.Contains(text, "fd00:21::1") || !strings.Contains(text, "fd00:22::1") {
		t.Error(text)
	}
}

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
	apply(t, &Set{Bridges: []Bridge{bridge(1)}, Veths: []Veth{v}}, set([]Bridge{br}, v))
	for _, a := range ipLinks(t, h)[br.Name].Addresses {
		if a.NoDAD {
			t.Errorf("%s is left", a.Local)
		}
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
