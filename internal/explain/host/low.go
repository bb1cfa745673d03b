package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/dump"
	"github.com/mybr/mybr/internal/explain"
)

// readNeighbours reads the entries that have an address. Those that are being looked for, and
// those that nobody has answered about, are looked for again.
func readNeighbours(s *explain.Space) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := dump.Whole(func() ([]netlink.Neigh, error) { return netlink.NeighList(0, family) })
		if err != nil {
			return fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range list {
			fixed := n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0
			known := n.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY|netlink.NUD_PROBE) != 0
			if (fixed || known) && len(n.HardwareAddr) == 6 && addrOf(n.IP).IsValid() {
				s.Neighbours = append(s.Neighbours, explain.Neighbour{Link: n.LinkIndex, Addr: addrOf(n.IP), MAC: n.HardwareAddr.String(), Fixed: fixed})
			}
		}
	}
	return nil
}

// harmful are the disciplines of queueing that lose packets for the sake of it. Others lose only
// what is too much (tc(8)).
func harmful(kind string) bool { return slices.Contains([]string{"netem", "blackhole", "plug"}, kind) }

// Where filters hang at a discipline of the kind clsact or ingress (linux/pkt_sched.h).
const (
	parentIngress   = 0xffff0000 // of the kind ingress
	parentActIn     = 0xfffffff2 // TC_H_CLSACT and TC_H_MIN_INGRESS
	parentActOut    = 0xfffffff3 // TC_H_CLSACT and TC_H_MIN_EGRESS
	filterOfNothing = 0          // the priority, with which the kernel lists that there is a chain
)

// readObstacles reads where traffic control may drop: the filters that hang where packets come
// in and leave, and disciplines that lose packets.
func readObstacles(s *explain.Space) error {
	list, err := dump.Whole(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(nil) })
	if err != nil {
		return fmt.Errorf("list traffic control: %w", err)
	}
	for _, q := range list {
		i := slices.IndexFunc(s.Links, func(l explain.Link) bool { return l.Index == q.Attrs().LinkIndex })
		if i < 0 {
			continue
		}
		name := s.Links[i].Name
		add := func(ingress bool, what string) {
			s.Obstacles = append(s.Obstacles, explain.Obstacle{Link: name, Ingress: ingress, What: what})
		}
		if harmful(q.Type()) {
			add(false, "traffic control ("+q.Type()+")")
		}
		parents := map[uint32]bool{} // whether it is of what comes in
		switch q.Type() {
		case "clsact":
			parents = map[uint32]bool{parentActIn: true, parentActOut: false}
		case "ingress":
			parents = map[uint32]bool{parentIngress: true}
		}
		for parent, ingress := range parents {
			some, err := filters(q.Attrs().LinkIndex, parent)
			if err != nil {
				return fmt.Errorf("list filters of traffic control at %s: %w", name, err)
			}
			if some {
				add(ingress, "a filter of traffic control")
			}
		}
	}
	return nil
}

// filters reports whether a link has filters of traffic control at a place.
func filters(link int, parent uint32) (some bool, err error) {
	msgs, err := dump.Whole(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETTFILTER, unix.NLM_F_DUMP)
		req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(link), Parent: parent})
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWTFILTER)
	})
	for _, m := range msgs {
		some = some || len(m) >= nl.SizeofTcMsg && nl.DeserializeTcMsg(m).Info>>16 != filterOfNothing
	}
	return some, err
}

// readSecured reads the policies of IPsec, but for those of single sockets.
func readSecured(s *explain.Space) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := dump.Whole(func() ([]netlink.XfrmPolicy, error) { return netlink.XfrmPolicyList(family) })
		if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil // the kernel has no IPsec
		}
		if err != nil {
			return fmt.Errorf("list policies of IPsec: %w", err)
		}
		for _, p := range list {
			if p.Dir <= netlink.XFRM_DIR_FWD {
				s.Secured = append(s.Secured, explain.Selector{Src: prefixOf(p.Src), Dst: prefixOf(p.Dst), Out: p.Dir == netlink.XFRM_DIR_OUT})
			}
		}
	}
	return nil
}

// oldBridgeRules reports whether any namespace has rules of ebtables-legacy: a table's module is
// in use as long as there are (ebtables.c, do_replace_finish). To ask for them makes tables that
// aren't there.
func oldBridgeRules() (bool, error) {
	f, err := os.Open("/proc/modules")
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // a kernel without modules
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		w := strings.Fields(lines.Text()) // NAME SIZE USERS …
		if len(w) > 2 && slices.Contains([]string{"ebtable_filter", "ebtable_nat", "ebtable_broute"}, w[0]) && w[2] != "0" {
			return true, nil
		}
	}
	return false, lines.Err()
}
