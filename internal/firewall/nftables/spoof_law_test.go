package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/icc"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/spoof"
)

// spoofSet draws up to four ports of a few, with what they may send besides, on two networks with
// lists of what may be begun there, or none.
func spoofSet() *rapid.Generator[spoof.Set] {
	return rapid.Custom(func(t *rapid.T) (s spoof.Set) {
		lists := drawLists(t)
		for i := range byte(4) {
			pick := func(what string, from ...string) string {
				return rapid.SampledFrom(from).Draw(t, fmt.Sprint(what, i))
			}
			if rapid.IntRange(0, 2).Draw(t, fmt.Sprint("there", i)) == 0 {
				continue
			}
			p := spoof.Port{Link: fmt.Sprint("veth", i), Bridge: "br9", MAC: model.MAC{2, 0, 0, 0, 0, i}, V4: netip.AddrFrom4([4]byte{10, 9, 0, i})}
			if pick("v6", "", "6") != "" {
				p.V6 = netip.MustParseAddr(fmt.Sprint("fd00:9::", i))
			}
			p.More = model.Spoof{
				Addresses: pick("addresses", "", "none", "10.0.0.0/8", "10.9.0.7/32,192.0.2.0/25,fd00:7::/64", "0.0.0.0/0,::/0"),
				MACs:      pick("macs", "", "none", "00:00:5e:00:01:33", "00:00:5e:00:01:33,02:00:00:00:00:77"),
				Trusted:   pick("trusted", "", "dhcp", "dhcp,ra", "ra"),
			}
			p.Audited = pick("audited", "", "", "audited") != ""
			p.Bridge = fmt.Sprint("br", 8+i%2)
			if l, listed := lists[p.Bridge]; listed {
				p.Listed, p.Class = true, l.Class(pick("groups", "", "a", "b", "a,b", "c"))
			}
			s.Ports = append(s.Ports, p)
			if pick("shares", "", "", "share") != "" {
				s.Shares = append(s.Shares, spoof.Share{Link: p.Link, Bridge: p.Bridge, MAC: p.MAC, Addr: netip.MustParseAddr("172.30.0.9")})
			}
		}
		for bridge, l := range lists {
			var classes []string
			inside := []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("fd00:9::/64")}
			for _, p := range s.Ports {
				if p.Bridge == bridge {
					classes = append(classes, p.Class)
					inside = append(inside, p.More.Prefixes()...)
				}
			}
			s.Networks = append(s.Networks, spoof.NewNetwork(bridge, l, classes, []netip.Addr{netip.MustParseAddr(gateway), netip.MustParseAddr(gateway6)}, inside))
		}
		slices.SortFunc(s.Networks, func(a, b spoof.Network) int { return spoof.CompareNetworks(&a, &b) })
		return s
	})
}

// drawLists draws lists for some of two bridges.
func drawLists(t *rapid.T) map[string]icc.List {
	lists := map[string]icc.List{}
	for _, bridge := range []string{"br8", "br9"} {
		text := rapid.SampledFrom([]string{"", "", "a>b:80", "a>b:80,*>b:53/udp,b>b/icmp", "a>*,b>c:1-9", "*>*"}).Draw(t, bridge)
		if text == "" {
			continue
		}
		l, err := icc.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		lists[bridge] = l
	}
	return lists
}

// spoofList is nft(8)'s list of the table; "": there is none.
func spoofList(h *nettest.Host) string {
	if !strings.Contains(h.Run("nft", "list", "tables"), "table "+bridge().name()+"\n") {
		return ""
	}
	return h.Run("nft", "--stateless", "list", "table", "bridge", spoofTable)
}

