package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

func TestPacketsFlow(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	br.MTU = 1400
	v1, v2 := veth(1, br), veth(2, br)
	v1.Hairpin, v2.Hairpin = true, true
	apply(t, nil, set([]Bridge{br}))
	have := set([]Bridge{br})
	apply(t, &have, set([]Bridge{br}, v1, v2))

	links := ipLinks(t, h)
	for name, l := range links {
		if name != "lo" && l.MTU != 1400 {
			t.Errorf("MTU of %s is %d", name, l.MTU)
		}
	}
	if p := links[v1.Peer]; p.MAC != v1.MAC.String() {
		t.Errorf("the peer's MAC is %s", p.MAC)
	}
	boxes := map[string]*nettest.Host{}
	for name, v := range map[string]Veth{"one": v1, "two": v2} {
		boxes[name] = h.Peer(name)
		boxes[name].Adopt(h, v.Peer, nettest.End{Name: "eth0", Addresses: []string{map[string]string{"one": "172.21.0.2/16", "two": "172.21.0.3/16"}[name]}})
		nettest.Eventually(t, 5*time.Second, func() error {
			if l := ipLinks(t, h)[v.Host]; l.LinkInfo.Port.State != "forwarding" || !l.LinkInfo.Port.Hairpin {
				return fmt.Errorf("port %+v", l.LinkInfo.Port)
			}
			return nil
		})
	}
	boxes["one"].Echo("tcp", "172.21.0.2:80")
	for _, from := range []*nettest.Host{h, boxes["two"]} {
		if a, err := from.Ask("tcp", "172.21.0.2:80", 5*time.Second); err != nil || a.Server != "one" {
			t.Error(a, err)
		}
	}

	// Peers that Docker has taken are left alone, and so is everything else.
	v1.Joined, v2.Joined = true, true
	before := dumpText(t, h)
	apply(t, nil, set([]Bridge{br}, v1, v2))
	if after := dumpText(t, h); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}

	// Isolated ports don't hear each other; the host hears both.
	i1, i2 := v1, v2
	i1.Isolated, i2.Isolated, i1.Hairpin, i2.Hairpin = true, true, false, false
	have = set([]Bridge{br}, v1, v2)
	apply(t, &have, set([]Bridge{br}, i1, i2))
	if _, err := h.Ask("tcp", "172.21.0.2:80", 5*time.Second); err != nil {
		t.Error(err)
	}
	if a, err := boxes["two"].Ask("tcp", "172.21.0.2:80", 300*time.Millisecond); err == nil {
		t.Errorf("isolated ports talk: %+v", a)
	}

	// They are kept apart before a plan says so, if that is asked for; what is no port of a bridge is
	// passed over.
	have = set([]Bridge{br}, i1, i2)
	apply(t, &have, set([]Bridge{br}, v1, v2))
	h.Run("ip", "link", "add", "loose0", "type", "veth", "peer", "name", "loose1")
	if err := (&Applier{}).Isolate(t.Context(), []string{"loose0", "missing0", v1.Host, v2.Host}); err != nil {
		t.Error(err)
	}
	for _, v := range []Veth{v1, v2} {
		if port := ipLinks(t, h)[v.Host].LinkInfo.Port; !port.Isolated || !port.Hairpin {
			t.Errorf("port %s: %+v", v.Host, port)
		}
	}
	h.Run("ip", "link", "del", "loose0")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Applier{}).Isolate(ended, []string{v1.Host}); !errors.Is(err, context.Canceled) {
		t.Errorf("behind its end: %v", err)
	}
	have = set([]Bridge{br}, v1, v2)
	apply(t, &have, set([]Bridge{br}, i1, i2))

	// A pair whose container is gone is not made again, nor is that an error.
	h.Run("ip", "link", "del", v1.Host)
	apply(t, nil, set([]Bridge{br}, i1, i2))
	if _, ok := ipLinks(t, h)[v1.Host]; ok {
		t.Error("a joined pair was made again")
	}
	have = set([]Bridge{br}, i1, i2)
	apply(t, &have, set(nil))
	if text := dumpText(t, h); strings.Contains(text, "veth") || strings.Contains(text, "mybr") {
		t.Errorf("left:\n%s", text)
	}
}

// The bridge's MAC stays when ports with lower ones come and go, and its MTU when it
// has none.
func TestBridgeKeepsItsMACAndMTU(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	br.MTU = 1400
	v := veth(1, br)
	empty, full := set([]Bridge{br}), set([]Bridge{br}, v)
	check := func(when string) {
		t.Helper()
		if l := ipLinks(t, h)[br.Name]; l.MAC != br.MAC.String() || l.MTU != 1400 {
			t.Errorf("%s: MAC %s, MTU %d", when, l.MAC, l.MTU)
		}
	}
	apply(t, nil, empty)
	check("new")
	apply(t, &empty, full)
	check("with a port")
	h.Run("ip", "link", "set", v.Host, "address", "00:00:00:00:00:02")
	check("with a port of a lower MAC")
	apply(t, &full, empty)
	check("without ports")
	plain := set([]Bridge{br})
	plain.Bridges[0].MTU = 0
	apply(t, &empty, plain)
	if mtu := ipLinks(t, h)[br.Name].MTU; mtu != defaultMTU {
		t.Errorf("MTU %d after it was no longer wanted", mtu)
	}
}

