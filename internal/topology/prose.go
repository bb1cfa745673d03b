package topology

import (
	"cmp"
	"fmt"
	"strings"
)

func (s Scene) title() string { return strings.TrimSpace("Container networks of host " + s.host) }

// prose says in sentences what is drawn, for who doesn't see it.
func (s Scene) prose() (sentences []string) {
	say := func(format string, args ...any) { sentences = append(sentences, fmt.Sprintf(format, args...)) }
	if len(s.uplinks) == 0 {
		say("No interface leads outside.")
	}
	for _, u := range s.uplinks {
		say("%s leads outside, %s.", cmp.Or(u.name, "An interface"), cmp.Or(strings.Join(u.addresses, ", "), "no address"))
	}
	if s.more.uplinks > 0 {
		say("%s not drawn.", plural(s.more.uplinks, "more interface"))
	}
	if len(s.networks) == 0 {
		say("There are no networks yet.")
	}
	for _, n := range s.networks {
		about := []string{"bridge " + cmp.Or(n.bridge, "without a name")}
		for _, a := range n.subnets {
			about = append(about, strings.TrimSpace(a.address+" "+a.mode))
		}
		say("Network %s: %s.", n.title, strings.Join(append(about, n.notes...), ", "))
		if n.more > 0 {
			say("%s of network %s not drawn.", plural(n.more, "endpoint"), n.title)
		}
	}
	for _, b := range s.boxes {
		var on []string
		for _, n := range b.nics {
			text := strings.TrimSpace(n.inside + " " + strings.Join(n.addresses, ", "))
			on = append(on, strings.TrimSpace(text+" on network "+s.networks[n.network].title))
		}
		say("Container %s: %s.", b.title, strings.Join(on, "; "))
	}
	for _, p := range s.ports {
		text := p.from + " leads to " + p.to
		if p.note != "" {
			text += ", " + p.note
		}
		say("Published: %s.", text)
	}
	if s.more.ports > 0 {
		say("%s not drawn.", plural(s.more.ports, "more published port"))
	}
	if s.more.networks > 0 {
		say("%s with %s not drawn.", plural(s.more.networks, "more network"), plural(s.more.endpoints, "endpoint"))
	}
	return sentences
}
