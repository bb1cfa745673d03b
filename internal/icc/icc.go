// Package icc says which containers of one network may begin connections to which others: the
// grammar of the options mybr.icc and mybr.group, and what a list allows between containers of
// some groups.
//
// Be aware: texts are recorded in the one form in which String and ParseGroups write them, so that
// what is the same is equal.
package icc

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// Anyone stands for all containers of the network, those without a group included.
const Anyone = "*"

// ICMP is the protocol of that name in a rule: of IPv4, and in IPv6 ICMPv6 (IANA protocol numbers
// 1 and 58).
const ICMP model.Proto = 1

// How many rules a list can have, and how many groups a container: of each pair of groups the
// kernel has a chain, and of each container an element for each group that a list names.
const (
	maxRules  = 64
	maxGroups = 16
)

// protocols are the words that a rule can end with.
var protocols = []model.Proto{model.TCP, model.UDP, model.SCTP, ICMP}

func protoWord(p model.Proto) string {
	if p == ICMP {
		return "icmp"
	}
	return p.String()
}

// Rule lets containers of one group begin connections to those of another.
type Rule struct {
	From, To string // groups, or Anyone
	Span
}

// Span is what may be begun: ports of a protocol.
type Span struct {
	Proto       model.Proto // 0: every protocol; with ports: those that have ports
	First, Last uint16      // 0: there are no ports, or all of them are meant
}

// List is the rules of a network, sorted.
type List []Rule

// wanted ends errors about what is no rule at all.
const wanted = "want GROUP>GROUP, with :PORT or :FIRST-LAST and /tcp, /udp, /sctp or /icmp behind it or without, such as web>db:5432, and * for every container"

// Parse reads a list, such as `web>db:5432,*>dns:53/udp`. An error says what of it can't be taken,
// and nothing of where it stands.
func Parse(text string) (List, error) {
	var all List
	for _, word := range strings.Split(text, ",") {
		r, err := parseRule(strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	slices.SortFunc(all, compareRules)
	all = slices.Compact(all)
	if len(all) > maxRules {
		return nil, fmt.Errorf("there are more than %d rules: want groups that several containers are in, or ranges of ports", maxRules)
	}
	return all, nil
}

func compareRules(a, b Rule) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), compareSpans(a.Span, b.Span))
}

func compareSpans(a, b Span) int {
	return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
}

func parseRule(word string) (r Rule, err error) {
	if word == "" {
		return r, fmt.Errorf("there is a rule missing between commas: %s", wanted)
	}
	fail := func(format string, args ...any) (Rule, error) {
		return Rule{}, fmt.Errorf("%s: "+format, append([]any{model.Quoted(word, 160)}, args...)...)
	}
	from, rest, arrow := strings.Cut(word, ">")
	if !arrow {
		return fail(wanted)
	}
	rest, proto, named := strings.Cut(rest, "/")
	if named {
		i := slices.IndexFunc(protocols, func(p model.Proto) bool { return strings.TrimSpace(proto) == protoWord(p) })
		if i < 0 {
			return fail("%s is no protocol: want tcp, udp, sctp or icmp", model.Quoted(proto, 64))
		}
		r.Proto = protocols[i]
	}
	to, ports, has := strings.Cut(rest, ":")
	if has {
		if r.First, r.Last, err = model.ParsePorts(strings.TrimSpace(ports)); err != nil {
			return fail("%w", err)
		}
		if r.Proto == ICMP {
			return fail("ICMP has no ports: leave out :%s, or /icmp", ports)
		}
	}
	r.From, r.To = strings.TrimSpace(from), strings.TrimSpace(to)
	for _, group := range []string{r.From, r.To} {
		if group != Anyone {
			if err := checkGroup(group); err != nil {
				return fail("%w", err)
			}
		}
	}
	return r, nil
}

// checkGroup refuses what can't be the name of a group.
func checkGroup(name string) error {
	odd := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' && r != '-' && r != '.'
	}
	switch {
	case name == model.ICCAll || name == model.ICCNone:
		return fmt.Errorf("%s is a word of its own, and no name of a group", name)
	case name == "" || len(name) > 63 || strings.ContainsFunc(name, odd):
		return fmt.Errorf("%s is no name of a group: want 1 to 63 of letters, digits, dots, _ and -", model.Quoted(name, 64))
	}
	return nil
}

// ParseGroups reads the groups of a container, such as `web,metrics`, or model.GroupNone, and
// returns them sorted, each once.
func ParseGroups(text string) (string, error) {
	if strings.TrimSpace(text) == model.GroupNone {
		return model.GroupNone, nil
	}
	var all []string
	for _, word := range strings.Split(text, ",") {
		word = strings.TrimSpace(word)
		if err := checkGroup(word); err != nil {
			return "", err
		}
		all = append(all, word)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > maxGroups {
		return "", fmt.Errorf("there are more than %d groups", maxGroups)
	}
	return strings.Join(all, ","), nil
}

// String returns the list as Parse reads it.
func (l List) String() string {
	var words []string
	for _, r := range l {
		text := r.From + ">" + r.To
		if r.First != 0 {
			text += ":" + r.ports()
		}
		if r.Proto != 0 {
			text += "/" + protoWord(r.Proto)
		}
		words = append(words, text)
	}
	return strings.Join(words, ",")
}

func (s Span) ports() string {
	if s.First == s.Last {
		return strconv.Itoa(int(s.First))
	}
	return fmt.Sprintf("%d-%d", s.First, s.Last)
}

// String returns it for a person, such as "tcp 5432".
func (s Span) String() string {
	switch {
	case s.Proto == 0:
		return "everything"
	case s.First == 0:
		return protoWord(s.Proto)
	}
	return protoWord(s.Proto) + " " + s.ports()
}
