package host

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"

	"github.com/mybr/mybr/internal/explain"
)

// lowList is what nft --json list ruleset prints (libnftables-json(5)), of what it is asked here.
type lowList struct {
	Nftables []struct {
		Rule *struct {
			Family, Table, Chain string
			Handle               int
			Expr                 []map[string]json.RawMessage
		}
		Map, Set *lowSet
	}
}

// readLow reads the chains below the network layer of the namespace that the calling thread is
// in.
func readLow(ctx context.Context, s *explain.Space) (err error) {
	s.Low, s.Senders, s.Lists = nil, nil, nil
	if s.OldBridgeRules, err = oldBridgeRules(); err != nil {
		return err
	}
	if s.Low, err = lowChains(); err != nil || len(s.Low) == 0 {
		return err
	}
	path, err := exec.LookPath("nft")
	if err != nil {
		for i := range s.Low { // their rules can't be read
			s.Low[i].Rules = []explain.LowRule{{}}
		}
		return nil
	}
	out, err := run(ctx, path, "--json", "list", "ruleset")
	if err != nil {
		return err
	}
	if err := parseLow(s.Low, out); err != nil {
		return err
	}
	if s.Senders, err = parseSenders(out); err != nil {
		return err
	}
	s.Lists, err = parseNeighbours(out)
	return err
}

// parseLow gives chains their rules.
func parseLow(low []explain.LowChain, document string) error {
	var all lowList
	if err := json.Unmarshal([]byte(document), &all); err != nil {
		return fmt.Errorf("nft --json list ruleset: %w", err)
	}
	for i := range low {
		c := &low[i]
		number := 0
		for _, e := range all.Nftables {
			r := e.Rule
			if r == nil || r.Family != c.Family || r.Table != c.Table || r.Chain != c.Name {
				continue
			}
			number++
			if rule, does := lowRule(r.Expr); does {
				rule.Number, rule.Handle = number, r.Handle
				c.Rules = append(c.Rules, rule)
			}
		}
	}
	return nil
}

// lowRule reads a rule, and whether it can do something.
func lowRule(statements []map[string]json.RawMessage) (r explain.LowRule, does bool) {
	for _, s := range statements {
		for what, raw := range s {
			switch what {
			case "match":
				if t, ok := linkTest(raw); ok {
					r.Links = append(r.Links, t)
				} else {
					r.Unsure = true
				}
			case "limit":
				r.Unsure = true
			case "counter", "log", "comment", "continue":
			case explain.LowAccept, explain.LowDrop:
				r.Verdict, does = what, true
			default:
				does = true // what it does can't be told
			}
		}
	}
	return r, does
}

// linkTest reads a comparison of a link's name with others: true if it is one.
func linkTest(raw json.RawMessage) (t explain.LinkTest, ok bool) {
	var m struct {
		Op   string
		Left struct {
			Meta struct{ Key string }
		}
		Right json.RawMessage
	}
	if json.Unmarshal(raw, &m) != nil || m.Op != "==" && m.Op != "!=" && m.Op != "in" {
		return t, false
	}
	t.In, t.Not = m.Left.Meta.Key == "iifname", m.Op == "!="
	if !t.In && m.Left.Meta.Key != "oifname" {
		return t, false
	}
	var set struct{ Set []string }
	if json.Unmarshal(m.Right, &set) == nil && len(set.Set) > 0 {
		t.Names = set.Set
		return t, true
	}
	var name string
	if json.Unmarshal(m.Right, &name) != nil || name == "" || name[0] == '@' { // a named set
		return t, false
	}
	t.Names = []string{name}
	return t, true
}
