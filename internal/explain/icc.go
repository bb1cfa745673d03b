package explain

import (
	"fmt"
	"net/netip"
	"slices"
)

// Lists is what containers of networks may begin connections to each other (mybr.icc), as
// mybr's table on bridges has it.
type Lists struct {
	From   map[string]string            // by port: the chain that what comes from there goes through
	To     map[string]map[string]string // by such a chain and the port that a frame goes to: the chain of what may be begun
	Inside map[string]bool              // ports of networks with a list
	May    map[string][]Span            // by chain of what may be begun
	Routed map[string][]RoutedBack      // by port: what the host takes from there
}

// Span is ports of a protocol that may be connected to.
type Span struct {
	Proto       string // "": every one
	First, Last uint16 // 0: there are no ports, or all are meant
}

// RoutedBack is a rule about the destination of what the host takes from a port; the first one that
// matches counts.
type RoutedBack struct {
	To   netip.Prefix
	Pass bool
}

// begins reports whether some spans have a port of a protocol.
func begins(spans []Span, proto string, port uint16) bool {
	return slices.ContainsFunc(spans, func(s Span) bool {
		return s.Proto == "" || s.Proto == proto && (s.First == 0 || s.First <= port && port <= s.Last)
	})
}

// neighbours has a packet pass what a network's list says of two of its ports.
func (k *walker) neighbours(s *Space, port, to *Link, p *Packet) *outcome {
	if s.Lists == nil {
		return nil
	}
	n := s.Lists
	from, listed := n.From[port.Name]
	if !listed {
		return nil
	}
	table := fmt.Sprintf("the nf_tables table %s %s of %s", sendersFamily, SendersTable, s.Name)
	may := n.To[from][to.Name]
	if may == "" {
		if !n.Inside[to.Name] {
			return nil // a port of somebody else's
		}
		return k.unlisted(s, "%s drops it: no rule is about what port %s sends to port %s (mybr.icc)", table, port.Name, to.Name)
	}
	if p.kind == fault || begins(n.May[may], p.Proto, p.Dport) {
		return nil
	}
	if back := n.To[n.From[to.Name]][port.Name]; back != "" && begins(n.May[back], p.Proto, p.Sport) {
		switch {
		case p.Reply || p.kind != "":
			return nil
		case p.Proto == UDP: // or somebody else's, if it was asked for
			return &outcome{verdict: Unknown, reason: fmt.Sprintf("%s passes it if port %s has asked for it, which can't be told", table, to.Name)}
		}
	}
	return k.unlisted(s, "%s drops it: no rule lets port %s begin that to port %s (mybr.icc)", table, port.Name, to.Name)
}

// routedBack has a packet pass what a network's list keeps the host from routing back into it.
func (k *walker) routedBack(s *Space, port *Link, p *Packet) *outcome {
	if s.Lists == nil {
		return nil
	}
	dst := p.Dst.WithZone("")
	for _, r := range s.Lists.Routed[port.Name] {
		switch {
		case !r.To.Contains(dst):
		case r.Pass:
			return nil
		default:
			return k.unlisted(s, "the nf_tables table %s %s of %s drops it: the host does not route to neighbours what comes from port %s (mybr.icc)", sendersFamily, SendersTable, s.Name, port.Name)
		}
	}
	return nil
}

func (k *walker) unlisted(s *Space, format string, args ...any) *outcome {
	o := dead(format, args...)
	k.step(s, AtRule, o.reason)
	return &o
}
