package icc

import (
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// Groups are the groups that the list names, sorted.
func (l List) Groups() (all []string) {
	for _, r := range l {
		for _, group := range []string{r.From, r.To} {
			if group != Anyone {
				all = append(all, group)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Class is those of a container's groups, as ParseGroups returns them, that the list names, with
// commas between: containers of one class may begin the same, and be reached by the same.
func (l List) Class(groups string) string {
	if groups == "" || groups == model.GroupNone {
		return ""
	}
	named := l.Groups()
	return strings.Join(slices.DeleteFunc(strings.Split(groups, ","), func(group string) bool {
		_, there := slices.BinarySearch(named, group)
		return !there
	}), ",")
}

// Classes are those of containers that are in no group of the list, or in one, sorted.
func (l List) Classes() []string { return append([]string{""}, l.Groups()...) }

// Begins is what containers of one class may begin to those of another: spans that have nothing in
// common, sorted, each of one protocol, or one of everything.
func (l List) Begins(from, to string) (all []Span) {
	for _, r := range l {
		if !matches(r.From, from) || !matches(r.To, to) {
			continue
		}
		switch {
		case r.Proto == 0 && r.First == 0:
			return []Span{{}}
		case r.Proto == 0: // those that have ports
			for _, p := range []model.Proto{model.TCP, model.UDP, model.SCTP} {
				all = append(all, Span{p, r.First, r.Last})
			}
		default:
			all = append(all, r.Span)
		}
	}
	return joined(all)
}

// matches reports whether a rule's side is about containers of a class.
func matches(side, class string) bool {
	return side == Anyone || class != "" && slices.Contains(strings.Split(class, ","), side)
}

// joined has spans that overlap, or follow each other, as one.
func joined(all []Span) (out []Span) {
	slices.SortFunc(all, compareSpans)
	for _, s := range all {
		last := len(out) - 1
		switch {
		case last < 0 || out[last].Proto != s.Proto:
			out = append(out, s)
		case out[last].First == 0: // all of the protocol
		case int(s.First) <= int(out[last].Last)+1:
			out[last].Last = max(out[last].Last, s.Last)
		default:
			out = append(out, s)
		}
	}
	return out
}
