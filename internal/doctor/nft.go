package doctor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// nftChain and nftRule are what `nft -j list` prints (libnftables-json(5)).
type nftChain struct {
	Family, Table, Name, Hook, Policy string
}

type nftRule struct {
	Chain  string
	Handle int
	Expr   []map[string]json.RawMessage
}

type nftList struct {
	Nftables []struct {
		Chain *nftChain
		Rule  *nftRule
	}
}

func parseNft(text string) (list nftList, err error) {
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return list, fmt.Errorf("what nft prints: %w", err)
	}
	return list, nil
}

// iptablesTables are those of iptables-nft, which prints them itself.
var iptablesTables = []string{"filter", "nat", "mangle", "raw", "security"}

// skipped reports whether a table is looked at otherwise: by iptables-save, or by asking
// firewalld.
func (c nftChain) skipped() bool {
	ofIptables := (c.Family == "ip" || c.Family == "ip6") && slices.Contains(iptablesTables, c.Table)
	own := c.Table == "mybr" // what it looks up is compared by the check of differences
	return ofIptables || own || c.Table == "firewalld" || !slices.Contains([]string{"ip", "ip6", "inet"}, c.Family)
}

// natives are the tables of nftables' own that decide what is forwarded or comes in.
func (l *look) natives() ([]*ruleset, error) {
	return l.native.get(func() ([]*ruleset, error) {
		text, err := l.Run(l.ctx, "nft", "-j", "list", "chains")
		if err != nil {
			return nil, err
		}
		chains, err := parseNft(text)
		if err != nil {
			return nil, err
		}
		var sets []*ruleset
		seen := map[[2]string]bool{}
		for _, one := range chains.Nftables {
			c := one.Chain
			if c == nil || c.skipped() || c.Hook != "forward" && c.Hook != "input" || seen[[2]string{c.Family, c.Table}] {
				continue
			}
			seen[[2]string{c.Family, c.Table}] = true
			text, err := l.Run(l.ctx, "nft", "-j", "list", "table", c.Family, c.Table)
			if err != nil {
				return nil, err
			}
			list, err := parseNft(text)
			if err != nil {
				return nil, err
			}
			sets = append(sets, list.rulesets(c.Family, c.Table)...)
		}
		return sets, nil
	})
}

// rulesets are a table for each family that it is about.
func (list nftList) rulesets(family, table string) (sets []*ruleset) {
	for _, ipv6 := range map[string][]bool{"ip": {false}, "ip6": {true}, "inet": {false, true}}[family] {
		set := &ruleset{by: "nft", ipv6: ipv6, nft: []string{family, table}}
		for _, one := range list.Nftables {
			if c := one.Chain; c != nil {
				set.chains = append(set.chains, &chain{name: c.Name, hook: c.Hook, policy: c.Policy})
			}
			if one.Rule != nil {
				if c := set.chain(one.Rule.Chain); c != nil {
					c.add(one.Rule.parse()...)
				}
			}
		}
		sets = append(sets, set)
	}
	return sets
}

// parse reads a rule. One that decides by a map becomes a rule for each of the map's elements.
func (n nftRule) parse() []rule {
	one := rule{id: strconv.Itoa(n.Handle), text: "handle " + strconv.Itoa(n.Handle)}
	var cs conditions
	var cases []nftCase
	for _, statement := range n.Expr {
		for kind, raw := range statement {
			switch kind {
			case "accept", "drop", "return", "reject", "jump", "goto":
				one.decide(kind, raw)
			case "vmap":
				var ok bool
				if cases, ok = nftCases(raw); !ok {
					one.target = unclear
				}
			case "queue": // another program decides
				one.target = unclear
			case "match":
				cs.add(nftCondition(raw))
			case "counter", "log", "mangle", "notrack", "ct helper", "ct timeout", "dup", "continue":
			default: // such as a limit
				cs.add(perhaps, nil)
			}
		}
	}
	if len(cases) == 0 {
		cs.into(&one)
		return []rule{one}
	}
	rules := make([]rule, 0, len(cases))
	for _, c := range cases {
		r, of := one, conditions{slices.Clone(cs.all), slices.Clone(cs.names)}
		of.add(c.condition, c.named)
		of.into(&r)
		r.decide(c.verdict, c.to)
		rules = append(rules, r)
	}
	return rules
}

