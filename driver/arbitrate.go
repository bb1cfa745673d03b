package driver

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// Docker may ask several endpoints of one container to publish the same ports: the one
// that is its way out by IPv4, and the one by IPv6, without saying which is which. So the
// host ports belong to the sandbox, and of the endpoints that want a way (a protocol, an
// address of the host and a number) one has it: who was first, unless another one has more
// to offer. What an endpoint does not get is kept, and tried again when another one goes.

// settlement is how a request for ports agrees with what other endpoints hold.
type settlement struct {
	ask   []model.PortRequest // what is left of it
	taken []held              // what the others lose
	left  bool                // the others keep something
}

// agree settles what endpoint id may ask for. only4 says that its network is the
// container's way out by IPv4, and another one's by IPv6. pin has it ask for the numbers
// that the others have, so that both families have the same; what it has itself keeps its
// number.
func (p *publication) agree(id string, reqs []model.PortRequest, only4, pin bool) (s settlement) {
	others := p.held(func(by string) bool { return by != id })
	own := p.held(func(by string) bool { return by == id })
	numbers, ownNumbers := slices.SortedFunc(maps.Keys(others), compareNumbers), slices.SortedFunc(maps.Keys(own), compareNumbers)
	used := map[held]bool{}
	for _, r := range reqs {
		k, ok := choose(numbers, others, used, r)
		if !ok {
			s.ask = append(s.ask, r)
			continue
		}
		use(used, others[k], r)
		rest := s.settle(r, others[k], only4)
		if mine, ok := choose(ownNumbers, own, used, rest); ok {
			use(used, own[mine], rest)
			rest.First, rest.Last = mine.host, mine.host
		} else if pin {
			rest.First, rest.Last = k.host, k.host
		}
		if rest.V4.Wanted() || rest.V6.Wanted() {
			s.ask = append(s.ask, rest)
		}
	}
	return s
}

// use marks what may come of the same request as r.
func use(used map[held]bool, all []held, r model.PortRequest) {
	for _, h := range all {
		used[h] = used[h] || like(r, h)
	}
}

// settle returns what is left of a request beside what others hold of its number.
func (s *settlement) settle(r model.PortRequest, others []held, only4 bool) model.PortRequest {
	rest := r
	for _, f := range model.Families() {
		w := rest.Target(f)
		rivals := slices.DeleteFunc(slices.Clone(others), func(h held) bool { return !inTheWay(*w, h) })
		if slices.ContainsFunc(rivals, func(h held) bool { return !outdoes(*w, h, only4) }) {
			*w, s.left = model.Target{}, true
			continue
		}
		s.taken = append(s.taken, rivals...)
	}
	// What the process would carry to IPv4 goes along with what needs no carrying.
	if r.V4.Wanted() && !rest.V4.Wanted() && rest.V6.Wanted() && !straight(rest.V6.Host, rest.V6.Container) {
		rest.V6 = model.Target{}
	}
	return rest
}

// held is one host port that an endpoint has.
type held struct {
	model.PortBinding // Count 1
	by                string
}

// number is by what ways of the same port are found: one number in both families.
type number struct {
	proto     model.Proto
	container uint16
	host      uint16
}

// held lists what some of the endpoints hold, by number.
func (p *publication) held(which func(id string) bool) map[number][]held {
	all := map[number][]held{}
	for _, s := range p.parts {
		if !which(s.e.ID) {
			continue
		}
		for _, b := range s.ports {
			for one := range singles(b) {
				k := number{b.Proto, one.Container.Port(), one.Host.Port()}
				all[k] = append(all[k], held{one, s.e.ID})
			}
		}
	}
	return all
}

// choose picks the lowest number that there is for the same port of the container, at
// an address like one that is asked for, and that would do for a request.
func choose(numbers []number, all map[number][]held, used map[held]bool, r model.PortRequest) (number, bool) {
	w := r.V4
	if !w.Wanted() {
		w = r.V6
	}
	i := slices.IndexFunc(numbers, func(k number) bool {
		return k.proto == r.Proto && k.container == w.Container.Port() && (r.First == 0 || r.First <= k.host && k.host <= r.Last) &&
			slices.ContainsFunc(all[k], func(h held) bool { return like(r, h) && (leeway(r) == 0 || !used[h]) })
	})
	if i < 0 {
		return number{}, false
	}
	return numbers[i], true
}

// like reports whether what another endpoint holds may come of the same request.
func like(r model.PortRequest, h held) bool {
	return slices.ContainsFunc([]model.Target{r.V4, r.V6}, func(w model.Target) bool {
		return inTheWay(w, h) || w.Wanted() && w.Host.IsUnspecified() && h.Host.Addr().IsUnspecified()
	})
}

func compareNumbers(a, b number) int {
	return cmp.Or(cmp.Compare(a.proto, b.proto), cmp.Compare(a.container, b.container), cmp.Compare(a.host, b.host))
}

// inTheWay reports whether a way can't be had beside h, which has its number.
func inTheWay(w model.Target, h held) bool {
	have := h.Host.Addr()
	return w.Wanted() && w.Host.Is4() == have.Is4() && (w.Host == have || w.Host.IsUnspecified() || have.IsUnspecified())
}

// outdoes reports whether a way is better than the one that another endpoint has: it
// leads straight there, or over the network that the answers take.
func outdoes(w model.Target, h held, only4 bool) bool {
	return straight(w.Host, w.Container) && (!straight(h.Host.Addr(), h.Container) || only4 && w.Host.Is4())
}

// straight reports whether a way stays within one family.
func straight(host netip.Addr, container netip.AddrPort) bool {
	return host.Is4() == container.Addr().Is4()
}
