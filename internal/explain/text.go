package explain

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mybr/mybr/internal/fold"
)

// Text is a result for people: the verdict, then what happens, a line each, in the
// namespaces that it happens in.
func (r Result) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", r.Packet, r.Verdict)
	if r.Reason != "" {
		fmt.Fprintf(&b, "why: %s\n", r.Reason)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	for _, command := range r.Mend {
		fmt.Fprintf(&b, "mend: %s\n", command)
	}
	if r.Rule != nil && r.Rule.Why != "" {
		fmt.Fprintf(&b, "mybr has that rule for this: %s\n", r.Rule.Why)
	}
	wide := 0
	for _, s := range r.Steps {
		wide = max(wide, min(utf8.RuneCountInString(s.Space), widest))
	}
	back := false
	for i, s := range r.Steps {
		if i == 0 || s.Back != back {
			back = s.Back
			b.WriteString(map[bool]string{false: "\nthe way there\n", true: "\nthe reply\n"}[back])
		}
		fmt.Fprintf(&b, "  %-*s  %s\n", wide, s.Space, s.Text)
		if s.Rule != nil && s.Kind != AtLink {
			for _, line := range s.Rule.lines() {
				fmt.Fprintf(&b, "  %-*s      %s\n", wide, "", line)
			}
		}
	}
	return folded(b.String(), wide)
}

// widest is the column of the namespaces: a longer name moves its own line only.
const widest = 20

// folded breaks the lines that are too long, but for rules and commands, which are copied.
func folded(text string, wide int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		what := strings.TrimLeft(line, " ")
		hang := strings.Repeat(" ", len(line)-len(what))
		switch {
		case hang == "":
			hang = "     "
		case len(hang) == 2: // a step
			hang = strings.Repeat(" ", 2+wide+2+2)
		}
		if begin, _, _ := strings.Cut(what, " "); !slices.Contains([]string{"-A", "rule", "element", "mend:"}, begin) {
			line = fold.Line(line, hang, fold.Width)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// lines is the rule as the command that shows it has it, behind those that led there, with the
// reasons.
func (r *RuleAt) lines() (all []string) {
	for _, led := range r.Led {
		all = append(all, led.lines()...)
	}
	if r.Command == NFT {
		all = append(all, fmt.Sprintf("rule %s %s %s", r.Table, r.Chain, r.Rule))
	} else {
		all = append(all, fmt.Sprintf("-A %s %s  (%s -t %s)", r.Chain, r.Rule, r.Command, r.Table))
	}
	for _, more := range []string{r.Element, r.Why} {
		if more != "" {
			all = append(all, more)
		}
	}
	return all
}

// escape has fn make a rule's texts ones that can be shown.
func (r *RuleAt) escape(fn func(string) string) {
	for _, text := range []*string{&r.Command, &r.Table, &r.Chain, &r.Rule, &r.Why, &r.Element} {
		*text = fn(*text)
	}
	for i := range r.Led {
		r.Led[i].escape(fn)
	}
}

// Escape has fn make all texts ones that can be shown in a terminal: names of links and
// programs, and comments in rules, are others'.
func (r *Result) Escape(fn func(string) string) {
	rules := []*RuleAt{r.Rule}
	for _, text := range []*string{&r.Packet, &r.Reason, &r.To} {
		*text = fn(*text)
	}
	for _, list := range [][]string{r.Notes, r.Mend} {
		for i := range list {
			list[i] = fn(list[i])
		}
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
			at.escape(fn)
		}
	}
}
