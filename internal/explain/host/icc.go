package host

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mybr/mybr/internal/explain"
)

// parseNeighbours reads what containers may begin to each other, of mybr's table; nil: there are no
// lists.
func parseNeighbours(document string) (*explain.Lists, error) {
	var all lowList
	if err := json.Unmarshal([]byte(document), &all); err != nil {
		return nil, fmt.Errorf("nft --json list ruleset: %w", err)
	}
	n := &explain.Lists{From: map[string]string{}, To: map[string]map[string]string{}, Inside: map[string]bool{}, May: map[string][]explain.Span{}, Routed: map[string][]explain.RoutedBack{}}
	hosts := map[string][]explain.RoutedBack{} // by chain
	for _, e := range all.Nftables {
		r := e.Rule
		if r == nil || r.Family != "bridge" || r.Table != explain.SendersTable {
			continue
		}
		switch {
		case strings.HasPrefix(r.Chain, "may-"):
			if s, ok := maySpan(r.Expr); ok {
				n.May[r.Chain] = append(n.May[r.Chain], s)
			}
		case strings.HasPrefix(r.Chain, "host-"):
			back, err := routedBack(r.Expr)
			if err != nil {
				return nil, fmt.Errorf("chain %s in nft --json list ruleset: %w", r.Chain, err)
			}
			hosts[r.Chain] = append(hosts[r.Chain], back)
		}
	}
	for _, e := range all.Nftables {
		for _, set := range []*lowSet{e.Map, e.Set} {
			if set == nil || set.Family != "bridge" || set.Table != explain.SendersTable {
				continue
			}
			for _, raw := range set.Elem {
				port, chain, err := leads(set.Name, raw)
				if err != nil {
					return nil, fmt.Errorf("element %s of %s in nft --json list ruleset: %w", raw, set.Name, err)
				}
				class, isTo := strings.CutPrefix(set.Name, "to-")
				switch {
				case set.Name == "members":
					n.From[port] = chain
				case set.Name == "inside":
					n.Inside[port] = true
				case set.Name == "routed":
					n.Routed[port] = hosts[chain]
				case isTo:
					of := "from-" + class
					if n.To[of] == nil {
						n.To[of] = map[string]string{}
					}
					n.To[of][port] = chain
				}
			}
		}
	}
	if len(n.From) == 0 {
		return nil, nil
	}
	return n, nil
}

// leads reads an element: a port, and in maps the chain that it leads to.
func leads(set string, raw json.RawMessage) (port, chain string, err error) {
	switch {
	case set == "inside":
		err = json.Unmarshal(raw, &port)
	case set == "members" || set == "routed" || strings.HasPrefix(set, "to-"):
		var pair []json.RawMessage
		if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
			return "", "", fmt.Errorf("it is no pair: %w", err)
		}
		var verdict struct{ Goto struct{ Target string } }
		if err := json.Unmarshal(pair[1], &verdict); err != nil {
			return "", "", err
		}
		chain, err = verdict.Goto.Target, json.Unmarshal(pair[0], &port)
	}
	return port, chain, err
}

// comparison is one of a field with a value, in a rule.
type comparison struct {
	Op   string
	Left struct {
		Meta    struct{ Key string }
		Payload struct{ Protocol, Field string }
	}
	Right json.RawMessage
}

// comparisons takes a rule apart: what it compares, and whether it accepts. ok is false if it asks
// for something else, too.
func comparisons(statements []map[string]json.RawMessage) (all []comparison, accepts, ok bool) {
	for _, s := range statements {
		for what, raw := range s {
			var c comparison
			switch what {
			case "match":
				if json.Unmarshal(raw, &c) != nil {
					return nil, false, false
				}
				all = append(all, c)
			case explain.LowAccept:
				accepts = true
			case "goto", "counter":
			default:
				return nil, false, false
			}
		}
	}
	return all, accepts, true
}

// maySpan reads a rule of what may be begun: one that asks for no more than a protocol, and the port
// that a packet goes to.
func maySpan(statements []map[string]json.RawMessage) (s explain.Span, ok bool) {
	all, accepts, plain := comparisons(statements)
	if !plain || !accepts {
		return s, false
	}
	for _, c := range all {
		switch {
		case c.Op != "==":
			return s, false
		case c.Left.Meta.Key == "l4proto":
			if json.Unmarshal(c.Right, &s.Proto) != nil {
				return s, false
			}
			if s.Proto == "ipv6-icmp" {
				s.Proto = explain.ICMP
			}
		case c.Left.Payload.Field == "dport":
			if c.Left.Payload.Protocol != "th" {
				s.Proto = c.Left.Payload.Protocol
			}
			var ports struct{ Range []uint16 }
			if json.Unmarshal(c.Right, &s.First) == nil {
				s.Last = s.First
			} else if json.Unmarshal(c.Right, &ports) == nil && len(ports.Range) == 2 {
				s.First, s.Last = ports.Range[0], ports.Range[1]
			} else {
				return s, false
			}
		default:
			return s, false
		}
	}
	return s, true
}

// routedBack reads a rule about where packets go that the host takes.
func routedBack(statements []map[string]json.RawMessage) (b explain.RoutedBack, err error) {
	all, accepts, _ := comparisons(statements)
	for _, c := range all {
		if c.Left.Payload.Field == "daddr" && c.Op == "==" {
			if b.To, err = senderPrefix(c.Right); err != nil {
				return b, err
			}
		}
	}
	b.Pass = accepts
	if b.To == (netip.Prefix{}) {
		return b, fmt.Errorf("a rule names no destination")
	}
	return b, nil
}
