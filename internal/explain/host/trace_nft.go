package host

import (
	"os/exec"
	"strings"

	"github.com/mybr/mybr/internal/explain"
)

// nftWords are those of nft(8), which prints rules of iptables in its own way.
func nftWords() words {
	return words{[]string{"nft", "--stateless", "monitor", "trace"}, func(r *explain.RuleAt) string {
		switch {
		case r.Command == explain.NFT:
			return " " + r.Table + " " + r.Chain + " rule "
		case strings.HasPrefix(r.Command, "ip6tables"):
			return " ip6 " + r.Table + " " + r.Chain + " rule "
		}
		return " ip " + r.Table + " " + r.Chain + " rule "
	}, tracedByNFT}
}

// wordsFor chooses who prints a host's trace: iptables' own program has more to say of its rules.
func wordsFor(s *explain.Space) words {
	for _, t := range s.Natives {
		// mybr has this one for as long as it runs, whatever filters. It is no more than noticed.
		if t.Family != "inet" || t.Name != "mybr" {
			return nftWords()
		}
	}
	if _, err := exec.LookPath("xtables-monitor"); err != nil {
		return nftWords()
	}
	return iptablesWords()
}

// tracedByNFT reads what nft monitor trace prints: of each packet a line at each base chain,
// then one for each rule and for the policy,
//
//	trace id 42025a48 ip mybr forward packet: iif "mybr0" oif "eth0" ip saddr 172.18.0.2 …
//	trace id 42025a48 ip mybr forward rule iifname vmap @from (verdict goto from-masquerade)
//	trace id 42025a48 ip mybr passed policy accept
//
// Those of the table own are left out: its rule is the first that a packet meets, and the ID is
// another one behind a bridge.
func tracedByNFT(lines []string, own string) (all []Traced) {
	packet := ""
	for _, line := range lines {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "trace id ")
		f := strings.SplitN(rest, " ", 6) // ID, family, table, chain, kind, the rest
		if !ok || len(f) < 6 {
			continue
		}
		table, chain, kind, text := f[1]+" "+f[2], f[3], f[4], strings.TrimSpace(f[5])
		switch {
		case kind == "packet:":
			packet = text
		case f[2] == own:
			if kind == "rule" {
				all = append(all, Traced{Packet: packet, Rules: []string{}})
			}
		case len(all) == 0:
		case kind == "rule":
			rule, verdict, _ := strings.Cut(text, " (verdict ")
			all[len(all)-1].Rules = append(all[len(all)-1].Rules, table+" "+chain+": "+rule+" ("+strings.TrimSuffix(verdict, ")")+")")
		case kind == "policy":
			all[len(all)-1].Rules = append(all[len(all)-1].Rules, table+" "+chain+": policy "+text)
		}
	}
	return all[:min(1, len(all))]
}
