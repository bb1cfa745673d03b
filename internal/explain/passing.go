package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// stop is one thing that a packet passes at a hook.
type stop struct {
	priority int
	pass     func(k *walker, p *Packet) *outcome
}

// The priorities that iptables gives its tables (linux/netfilter_ipv4.h). Whoever translates
// is asked at one place, whatever the priorities are (nf_nat_inet_fn): they are the order there.
func tablesOf(hook string) map[string]int {
	all := map[string]int{"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
	switch hook {
	case "PREROUTING":
		delete(all, "filter")
		delete(all, "security")
	case "INPUT":
		delete(all, "raw")
		all["nat"] = 100
	case "FORWARD":
		delete(all, "raw")
		delete(all, "nat")
	case "POSTROUTING":
		return map[string]int{"mangle": -150, "nat": 100}
	}
	return all
}

// trackedAt is where flows are told apart (NF_IP_PRI_CONNTRACK).
const trackedAt = -200

// stops are those of a hook, in their order. Of nat only, or all but that.
func (s *Space) stops(hook string, nat bool) (all []stop) {
	for table, priority := range tablesOf(hook) {
		if (table == "nat") != nat {
			continue
		}
		for i := range s.Filters {
			f := &s.Filters[i]
			all = append(all, stop{priority, func(k *walker, p *Packet) *outcome { return k.chain(s, f, table, hook, p) }})
		}
	}
	for _, t := range s.Natives {
		for _, c := range t.Chains {
			if strings.EqualFold(c.Hook, hook) && (c.Kind == "nat") == nat {
				all = append(all, stop{c.Priority, func(k *walker, p *Packet) *outcome { return k.native(s, t, c, hook, p) }})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b stop) int { return cmp.Compare(a.priority, b.priority) })
	return all
}

// translating are those who may translate at a hook, in their order.
func (s *Space) translating(hook string) (all []func(k *walker, p *Packet) *outcome) {
	for _, one := range s.stops(hook, true) {
		all = append(all, one.pass)
	}
	return all
}

// hook has a packet pass all that is at one hook; nil: it goes on.
func (k *walker) hook(s *Space, hook string, p *Packet) *outcome {
	if s.Untold != "" {
		return &outcome{verdict: Unknown, reason: s.Untold}
	}
	all := s.stops(hook, false)
	if at, ok := tablesOf(hook)["nat"]; ok {
		all = append(all, stop{at, func(k *walker, p *Packet) *outcome { return k.nat(s, hook, p) }})
		slices.SortStableFunc(all, func(a, b stop) int { return cmp.Compare(a.priority, b.priority) })
	}
	for _, one := range all {
		if end := one.pass(k, p); end != nil {
			return end
		}
	}
	return nil
}

// native has a packet pass one base chain of nf_tables.
func (k *walker) native(s *Space, t *Native, c *NativeChain, hook string, p *Packet) *outcome {
	if t.Family != "inet" && (t.Family == "ip6") != p.six() {
		return nil
	}
	seen := *p
	seen.early = c.Priority <= trackedAt && (hook == "PREROUTING" || hook == "OUTPUT")
	v := k.w.native(s, t, c, seen)
	v.packet.early = false
	return k.judged(s, hook, c.Kind == "nat", fmt.Sprintf("(nft list table %s)", t.title()), p, v)
}

// judged has what a chain has said come about. place says where its policy is to be seen.
func (k *walker) judged(s *Space, hook string, nat bool, place string, p *Packet, v verdict) *outcome {
	before, own := p.String(), p.conn
	after := v.packet
	if own != nil && after.conn != nil {
		*own = *after.conn
	}
	after.conn = own
	*p = after
	if v.rule != nil && v.fate != passes || v.rule != nil && !nat {
		k.step(s, AtRule, fmt.Sprintf("%s: %s by rule %d of %s", hook, [...]string{"accepted", "dropped", "rejected", "can't be told"}[v.fate], v.rule.Number, v.rule.Chain))
		k.steps[len(k.steps)-1].Rule = v.rule
	}
	switch v.fate {
	case puzzled:
		return &outcome{verdict: Unknown, rule: v.rule, reason: "whether it passes can't be told at " + v.rule.String()}
	case dropped:
		if v.rule == nil || v.policy != "" {
			reason := fmt.Sprintf("the policy of %s is DROP, and no rule accepts it %s", v.policy, place)
			k.step(s, AtRule, reason)
			return &outcome{verdict: Dropped, reason: reason}
		}
		return &outcome{verdict: Dropped, rule: v.rule, reason: "it is dropped by " + v.rule.String()}
	case rejected:
		verdict := Refused
		if !strings.Contains(v.reply, "port-unreach") && v.reply != "tcp-reset" && v.reply != "" {
			verdict = NoRoute
		}
		return &outcome{verdict: verdict, rule: v.rule, reason: "it is rejected by " + v.rule.String(), space: s, packet: *p, reset: v.reply == "tcp-reset"}
	}
	k.translated(s, hook, before, p, v.rule)
	return nil
}
