package host

import (
	"context"
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/nettest"
)

// Pairs between other namespaces, whose ends have the same indexes, are not taken for those of
// the host, whichever are read first.
func TestPeersOfOtherPairs(t *testing.T) {
	host, _, places := twoHosts(t, "192.0.2.1/24", "192.0.2.2/24")
	left, right := host.Peer("left"), host.Peer("right")
	left.Connect(nettest.End{Name: "eth0", Addresses: []string{"192.0.2.1/24"}}, right, nettest.End{Name: "eth0", Addresses: []string{"192.0.2.3/24"}})
	l, r := placeOf(t, "left", left), placeOf(t, "right", right)
	for _, order := range [][]Place{{places[0], l, r, places[1]}, {places[0], places[1], r, l}, {places[0], l, r}} {
		w, order, err := Read(order)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range w.Spaces {
			if n := s.Links[len(s.Links)-1]; n.Index != w.Spaces[0].Links[1].Index || n.Peer != w.Spaces[0].Links[1].Peer {
				t.Fatalf("%s: link %+v doesn't have the indexes of the others", order[i].Name, n)
			}
		}
		for _, c := range []struct{ from, to, want, space string }{
			{"host", "192.0.2.2", explain.Delivered, "peer"},
			{"host", "192.0.2.3", explain.NoRoute, ""},
			{"left", "192.0.2.3", explain.Delivered, "right"},
			{"right", "192.0.2.2", explain.NoRoute, ""},
		} {
			beyond := c.from == "host" && len(order) == 3 // the peer is not known of
			q := explain.Query{From: c.from, Dst: netip.MustParseAddr(c.to), Proto: explain.ICMP}
			r, err := Predict(context.Background(), w, order, q, map[string]bool{})
			if err != nil || beyond != r.Beyond || !beyond && (r.Verdict != c.want || r.To != c.space) {
				t.Errorf("%s → %s: %s at %q: %s, %v", c.from, c.to, r.Verdict, r.To, r.Reason, err)
			}
		}
	}
}