// From any set to any other: a difference and the whole end alike, doing it again does nothing,
// and what others have is left alone.
func TestSpoofDeltaEqualsFull(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	rapid.Check(t, func(r *rapid.T) {
		a, b := spoofSet().Draw(r, "a"), spoofSet().Draw(r, "b")
		end := func(unknown bool, steps ...spoof.Set) (out string) {
			h.Fresh(func(h *nettest.Host) {
				h.Feed("table bridge other { chain c { type filter hook prerouting priority 0; ether saddr 02:00:00:00:00:01 drop; }; }", "nft", "-f", "-")
				s := NewSpoof(r.Errorf)
				defer s.Close()
				var have *spoof.Set
				for i := range steps {
					if err := s.Apply(context.Background(), have, steps[i]); err != nil {
						r.Fatal(err)
					}
					if have = &steps[i]; unknown {
						have = nil
					}
				}
				if p, err := s.Plan(context.Background(), nil, steps[len(steps)-1]); err != nil || len(p) > 0 {
					r.Errorf("after %d steps there is %q to do: %v", len(steps), p.Changes(), err)
				}
				if text := h.Run("nft", "list", "tables"); !strings.Contains(text, "bridge other") {
					r.Errorf("somebody else's table has gone: %s", text)
				}
				out = strings.TrimSpace(blocks(spoofList(h)))
			})
			return out
		}
		once := end(false, b)
		if twice := end(false, a, b); once != twice {
			r.Errorf("at once and in two steps:\n%s", differences(once, twice))
		}
		if mended := end(true, a, b); once != mended {
			r.Errorf("at once and mended:\n%s", differences(once, mended))
		}
		if (once == "") != (len(b.Ports) == 0) {
			r.Errorf("%d ports: %s", len(b.Ports), once)
		}
	})
}

// A table whose set of ports was a map, as it was before, is made anew in one transaction: an element
// of the one is none of the other.
func TestSpoofFormerTable(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	want := spoof.Set{Ports: []spoof.Port{evesPort(model.Spoof{})}}
	s := NewSpoof(t.Errorf)
	defer s.Close()
	if err := s.Apply(context.Background(), nil, want); err != nil {
		t.Fatal(err)
	}
	wanted := spoofList(h)
	h.Feed(`delete table bridge mybr-spoof
		table bridge mybr-spoof {
			map ports { type ifname : verdict; elements = { "vetheve" : goto port, "vethgone" : goto port }; }
			chain port { drop; }
			chain prerouting { type filter hook prerouting priority -310; iifname vmap @ports; }
			chain input { type filter hook input priority -310; }
		}`, "nft", "-f", "-")
	if err := s.Apply(context.Background(), nil, want); err != nil {
		t.Fatal(err)
	}
	if have := spoofList(h); have != wanted {
		t.Errorf("anew and in place of the former:\n%s", differences(wanted, have))
	}
}

// One more port is some elements, whatever ports there are, and no rule.
func TestSpoofOneMore(t *testing.T) {
	many := spoof.Set{}
	for i := range 500 {
		many.Ports = append(many.Ports, spoof.Port{Link: fmt.Sprintf("veth%04d", i), Bridge: "br9", MAC: model.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, V4: netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})})
	}
	more := spoof.Set{Ports: append(slices.Clone(many.Ports), spoof.Port{Link: "vethnew", Bridge: "br9", MAC: macEve, V4: netip.MustParseAddr("10.10.0.1"), V6: netip.MustParseAddr("fd00::1")})}
	p, err := (&Spoof{}).Plan(context.Background(), &many, more)
	if err != nil || len(p) != 1 || len(p.Changes()) != 6 {
		t.Fatalf("%v: %q", err, p.Changes())
	}
	for _, line := range p.Changes() {
		c, ok := (&Spoof{}).Told(line)
		if !ok || c.Action != "add" || c.Table != "bridge mybr-spoof" || !strings.Contains(c.Rule, "vethnew") {
			t.Errorf("%q is %+v", line, c)
		}
	}
	explained := map[string]bool{}
	for _, e := range (&Spoof{}).Explain(more) {
		if e.Why == "" {
			t.Errorf("%+v has no reason", e)
		}
		explained[e.Chain+" "+e.Rule] = true
	}
	for _, line := range p.Changes() {
		if c, _ := told(line); !explained[c.Chain+" "+c.Rule] {
			t.Errorf("%q is not among what is explained", line)
		}
	}
}

