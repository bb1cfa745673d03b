package host

import (
	"fmt"
	"strings"

	"github.com/mybr/mybr/internal/explain"
)

// iptablesWords are those of xtables-monitor(8), which ends at rules that iptables doesn't have.
func iptablesWords() words {
	return words{[]string{"xtables-monitor", "--trace"}, func(r *explain.RuleAt) string { return " " + r.Table + ":" + r.Chain + ":" }, traced}
}

// traced reads what xtables-monitor(8) prints: of each packet a line at each hook, and below
// it a line for each rule,
//
//	PACKET: 2 1beac99d OUT=lo SRC=192.0.2.1 DST=192.0.2.2 …
//	 TRACE: 2 1beac99d filter:OUTPUT:rule:0x2:ACCEPT  -4 -t filter -A OUTPUT -j ACCEPT
//
// Those of the table own are left out: its rule is the first that a packet meets, and the ID is
// another one behind a bridge.
func traced(lines []string, own string) (all []Traced) {
	packet := ""
	for _, line := range lines {
		kind, rest, ok := strings.Cut(strings.TrimSpace(line), ": ")
		f := strings.Fields(rest)
		if !ok || len(f) < 3 {
			continue
		}
		what := strings.Join(f[2:], " ")
		switch {
		case kind == "PACKET":
			packet = what
		case kind == "TRACE" && strings.HasPrefix(what, own+":"):
			if strings.Contains(what, ":rule:") {
				all = append(all, Traced{Packet: packet, Rules: []string{}})
			}
		case kind == "TRACE" && len(all) > 0:
			all[len(all)-1].Rules = append(all[len(all)-1].Rules, ruleText(what))
		}
	}
	return all[:min(1, len(all))]
}

// ruleText is a traced rule without the handle: "filter FORWARD ACCEPT: -A FORWARD -j ACCEPT".
func ruleText(what string) string {
	place, rule, _ := strings.Cut(what, " ")
	parts := strings.Split(place, ":")
	if len(parts) < 3 {
		return what
	}
	text := parts[0] + " " + parts[1]
	if len(parts) >= 4 && parts[2] == "policy" {
		return text + ": policy " + parts[3]
	}
	if _, from, ok := strings.Cut(rule, "-t "); ok {
		if _, rule, ok = strings.Cut(from, " "); ok && rule != "" {
			return text + ": " + rule
		}
	}
	// Not every rule is printed; its number is that of nft --handle list ruleset.
	if len(parts) >= 5 {
		return fmt.Sprintf("%s: the rule with the handle %s says %s", text, parts[3], parts[4])
	}
	return text + ": " + strings.Join(parts[2:], " ")
}
