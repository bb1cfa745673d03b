package host

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/mybr/mybr/internal/explain"
)

// findPeers finds out which namespaces the other ends of veth pairs are in. A link says that
// with an ID that its namespace has for the other (ip-netns(8), list-id): the indexes alone
// are those of pairs between other namespaces as well. open has a file of each of w's.
func findPeers(w *explain.World, open []*os.File) error {
	for i, s := range w.Spaces {
		s.Peers = map[int]string{-1: s.Name}
		candidates := candidatesOf(w, s)
		if len(candidates) == 0 {
			continue
		}
		err := enter(open[i], func() error {
			for _, j := range candidates {
				id, err := netlink.GetNetNsIdByFd(int(open[j].Fd()))
				if err != nil {
					return fmt.Errorf("ask for the ID of namespace %s: %w", w.Spaces[j].Name, err)
				}
				if id >= 0 {
					s.Peers[id] = w.Spaces[j].Name
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read namespace %s: %w", s.Name, err)
		}
	}
	return nil
}

// candidatesOf are the other namespaces with an end that could be that of a pair of this one's.
func candidatesOf(w *explain.World, s *explain.Space) (all []int) {
	type pair struct{ index, peer int }
	own := map[pair]bool{}
	for _, l := range s.Links {
		if l.Kind == "veth" {
			own[pair{l.Index, l.Peer}] = true
		}
	}
	for j, other := range w.Spaces {
		if other == s {
			continue
		}
		for _, l := range other.Links {
			if l.Kind == "veth" && own[pair{l.Peer, l.Index}] {
				all = append(all, j)
				break
			}
		}
	}
	return all
}
