package host

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/nettest"
)

// twoHosts is a host and a peer that are joined by a veth pair, and how to read them.
func twoHosts(t *testing.T, here, there string) (host, peer *nettest.Host, places []Place) {
	host = nettest.New(t)
	peer = host.Peer("peer")
	host.Connect(nettest.End{Name: "eth0", Addresses: []string{here}}, peer, nettest.End{Name: "eth0", Addresses: []string{there}})
	return host, peer, []Place{placeOf(t, "host", host), placeOf(t, "peer", peer)}
}

func placeOf(t *testing.T, name string, h *nettest.Host) Place {
	var ns *os.File
	h.In(func() {
		var err error
		if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { ns.Close() })
	return Place{Name: name, Path: fmt.Sprintf("/proc/self/fd/%d", ns.Fd())}
}

// An address that the kernel still looks for elsewhere (RFC 4862, 5.4) is one that it will
// have, and that it does not send from while there is another one.
func TestTentative(t *testing.T) {
	host, peer, places := twoHosts(t, "fd00::1/64", "fd00::2/64")
	peer.Sysctl("net/ipv6/conf/eth0/accept_dad", "1")
	peer.Sysctl("net/ipv6/conf/eth0/dad_transmits", "100") // one each second
	peer.Run("ip", "addr", "add", "fd00::102/64", "dev", "eth0")
	host.Run("ip", "addr", "add", "fd00::101/64", "dev", "eth0", "nodad")
	if out := peer.Run("ip", "-6", "addr", "show", "tentative"); !strings.Contains(out, "fd00::102") {
		t.Fatalf("not tentative: %s", out)
	}
	w, places, err := Read(places)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, src string }{
		{"host", "fd00::102", ""},
		{"peer", "fd00::101", "fd00::2"},
	} {
		q := explain.Query{From: c.from, Dst: netip.MustParseAddr(c.to), Proto: explain.ICMP}
		r, err := Predict(context.Background(), w, places, q, map[string]bool{})
		if err != nil || r.Verdict != explain.Delivered || c.src != "" && r.From.String() != c.src {
			t.Errorf("%s → %s: %s from %s: %s, %v", c.from, c.to, r.Verdict, r.From, r.Reason, err)
		}
	}
}