// Where the kernel can't do it, whoever asks for it is told, and nobody else.
func TestSpoofLacks(t *testing.T) {
	s := &Spoof{lacks: fmt.Errorf("no bridges")}
	if p, err := s.Plan(context.Background(), nil, spoof.Set{}); err != nil || len(p) > 0 {
		t.Errorf("nobody asks: %v %v", p, err)
	}
	_, err := s.Plan(context.Background(), nil, spoof.Set{Ports: []spoof.Port{evesPort(model.Spoof{})}})
	subjects, rest := plan.Blame(err)
	if rest != nil || len(subjects) != 1 || subjects[0].Subject != "vetheve" {
		t.Errorf("%v: %v, %v", err, subjects, rest)
	}
}

// Only what tells that the kernel hasn't got it is taken for that.
func TestSpoofLacking(t *testing.T) {
	of := func(errs ...error) error { return fmt.Errorf("probe: %w", errors.Join(errs...)) }
	answer := func(e unix.Errno) error { return &netlink.OpError{Op: "receive", Err: e} }
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{of(answer(unix.EOPNOTSUPP)), true},
		{of(answer(unix.EOPNOTSUPP), answer(unix.ENOENT), answer(unix.ENOENT)), true},
		{of(answer(unix.EINVAL)), true},
		{of(&netlink.OpError{Op: "dial", Err: os.NewSyscallError("socket", unix.EPROTONOSUPPORT)}), true},
		{os.NewSyscallError("socket", unix.EAFNOSUPPORT), true},
		{os.NewSyscallError("socket", unix.EMFILE), false},
		{of(answer(unix.EPERM)), false},
		{of(answer(unix.ENOBUFS)), false},
		{of(answer(unix.ENOMEM), answer(unix.ENOENT)), false},
		{of(answer(unix.ENOENT), answer(unix.ENOMEM)), false},
		{of(errors.New("ENOENT")), false},
	} {
		if got := lacking(c.err); got != c.want {
			t.Errorf("%v: %t", c.err, got)
		}
	}
}

// Who may not ask the kernel does not know what it lacks: nothing is let through for that, and
// what is to be checked is, once it can be.
func TestSpoofNotKnown(t *testing.T) {
	nettest.New(t)
	var warned []string
	var s *Spoof
	want := spoof.Set{Ports: []spoof.Port{evesPort(model.Spoof{})}}
	incapable(t, unix.CAP_NET_ADMIN, func() {
		s = NewSpoof(func(format string, args ...any) { warned = append(warned, fmt.Sprintf(format, args...)) })
		if err := s.Apply(context.Background(), nil, want); !errors.Is(err, unix.EPERM) {
			t.Errorf("%v, want EPERM", err)
		}
	})
	defer s.Close()
	if s.Lacks() != nil || len(warned) != 1 || !strings.Contains(warned[0], "operation not permitted") {
		t.Errorf("lacks %v, warned %q", s.Lacks(), warned)
	}
	if err := s.Apply(context.Background(), nil, want); err != nil {
		t.Errorf("tried again: %v", err)
	}
}

// incapable calls fn on this thread without a capability (capabilities(7)).
func incapable(t *testing.T, capability int, fn func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var has [2]unix.CapUserData
	if err := unix.Capget(&header, &has[0]); err != nil {
		t.Fatal(err)
	}
	less := has
	less[capability/32].Effective &^= 1 << (capability % 32)
	if err := unix.Capset(&header, &less[0]); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Capset(&header, &has[0]); err != nil {
			t.Fatal(err)
		}
	}()
	fn()
}