// What a look at everything mends besides: TestChangesByHand has the rest.
func TestMend(t *testing.T) {
	h := nettest.New(t)
	b1, b2 := bridge(1), bridge(2)
	b1.MTU = 1400
	v := veth(1, b1)
	v.Hairpin = true
	want := set([]Bridge{b1, b2}, v)
	apply(t, nil, want)
	good := dumpText(t, h)
	for _, damage := range []string{
		"link set PEER address 02:00:00:00:00:99", "addr flush dev NAME",
		"link set VETH type bridge_slave hairpin off isolated on",
		"link set NAME alias x", "link add mybr9 alias stale type bridge", "link set mybr9 alias mybr_network_x",
	} {
		args := strings.NewReplacer("NAME", b1.Name, "VETH", v.Host, "PEER", v.Peer).Replace(damage)
		switch damage {
		case "link set NAME alias x":
			h.Run("ip", "link", "set", b1.Name, "alias", model.AliasNetwork+"gone")
			h.Run("ip", "addr", "add", "172.21.5.5/16", "dev", b1.Name)
			h.Run("ip", "addr", "add", "10.9.9.9/24", "dev", b1.Name)
			h.Run("ip", "addr", "add", "fd00:9::9/64", "dev", b1.Name, "nodad")
			h.Run("ip", "addr", "add", "fe80::9/64", "dev", b1.Name, "nodad")
		case "link add mybr9 alias stale type bridge":
			h.Run("ip", "link", "add", "mybr9", "type", "bridge")
			h.Run("ip", "link", "set", "mybr9", "alias", model.AliasNetwork+"stale")
		case "link set mybr9 alias mybr_network_x":
			h.Run("ip", "link", "add", "veth9", "type", "veth", "peer", "name", "veth9c")
			h.Run("ip", "link", "set", "veth9", "alias", model.AliasEndpoint+"stale")
		default:
			h.Run("ip", strings.Fields(args)...)
		}
		if dumpText(t, h) == good {
			t.Fatalf("%s: no damage", damage)
		}
		apply(t, nil, want)
		if now := dumpText(t, h); now != good {
			t.Errorf("%s:\nhave\n%s\nwant\n%s", damage, now, good)
		}
	}
}

// What matches already is not written to: it is right without the right to write.
func TestNothingToDo(t *testing.T) {
	h := nettest.New(t)
	b1, b2 := bridge(1), bridge(2)
	b2.MTU, b2.V4, b2.V6 = 1400, netip.Prefix{}, netip.MustParsePrefix("fe80::1/64")
	v1, v2 := veth(1, b1), veth(2, b2)
	v1.Hairpin, v2.Isolated = true, true
	want := set([]Bridge{b1, b2}, v1, v2)
	apply(t, nil, want)
	withoutPrivilege(t, func() {
		apply(t, nil, want)
		apply(t, &want, want)
		joined := set([]Bridge{b1, b2}, v1, v2)
		joined.Veths[0].Joined = true
		apply(t, &joined, want)
		more := set([]Bridge{b1, b2}, v1, v2, veth(3, b1))
		if errs := refused(t, &want, more); !errors.Is(errs[veth(3, b1).Host], unix.EPERM) {
			t.Errorf("the test can't fail: %v", errs)
		}
	})

	// At Join nothing is even looked at.
	joined := set([]Bridge{b1, b2}, v1, v2)
	joined.Veths[0].Joined = true
	h.Run("ip", "link", "set", v1.Host, "down")
	apply(t, &want, joined)
	if text := dumpText(t, h); !strings.Contains(text, v1.Host+" veth up=false") {
		t.Error(text)
	}
}

// Docker has the peer, be it here just then, or in a container while mybr doesn't know
// so: its number in the container may be that of another link here.
func TestPeerIsDockers(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	v := veth(1, br)
	want, joined := set([]Bridge{br}, v), set([]Bridge{br}, v)
	joined.Veths[0].Joined = true
	apply(t, nil, want)
	h.Run("ip", "link", "set", v.Peer, "mtu", "1300")
	apply(t, nil, joined)
	peer := ipLinks(t, h)[v.Peer]
	if peer.MTU != 1300 {
		t.Errorf("the peer's MTU is %d", peer.MTU)
	}

	h.Peer("box").Adopt(h, v.Peer, nettest.End{Name: "eth0"})
	h.Run("ip", "link", "add", "name", "x0", "index", strconv.Itoa(peer.Index), "type", "bridge")
	before := dumpText(t, h)
	apply(t, nil, want)
	if after := dumpText(t, h); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// A pair with the alias of another endpoint, which is gone, makes room; a joined one is
// not made again then either.
func TestPairOfAnotherEndpoint(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	v, other := veth(1, br), veth(1, br)
	other.Alias = model.AliasEndpoint + "other"
	for _, joined := range []bool{false, true} {
		v.Joined = joined
		apply(t, nil, set([]Bridge{br}, other))
		apply(t, nil, set([]Bridge{br}, v))
		text := dumpText(t, h)
		if strings.Contains(text, other.Alias) || strings.Contains(text, v.Alias) == joined {
			t.Error(text)
		}
	}
}

// withoutPrivilege runs fn without CAP_NET_ADMIN on the calling thread.
func withoutPrivilege(t *testing.T, fn func()) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var full [2]unix.CapUserData
	if err := unix.Capget(&header, &full[0]); err != nil {
		t.Fatal(err)
	}
	less := full
	less[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &less[0]); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Capset(&header, &full[0]); err != nil {
			t.Error(err)
		}
	}()
	fn()
}
