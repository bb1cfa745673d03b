package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/view"
)

// This file is about how what is found of published ports is told.

// silent says who does not listen.
func (p *ports) silent(one probe) string {
	at := one.port.Container
	text := fmt.Sprintf("nothing in %s listens on %s %s", p.container(one.port), one.port.Proto, at)
	for _, s := range p.paths.World.Spaces {
		for _, socket := range s.Sockets {
			if slices.Contains(one.to, s.Name) && socket.Proto == one.port.Proto && socket.Port == at.Port() && socket.Addr.Unmap().IsLoopback() {
				return text + ", only on " + socket.Addr.Unmap().String()
			}
		}
	}
	return text
}

// container is what the container of a port is called, where that is known.
func (p *ports) container(port view.Port) string {
	if port.Name != "" {
		return port.Name
	}
	return "endpoint " + short(port.Endpoint)
}

// called names a published port: "web's tcp port 8080 (network front)".
func (p *ports) called(port view.Port) string {
	at := port.Host
	if !at.IsValid() {
		at = port.Container
	}
	number := strconv.Itoa(int(at.Port()))
	if port.Count > 1 {
		number += "-" + strconv.Itoa(int(at.Port())+int(port.Count)-1)
	}
	network := port.Bridge
	for _, n := range p.view.Networks {
		if n.ID == port.Network {
			network = netName(n)
		}
	}
	family := ""
	if at.Addr().Is6() {
		family = " by IPv6"
	}
	return fmt.Sprintf("%s's %s port %s%s (network %s)", p.container(port), port.Proto, number, family, network)
}

// netName is what a network is called: "front (br-0123456789ab)", or its bridge's name alone.
func netName(n view.Network) string {
	if n.Name == "" || n.Name == n.Bridge {
		return n.Bridge
	}
	return n.Name + " (" + n.Bridge + ")"
}

// tell writes down what was found.
func (p *ports) tell() {
	for _, b := range p.blamed {
		p.accuse(b)
	}
	for _, who := range slices.Sorted(maps.Keys(p.idle)) {
		verdict := Note
		if strings.Contains(who, ", only on ") { // it will not do so later
			verdict = Warning
		}
		p.found(verdict, nil, "%s", who)
	}
	for _, what := range slices.Sorted(maps.Keys(p.closed)) {
		p.found(Note, nil, "the host's firewall, which decides about it (mybr.publish.policy=host), closes %s", what)
	}
	for _, what := range slices.Sorted(maps.Keys(p.shut)) {
		p.found(Warning, p.open(p.shut[what]), "nothing carries %s: with mybr.publish.policy=host the process is to do so, which can't carry SCTP", what)
	}
	for i, why := range p.unclear {
		if i == mostTold {
			p.found(Unknown, nil, "and %d more reasons", len(p.unclear)-i)
			break
		}
		p.found(Unknown, nil, "whether some ports answer can't be told: %s", why)
	}
	if p.left > 0 {
		p.found(Note, nil, "%s to published ports were left out, as there are too many", count(p.left, "packet"))
	}
	if p.paths.Unread != nil && p.paths.Unread() > 0 {
		p.found(OK, nil, "rules inside of %s were not looked at, as there are too many", count(p.paths.Unread(), "container"))
	}
	if p.Verdict == OK {
		p.saw("each of %s answers, from uplinks and from the host", count(len(p.view.Ports), "published port"))
	}
}

// mostTold is how much of one kind is told.
const mostTold = 5

// accuse writes down what is to blame for the loss of packets. Where another check has found a
// fault that the same commands mend, that one is named.
func (p *ports) accuse(b *blamed) {
	what, mend, policy := b.reason, []string(nil), len(b.causes) == 0
	for i, c := range b.causes {
		if i == 0 {
			what = c.what
		} else {
			what += ", and " + c.what
		}
		mend = append(mend, c.mend...)
		policy = policy || c.policy
	}
	if running, err := p.running(); policy && err == nil && len(running.Differences) > 0 {
		mend = p.sync() // what lets the packets pass is missing
	}
	lost := some(b.lost, 3)
	switch names := p.sayingSo(mend); {
	case len(b.some) > 0:
		p.found(Note, nil, "%s: lost is %s; what comes from %s gets there", what, lost, some(b.some, 3))
	case len(names) > 0:
		p.found(Note, nil, "%s: lost is %s; see %s", what, lost, strings.Join(names, " and "))
	default:
		p.found(Fault, mend, "%s: lost is %s", what, lost)
	}
}

// sayingSo are the checks before this one that have all of these commands for what mends a fault
// or a warning.
func (l *look) sayingSo(mend []string) (checks []string) {
	for _, command := range mend {
		i := slices.IndexFunc(l.before, func(r Result) bool {
			return (r.Verdict == Fault || r.Verdict == Warning) && slices.Contains(r.Mend, command)
		})
		if i < 0 {
			return nil
		}
		if !slices.Contains(checks, l.before[i].Check) {
			checks = append(checks, l.before[i].Check)
		}
	}
	return checks
}
