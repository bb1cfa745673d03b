package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/mybr/mybr/internal/view"
)

// published is a line of the edge: from where to where.
type published struct{ from, to, note string }

// span is consecutive ports that are published alike.
type span struct {
	proto           string
	host            netip.Addr // zero: at the container's own address
	every           bool       // at every address of both families
	hostPort        int
	target          netip.Addr // of the container
	targetPort      int
	count           int
	endpoint, title string
	process         bool // mybr serve relays it
	process6        bool // and relays it for clients with IPv6: of every
}

// publish folds ports to few lines: ranges, and both families to one where they are alike.
func (s *Scene) publish(ports []view.Port, titles map[string]string, most int) {
	spans := make([]span, 0, len(ports))
	for _, p := range ports {
		if p.Carried == view.Closed {
			continue // nobody gets in there
		}
		title := cmp.Or(titles[p.Endpoint], printable(p.Name), "endpoint "+cmp.Or(short(p.Endpoint), "?"))
		spans = append(spans, span{
			proto: printable(p.Proto), host: p.Host.Addr(), hostPort: int(p.Host.Port()),
			target: p.Container.Addr(), targetPort: int(p.Container.Port()), count: max(1, int(p.Count)),
			endpoint: p.Endpoint, title: title, process: p.Carried == view.ByProcess,
		})
	}
	spans = foldFamilies(foldRanges(spans))
	slices.SortStableFunc(spans, func(a, b span) int {
		return cmp.Or(compareBool(!a.host.IsValid(), !b.host.IsValid()), cmp.Compare(a.hostPort, b.hostPort), cmp.Compare(a.proto, b.proto),
			a.host.Compare(b.host), cmp.Compare(a.title, b.title), cmp.Compare(a.targetPort, b.targetPort))
	})
	drawn := few(len(spans), most)
	for _, p := range spans[:drawn] {
		s.ports = append(s.ports, p.words())
	}
	s.more.ports = len(spans) - drawn
}

// words are "*:8000-8009/tcp", "web:80-89" and what is unusual.
func (p span) words() published {
	target := p.title + ":" + portRange(p.targetPort, p.count)
	if !p.host.IsValid() {
		return published{from: at(p.target) + ":" + portRange(p.targetPort, p.count) + "/" + p.proto, to: p.title, note: "routed"}
	}
	from := at(p.host)
	if p.every {
		from = "*"
	}
	w := published{from: from + ":" + portRange(p.hostPort, p.count) + "/" + p.proto, to: target}
	switch {
	case p.process:
		w.note = "relayed"
	case p.process6:
		w.note = "IPv6 relayed"
	}
	return w
}

func at(a netip.Addr) string {
	if a.Is4() {
		return addr(a)
	}
	return "[" + addr(a) + "]"
}

func portRange(first, count int) string {
	if count == 1 {
		return strconv.Itoa(first)
	}
	return fmt.Sprintf("%d-%d", first, first+count-1)
}

// foldRanges joins what goes on where another one ends, on both sides.
func foldRanges(spans []span) (folded []span) {
	slices.SortStableFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.proto, b.proto), a.host.Compare(b.host),
			a.target.Compare(b.target), compareBool(a.process, b.process),
			cmp.Compare(a.targetPort-a.hostPort, b.targetPort-b.hostPort), cmp.Compare(a.targetPort, b.targetPort))
	})
	for _, p := range spans {
		if n := len(folded) - 1; n >= 0 {
			next := folded[n]
			next.hostPort += hostStep(next)
			next.targetPort += next.count
			next.count = p.count
			if next == p {
				folded[n].count += p.count
				continue
			}
		}
		folded = append(folded, p)
	}
	return folded
}

// hostStep is by how much the host's port goes on: there is none at a container's own address.
func hostStep(p span) int {
	if !p.host.IsValid() {
		return 0
	}
	return p.count
}

// foldFamilies joins 0.0.0.0 and [::] of the same ports.
func foldFamilies(spans []span) (folded []span) {
	found := make(map[span]int)
	for _, p := range spans {
		if p.host != netip.IPv4Unspecified() && p.host != netip.IPv6Unspecified() {
			folded = append(folded, p)
			continue
		}
		k := p
		k.host, k.target, k.process = netip.Addr{}, netip.Addr{}, false
		i, ok := found[k]
		if !ok || folded[i].every || folded[i].host == p.host {
			found[k] = len(folded)
			folded = append(folded, p)
			continue
		}
		v4, v6 := folded[i], p
		if p.host.Is4() {
			v4, v6 = p, folded[i]
		}
		folded[i] = v4
		folded[i].every, folded[i].process6 = true, v6.process
	}
	return folded
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
