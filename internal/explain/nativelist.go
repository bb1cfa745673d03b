package explain

import (
	"encoding/json"
	"strconv"
	"strings"
)

// handle finds a rule.
type handle struct {
	family, table, chain string
	number               int
}

// ruleTexts reads the texts of rules from a list with handles: lines such as
//
//	table ip mybr { # handle 2
//		chain pass { # handle 4
//			type filter hook forward priority filter; policy accept;
//			accept # handle 41
func ruleTexts(text string) map[handle]string {
	all := map[handle]string{}
	at := handle{}
	begun := "" // a rule that goes on over several lines
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		i := strings.LastIndex(line, " # handle ")
		if i < 0 {
			if at.chain != "" && line != "}" && !strings.HasPrefix(line, "type ") {
				begun += line + " "
			}
			if line == "}" {
				at.chain, begun = "", ""
			}
			continue
		}
		what := line[:i]
		f := strings.Fields(what)
		switch {
		case len(f) == 4 && f[0] == "table" && f[3] == "{":
			at = handle{family: f[1], table: f[2]}
		case len(f) == 3 && f[0] == "chain" && f[2] == "{":
			at.chain, begun = f[1], ""
		case at.chain != "":
			if n, err := strconv.Atoi(line[i+len(" # handle "):]); err == nil {
				at.number = n
				all[at] = begun + what
			}
			begun = ""
		}
	}
	return all
}

// NeedsCode reports whether nft(8) has left out of its JSON what a verdict depends on: before a
// rejection in a table of both families it prints no condition that there is one of them alone.
func NeedsCode(document string) bool {
	return strings.Contains(document, `"tcp reset"`) && strings.Contains(document, `"inet"`)
}

// Families that a rule is for.
const (
	bothFamilies = "both"
	onlyIPv4     = "ip"
	onlyIPv6     = "ip6"
)

// rejectedFamilies reads of each rule which family it asks for, from lines such as
//
//	inet f c 2 1
//	  [ meta load nfproto => reg 1 ]
//	  [ cmp eq reg 1 0x00000002 ]
func rejectedFamilies(code string) map[handle]string {
	all := map[handle]string{}
	at, loaded := handle{}, false
	for line := range strings.Lines(code) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 4 && line[0] != ' ' && (f[0] == "ip" || f[0] == "ip6" || f[0] == "inet"):
			n, err := strconv.Atoi(f[3])
			if at, loaded = (handle{f[0], f[1], f[2], n}), false; err == nil {
				all[at] = bothFamilies
			}
		case strings.Contains(line, "meta load nfproto"):
			loaded = true
		case loaded && strings.Contains(line, "cmp eq"):
			if all[at] = onlyIPv4; strings.Contains(line, "0x0000000a") {
				all[at] = onlyIPv6
			}
			loaded = false
		}
	}
	return all
}

// rejectable is the condition that a rejection has by itself: of its kind, or what nft(8)
// doesn't print of its family ("": it isn't known). A reset is for TCP: nft(8) has each rule
// with one ask for that first (REJECT STATEMENT), and doesn't print it either. So an ICMP
// error in place of a reply is not kept by such a rule.
func (t *Native) rejectable(raw json.RawMessage, family string) statement {
	var how struct{ Type string }
	_ = json.Unmarshal(raw, &how) // without anything it is for both
	switch {
	case how.Type == "icmp":
		family = onlyIPv4
	case how.Type == "icmpv6":
		family = onlyIPv6
	case how.Type != "tcp reset" || t.Family != "inet":
		family = bothFamilies
	}
	return func(_ *Space, p *Packet) []effect {
		switch {
		case how.Type == "tcp reset" && p.Proto != TCP:
			return no.effects()
		case family == "":
			return unsure.effects()
		}
		return is(family == bothFamilies || (family == onlyIPv6) == p.six()).effects()
	}
}
