package explain

import (
	"fmt"
	"strings"
)

// Text is a result for people: the verdict, then what happens, a line each, in the
// namespaces that it happens in.
func (r Result) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", r.Packet, r.Verdict)
	if r.Reason != "" {
		fmt.Fprintf(&b, "why: %s\n", r.Reason)
	}
	if r.Rule != nil && r.Rule.Why != "" {
		fmt.Fprintf(&b, "mybr has that rule for this: %s\n", r.Rule.Why)
	}
	wide := 0
	for _, s := range r.Steps {
		wide = max(wide, len(s.Space))
	}
	back := false
	for i, s := range r.Steps {
		if i == 0 || s.Back != back {
			back = s.Back
			b.WriteString(map[bool]string{false: "\nthe way there\n", true: "\nthe reply\n"}[back])
		}
		fmt.Fprintf(&b, "  %-*s  %s\n", wide, s.Space, s.Text)
		if s.Rule != nil && s.Kind != AtLink {
			fmt.Fprintf(&b, "  %-*s      -A %s %s  (%s -t %s)\n", wide, "", s.Rule.Chain, s.Rule.Rule, s.Rule.Command, s.Rule.Table)
			if s.Rule.Why != "" {
				fmt.Fprintf(&b, "  %-*s      %s\n", wide, "", s.Rule.Why)
			}
		}
	}
	return b.String()
}

// Escape has fn make all texts ones that can be shown in a terminal: names of links and
// programs, and comments in rules, are others'.
func (r *Result) Escape(fn func(string) string) {
	rules := []*RuleAt{r.Rule}
	for _, text := range []*string{&r.Packet, &r.Reason, &r.To} {
		*text = fn(*text)
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		for _, text := range []*string{&s.Space, &s.Text, &s.Before, &s.After, &s.Packet} {
			*text = fn(*text)
		}
		rules = append(rules, s.Rule)
	}
	for i, at := range rules {
		if at != nil && (i == 0 || at != r.Rule) { // the one that decided is a step's, too
			for _, text := range []*string{&at.Command, &at.Table, &at.Chain, &at.Rule, &at.Why} {
				*text = fn(*text)
			}
		}
	}
}
