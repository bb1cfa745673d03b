package hostport

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// Set is what the process must hold.
type Set struct {
	Bindings []Binding // sorted by owner, then as in the record
	// Blocked names links, sorted: what comes by them is not relayed. The sockets are bound
	// to every address, and no firewall rule stands between them and a container of an
	// internal network.
	Blocked []string
}

// Binding is what one endpoint has published.
type Binding struct {
	Owner string // the sandbox's key, or the ID of an endpoint without one (model.Endpoint.PortOwner)
	Link  string // the host's end of the endpoint's veth pair, which an error is about; it need not exist
	model.PortBinding
	Limit Limit // who is served; the zero value: everybody
	// Neighbours is the subnet whose containers reach the port through the process, even at
	// addresses of the host; the zero value: none.
	Neighbours netip.Prefix
}

// Subjects returns what is wanted for each link, to be compared by reflect.DeepEqual. "" is
// everybody's: the blocked links.
func (s Set) Subjects() map[string]any {
	parts := map[string]Set{}
	if len(s.Blocked) > 0 {
		parts[""] = Set{Blocked: s.Blocked}
	}
	for _, b := range s.Bindings {
		of := parts[b.Link]
		of.Bindings = append(of.Bindings, b)
		parts[b.Link] = of
	}
	subjects := make(map[string]any, len(parts))
	for subject, part := range parts {
		subjects[subject] = part
	}
	return subjects
}

// Only returns the part of the set for those subjects that keep reports true of.
func (s Set) Only(keep func(subject string) bool) Set {
	var part Set
	for _, b := range s.Bindings {
		if keep(b.Link) {
			part.Bindings = append(part.Bindings, b)
		}
	}
	if len(s.Blocked) > 0 && keep("") {
		part.Blocked = s.Blocked
	}
	return part
}

// With returns the union of two sets that have no subject in common.
func (s Set) With(o Set) Set {
	return Set{Bindings: slices.Concat(s.Bindings, o.Bindings), Blocked: slices.Concat(s.Blocked, o.Blocked)}
}

// check refuses a binding that Reserve can't have made.
func (b Binding) check() error {
	switch {
	case !b.Host.IsValid() || b.Host.Port() == 0 || !isContainer(b.Container):
		return fmt.Errorf("%w address", model.ErrInvalid)
	case b.Count == 0 || int(b.Host.Port())+int(b.Count) > 1<<16 || int(b.Container.Port())+int(b.Count) > 1<<16:
		return fmt.Errorf("%w number of ports %d", model.ErrInvalid, b.Count)
	}
	return nil
}

// named returns an owner with the word for what it is: a sandbox's key is a path
// (network_namespaces(7)), an endpoint's ID has no slash.
func named(owner string) string {
	if strings.Contains(owner, "/") {
		return "sandbox " + owner
	}
	return "endpoint " + owner
}

// portsOf maps every port of some bindings to the first binding that names it.
func portsOf(bindings []Binding) map[key]*Binding {
	count := 0
	for i := range bindings {
		count += int(bindings[i].Count)
	}
	all := make(map[key]*Binding, min(count, maxSized))
	for i := range bindings {
		if bindings[i].check() != nil {
			continue
		}
		for one := range bindings[i].Ones() {
			if k := keyOf(one); all[k] == nil {
				all[k] = &bindings[i]
			}
		}
	}
	return all
}

// maxSized is for how many ports memory is made ready ahead.
const maxSized = 1 << 16

// names reports whether one, a single port, is of the binding, or of another one that says the
// same. A nil binding has none.
func (b *Binding) names(one Binding) bool {
	if b == nil {
		return false
	}
	n := one.Host.Port() - b.Host.Port() // below Count, or it is no port of the binding
	return n < b.Count && b.at(n) == one
}

// each is Ones with the owner.
func (b Binding) each() iter.Seq[Binding] {
	return func(yield func(Binding) bool) {
		for one := range b.Ones() {
			of := b
			of.PortBinding = one
			if !yield(of) {
				return
			}
		}
	}
}

// at is the binding's port that is n behind its first one.
func (b *Binding) at(n uint16) Binding {
	one := *b
	one.Host, one.Container, one.Count = shift(b.Host, n), shift(b.Container, n), 1
	return one
}
