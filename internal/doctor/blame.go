package doctor

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"github.com/mybr/mybr/internal/explain"
)

// This file finds out what keeps a packet from getting to a container: what, if it were otherwise,
// would let it pass. Predictions are repeated with single things of the World changed, each of
// which a command changes on the host.

// cause is something that may be to blame.
type cause struct {
	what   string                 // in words
	mend   []string               // the commands that change it
	policy bool                   // it is a chain's policy: what accepts before it may be missing
	sure   bool                   // nothing gets to the container as it is, whatever else is to blame
	change func(w *explain.World) // nil: what becomes of the packet then can't be predicted
}

// deepestBlame is how many causes, one behind the other, are looked for.
const deepestBlame = 4

// blame finds what is to blame for the loss of a packet. Causes that are known already are tried
// first.
func (p *ports) blame(one probe, r explain.Result) {
	lost := one.from + " to " + p.called(one.port)
	for _, b := range p.blamed {
		if b.world != nil && one.arrives(explain.Predict(b.world, one.query)) || b.world == nil && b.reason == p.why(one, r) {
			b.add(lost)
			return
		}
	}
	b := &blamed{reason: p.why(one, r)}
	b.add(lost)
	p.blamed = append(p.blamed, b)
	if p.searches++; p.searches > mostBlamed {
		return
	}
	b.causes, b.world = p.search(one, r)
	if b.world != nil && one.query.In != "" && r.Rule != nil {
		b.some = p.others(one)
	}
}

func (b *blamed) add(lost string) {
	if !slices.Contains(b.lost, lost) {
		b.lost = append(b.lost, lost)
	}
}

// why says why a packet is lost, in the words of package explain.
func (p *ports) why(one probe, r explain.Result) string {
	switch stray := one.strays(r); {
	case r.Verdict != explain.Delivered:
		return r.Reason
	case stray != "":
		return fmt.Sprintf("it came by %s, and the answer leaves by %s", one.query.In, stray)
	}
	return fmt.Sprintf("it gets to %s instead", r.To)
}

// search changes one thing after the other until the packet gets there. Without success it
// returns what is to blame for certain, if there is such a thing.
func (p *ports) search(one probe, r explain.Result) (causes []cause, w *explain.World) {
	w = p.paths.World
	var certain []cause
	was := r
	for range deepestBlame {
		var next *explain.World
		var found cause
		var then explain.Result
		for _, c := range p.suspects(w, one, r) {
			if c.sure && w == p.paths.World {
				certain = append(certain, c)
			}
			if c.change == nil {
				continue
			}
			changed := clone(w)
			c.change(changed)
			now := explain.Predict(changed, one.query)
			if one.arrives(now) || one.refusedThere(now) {
				return append(causes, c), changed
			}
			if next == nil && (now.Verdict != r.Verdict || now.Reason != r.Reason) && now.Verdict != explain.Unknown {
				next, found, then = changed, c, now
			}
		}
		if next == nil {
			break
		}
		causes, w, r = append(causes, found), next, then
	}
	if len(certain) == 0 && len(was.Mend) > 0 { // package explain knows what it fails by
		certain = []cause{{what: p.why(one, was), mend: was.Mend}}
	}
	return certain, nil
}

// sources finds the addresses that rules ask for.
var sources = regexp.MustCompile(`(?:^| )(?:-s|--src-range) ([0-9a-fA-F.:]+)`)

// mostSources is how many sources are tried.
const mostSources = 16

// others are the sources of such packets that get there all the same.
func (p *ports) others(one probe) (all []string) {
	tried := map[string]bool{}
	for _, f := range p.paths.World.Spaces[0].Filters {
		for _, t := range f.Tables {
			for _, c := range t.Chains {
				for _, r := range c.Rules {
					m := sources.FindStringSubmatch(r.Text)
					if f.Six != one.query.Dst.Is6() || m == nil || tried[m[1]] || len(tried) == mostSources {
						continue
					}
					tried[m[1]] = true
					if q, ok := from(one.query, m[1], p.paths.World); ok {
						it := one
						it.query = q
						if it.arrives(explain.Predict(p.paths.World, q)) {
							all = append(all, m[1])
						}
					}
				}
			}
		}
	}
	return all
}

// from has a packet come from another address, if that can be beyond the same uplink.
func from(q explain.Query, text string, w *explain.World) (explain.Query, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil || a == q.Src || a.IsUnspecified() || a.IsLoopback() {
		return q, false
	}
	for _, l := range w.Spaces[0].Links {
		for _, p := range l.Addrs {
			if p.Addr() == a || l.Name != q.In && p.Contains(a) {
				return q, false
			}
			if p.Contains(a) && p.Masked().Addr() == a { // the network's own
				a = a.Next()
			}
		}
	}
	q.Src = a
	return q, true
}
