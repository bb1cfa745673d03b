package doctor

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/view"
)

func limitChecks() []Check {
	return []Check{
		{Name: "bridge-ports", look: lookBridgePorts,
			Sees:  "how many ports each bridge has; the kernel allows 1,023 (BR_MAX_PORTS)",
			Means: "A network takes no more containers.",
			Mends: "moves containers to a second network; without Docker's answer the containers are not named"},
		{Name: "conntrack-table", look: lookConntrack,
			Sees:  "how many flows the kernel tracks, against its limit",
			Means: "When the table is full new connections are dropped, published ports and the host's own among them.",
			Mends: "doubles the limit"},
		{Name: "neighbours", look: lookNeighbours,
			Sees:  "how many neighbours the kernel knows by address, against its limit (`gc_thresh3`)",
			Means: "When the table is full hosts and containers that are not in it can't be reached.",
			Mends: "raises the limit"},
	}
}

// maxPorts is how many ports a bridge has at most: BR_MAX_PORTS of the kernel, less port 0.
const maxPorts = 1023

func lookBridgePorts(l *look) {
	nets, err := l.networks()
	h, err2 := l.hostFacts()
	if err := firstOf(err, err2); err != nil {
		l.unknown(err)
		return
	}
	most := 0
	for _, n := range nets {
		ports := len(h.ports(n.Bridge))
		most = max(most, ports)
		near := maxPorts * 9 / 10
		verdict := OK
		switch {
		case ports >= maxPorts:
			verdict = Fault
		case ports >= near:
			verdict = Warning
		}
		if verdict != OK {
			l.found(verdict, l.move(n, ports-near+1), "%s has %d of %d ports", n.Bridge, ports, maxPorts)
		}
	}
	if len(l.Seen) == 0 {
		l.saw("no bridge has more than %d of %d ports", most, maxPorts)
	}
}

// move is the command that moves some containers of a network to a second one; nil if Docker
// does not name them.
func (l *look) move(n view.Network, some int) []string {
	var network struct {
		Name, Driver string
		Containers   map[string]struct{ Name string }
	}
	if l.ask("/networks/"+url.PathEscape(n.ID), &network) != nil || len(network.Containers) == 0 {
		return nil
	}
	var names []string
	for _, id := range slices.Sorted(maps.Keys(network.Containers)) {
		if len(names) < some {
			names = append(names, quote(network.Containers[id].Name))
		}
	}
	second := quote(network.Name + "-2")
	return []string{
		"docker network create -d " + quote(network.Driver) + " " + second,
		fmt.Sprintf("for c in %s; do docker network connect %s $c && docker network disconnect %s $c; done", strings.Join(names, " "), second, quote(network.Name)),
	}
}

// filled is the verdict about a table that is nearly full.
func filled(n, most int) Verdict {
	switch {
	case n >= most*95/100:
		return Fault
	case n >= most*80/100:
		return Warning
	}
	return OK
}

// number reads a setting that is a number.
func (l *look) number(name string) (n int, ok bool, err error) {
	text, ok, err := l.setting(name)
	if err == nil && ok {
		n, err = strconv.Atoi(text)
	}
	return n, ok, err
}

func lookConntrack(l *look) {
	const limit = "net/netfilter/nf_conntrack_max"
	n, ok, err := l.number("net/netfilter/nf_conntrack_count")
	most, ok2, err2 := l.number(limit)
	switch {
	case firstOf(err, err2) != nil:
		l.unknown(firstOf(err, err2))
	case !ok || !ok2:
		l.saw("the kernel tracks no flows")
	case filled(n, most) == OK:
		l.saw("%d of %d flows", n, most)
	default:
		l.found(filled(n, most), set(limit, strconv.Itoa(max(2*most, 2*n))), "%d of %d flows are tracked", n, most)
	}
}

func lookNeighbours(l *look) {
	for _, ipv6 := range []bool{false, true} {
		setting := "net/ipv4/neigh/default/gc_thresh3"
		if ipv6 {
			setting = "net/ipv6/neigh/default/gc_thresh3"
		}
		most, ok, err := l.number(setting)
		if err != nil {
			l.unknown(err)
			continue
		}
		if !ok { // a network namespace other than the first has no limit of its own
			continue
		}
		n, err := neighbours(ipv6)
		switch {
		case err != nil:
			l.unknown(err)
		case filled(n, most) == OK:
			l.saw("%d of %d neighbours", n, most)
		default:
			l.found(filled(n, most), set(setting, strconv.Itoa(max(4*most, 8192))), "%d neighbours are known, and %s is %d", n, dotted(setting), most)
		}
	}
	if len(l.Seen) == 0 {
		l.saw("the limits are the business of the host's first network namespace")
	}
}
