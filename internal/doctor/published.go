package doctor

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/view"
)

func publishedChecks() []Check {
	return []Check{
		{Name: "published-ports", look: lookPublished,
			Sees: "whether a packet from each uplink, and one from the host itself, gets to the container behind each published port, and the answer back, by the routes, links, settings and rules that the kernel has (as `mybr explain` predicts it, of each range of ports for the first one). " +
				"It is predicted again with single things changed, to find the one to blame",
			Means: "These ports don't answer. Where a finding names another check, that one prints what mends it.",
			Mends: "deletes the rule or the route, sets the setting or brings the link up with which the packet would get there; where nothing can carry a port (SCTP with `mybr.publish.policy=host`), opens all ports of its container past the host's firewall, until that stops"},
	}
}

// Paths predicts what becomes of packets on this host, all of them at one moment.
type Paths struct {
	World   *explain.World
	Predict func(ctx context.Context, q explain.Query) (explain.Result, error)
	// Unread is in how many containers rules were not looked for.
	Unread func() int
}

// The bounds of the check, of which a host with a thousand ports stays below: mostPorts are looked
// at, for publishedWithin; what is to blame is searched for mostBlamed of those that don't answer.
const (
	mostPorts       = 2048
	mostBlamed      = 64
	publishedWithin = 8 * time.Second
)

// probe is a packet to a published port.
type probe struct {
	port  view.Port
	from  string // in words
	query explain.Query
	to    []string // what the World may call the namespace of the container
}

// ports is what lookPublished has found of the ports.
type ports struct {
	*look
	view  view.View
	paths Paths

	blamed   []*blamed
	searches int
	idle     map[string]bool   // who does not listen, in words
	closed   map[string]bool   // what the host's firewall is to decide about, and closes, in words
	shut     map[string]string // what nothing carries, in words, with the endpoint
	unclear  []string          // why it can't be told of some
	left     int               // packets that were not followed
}

// blamed is what keeps packets from getting there.
type blamed struct {
	causes []cause
	reason string   // without causes
	lost   []string // which packets, in words
	some   []string // the sources of such packets that get there, if there are any
	world  *explain.World
}

func lookPublished(l *look) {
	if _, ok := l.needs(); !ok {
		return
	}
	if l.Paths == nil {
		l.found(Unknown, nil, "it is not looked at from here, where namespaces of containers can't be entered: mybr doctor, as a command, does so")
		return
	}
	p := &ports{look: l}
	for range 2 { // what has just been put right is no fault
		if err := p.follow(); err != nil {
			l.unknown(err)
			return
		}
		if len(p.blamed) == 0 {
			break
		}
	}
	p.tell()
}

// follow follows packets to all ports.
func (p *ports) follow() (err error) {
	*p = ports{look: p.look, idle: map[string]bool{}, closed: map[string]bool{}, shut: map[string]string{}}
	if p.view, err = p.View(p.ctx); err != nil {
		return err
	}
	h, err := readHost()
	if err != nil {
		return err
	}
	published := firstPorts(p.view)
	with := map[string]bool{}
	for _, port := range published[:min(len(published), mostPorts)] {
		with[port.Endpoint] = true
	}
	if len(with) == 0 {
		return nil
	}
	if p.paths, err = p.Paths(p.view, with); err != nil {
		return err
	}
	until := time.Now().Add(publishedWithin)
	for _, port := range published {
		if port.Carried == view.Closed {
			p.shut[p.called(port)] = port.Endpoint
			continue
		}
		for _, one := range p.probes(h, port) {
			switch {
			case !with[port.Endpoint] || time.Now().After(until):
				p.left++
				continue
			case !p.there(one):
				p.doubt("the namespace of " + p.called(port) + " can't be found")
				continue
			}
			if err := p.send(one); err != nil {
				return err
			}
		}
	}
	return nil
}

// firstPorts are the published ports, those first that are the first of their endpoints.
func firstPorts(v view.View) (all []view.Port) {
	nth := map[string]int{}
	type numbered struct {
		view.Port
		n int
	}
	var list []numbered
	for _, port := range v.Ports {
		list = append(list, numbered{port, nth[port.Endpoint]})
		nth[port.Endpoint]++
	}
	slices.SortStableFunc(list, func(a, b numbered) int { return a.n - b.n })
	for _, one := range list {
		all = append(all, one.Port)
	}
	return all
}

// there reports whether the container's namespace was read.
func (p *ports) there(one probe) bool {
	return slices.ContainsFunc(p.paths.World.Spaces, func(s *explain.Space) bool { return slices.Contains(one.to, s.Name) })
}

// send follows one packet, and notes what becomes of it.
func (p *ports) send(one probe) error {
	r, err := p.paths.Predict(p.ctx, one.query)
	if err != nil {
		return err
	}
	switch {
	case one.arrives(r):
	case r.Verdict == explain.Unknown && one.port.Proto == explain.SCTP && r.Rule == nil:
		// Who listens on a port of SCTP can't be seen.
	case r.Verdict == explain.Unknown:
		p.doubt(r.Reason)
	case one.refusedThere(r):
		p.idle[p.silent(one)] = true
	case one.leftToHost(r):
		p.closed[p.called(one.port)+" for "+one.from] = true
	default:
		p.blame(one, r)
	}
	return nil
}

// arrives reports whether a packet gets to the container, and the answer back the way that the
// packet came.
func (one probe) arrives(r explain.Result) bool {
	return r.Verdict == explain.Delivered && slices.Contains(one.to, r.To) && one.strays(r) == ""
}

// strays is the link of the host that the answer leaves by, if that is another one than the packet
// came in by; "": it isn't. Its sender is on the network of that link.
func (one probe) strays(r explain.Result) string {
	if one.query.In == "" || len(r.Steps) == 0 {
		return ""
	}
	last := r.Steps[len(r.Steps)-1]
	text, leaves := strings.CutPrefix(last.Text, "leaves by ")
	if link, _, _ := strings.Cut(text, " "); last.Back && last.Kind == explain.AtLink && leaves && link != one.query.In {
		return link
	}
	return ""
}

// refusedThere reports whether a packet gets to the container, where nobody listens.
func (one probe) refusedThere(r explain.Result) bool {
	if r.Verdict != explain.Refused || r.Rule != nil {
		return false
	}
	for _, step := range slices.Backward(r.Steps) {
		if !step.Back {
			return step.Kind == explain.AtSocket && slices.Contains(one.to, step.Space)
		}
	}
	return false
}

// leftToHost reports whether a rule, or a policy of the host's for what is sent to itself, keeps a
// packet from outside from a port of which that is to decide (mybr.publish.policy).
func (one probe) leftToHost(r explain.Result) bool {
	if one.port.Policy == "" || one.query.In == "" || len(r.Steps) == 0 || r.Steps[len(r.Steps)-1].Kind != explain.AtRule {
		return false
	}
	reached := slices.ContainsFunc(r.Steps, func(s explain.Step) bool { return s.Kind == explain.AtSocket })
	own := r.Rule != nil && (ownChain(r.Rule.Chain) || strings.HasSuffix(r.Rule.Table, " mybr"))
	return !reached && !own
}

func (p *ports) doubt(why string) {
	if !slices.Contains(p.unclear, why) {
		p.unclear = append(p.unclear, why)
	}
}