// decide gives a rule a verdict.
func (r *rule) decide(kind string, raw json.RawMessage) {
	switch kind {
	case "accept", "drop", "return", "reject":
		r.target = kind
	case "jump", "goto":
		var to struct{ Target string }
		_ = json.Unmarshal(raw, &to) // without a target it leads nowhere
		r.target, r.jump, r.leaves = to.Target, true, kind == "goto"
	}
}

// nftCase is an element of a map of verdicts.
type nftCase struct {
	condition func(packet) answer
	named     func(packet) bool
	verdict   string
	to        json.RawMessage
}

// nftCases reads a map of verdicts; false: what is in it isn't known.
func nftCases(raw json.RawMessage) (cases []nftCase, ok bool) {
	var m struct {
		Key  json.RawMessage
		Data struct{ Set [][2]json.RawMessage }
	}
	if json.Unmarshal(raw, &m) != nil || len(m.Data.Set) == 0 {
		return nil, false
	}
	for _, pair := range m.Data.Set {
		var verdict map[string]json.RawMessage
		if json.Unmarshal(pair[1], &verdict) != nil {
			return nil, false
		}
		c := nftCase{condition: perhaps}
		if string(pair[0]) != `"*"` { // that is what no other element is for
			match, err := json.Marshal(map[string]any{"op": "==", "left": m.Key, "right": pair[0]})
			if err != nil {
				return nil, false
			}
			c.condition, c.named = nftCondition(match)
		}
		for c.verdict, c.to = range verdict {
			cases = append(cases, c)
		}
	}
	return cases, true
}

// nftCondition is what a match says of packets.
func nftCondition(raw json.RawMessage) (func(packet) answer, func(packet) bool) {
	var m struct {
		Op   string
		Left struct {
			Meta, CT struct{ Key string }
			Payload  struct{ Protocol, Field string }
		}
		Right json.RawMessage
	}
	if json.Unmarshal(raw, &m) != nil || !slices.Contains([]string{"==", "in", "!="}, m.Op) {
		return perhaps, nil
	}
	word := map[string]string{
		"iifname": "-i", "iif": "-i", "oifname": "-o", "oif": "-o", "saddr": "-s", "daddr": "-d", "state": "--ctstate", "status": "--ctstate",
	}[m.Left.Meta.Key+m.Left.CT.Key+m.Left.Payload.Field]
	values, ok := nftValues(m.Right)
	if word == "" || !ok {
		return perhaps, nil
	}
	var each []func(packet) answer
	var names []func(packet) bool
	for _, v := range values {
		condition, named := conditionOf(word, v)
		each = append(each, condition)
		if named != nil {
			names = append(names, named)
		}
	}
	anyOf := func(p packet) answer {
		most := no
		for _, c := range each {
			most = max(most, c(p))
		}
		return invert(most, m.Op == "!=")
	}
	named := func(p packet) bool {
		return m.Op != "!=" && slices.ContainsFunc(names, func(n func(packet) bool) bool { return n(p) })
	}
	return anyOf, named
}

// nftValues reads what a match compares with: a word, a prefix, or several of them.
func nftValues(raw json.RawMessage) (values []string, ok bool) {
	var word string
	if json.Unmarshal(raw, &word) == nil {
		return []string{word}, len(word) > 0 && word[0] != '@' // a named set
	}
	var one struct {
		Prefix *struct {
			Addr string
			Len  int
		}
		Set []json.RawMessage
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		if json.Unmarshal(raw, &one) != nil {
			return nil, false
		}
		if one.Prefix != nil {
			return []string{fmt.Sprintf("%s/%d", one.Prefix.Addr, one.Prefix.Len)}, true
		}
		list = one.Set
	}
	for _, item := range list {
		some, ok := nftValues(item)
		if !ok {
			return nil, false
		}
		values = append(values, some...)
	}
	return values, len(values) > 0
}
