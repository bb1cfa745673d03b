package model

import (
	"fmt"
	"slices"
	"strings"
)

// anyInterface is what a Limit by interfaces records where all are meant: no name of one.
const anyInterface = "*"

// maxInterfaces is how many interfaces a limit can name: a packet is compared with one after the
// other.
const maxInterfaces = 16

// maxInterface is the length of an interface's name, in bytes (IFNAMSIZ of linux/if.h, with a zero
// at the end).
const maxInterface = 15

// ByInterface reports whether the limit says by which interfaces clients come, and not who they are.
func (l Limit) ByInterface() bool { return len(l.Via) > 0 }

// AnyInterface is a limit of the same ports that lets clients in by every interface.
func (l Limit) AnyInterface() Limit {
	l.From, l.Via = nil, []string{anyInterface}
	return l
}

// ParseInterfaces reads `eth1,wg0`, or FromAll. An error says what of it can't be taken, and
// nothing of where it stands.
func ParseInterfaces(text string) (l Limit, err error) {
	if strings.TrimSpace(text) == FromAll {
		return Limit{}.AnyInterface(), nil
	}
	for _, word := range strings.Split(text, ",") {
		word = strings.TrimSpace(word)
		if err := checkInterface(word); err != nil {
			return Limit{}, err
		}
		l.Via = append(l.Via, word)
	}
	slices.Sort(l.Via)
	l.Via = slices.Compact(l.Via)
	if len(l.Via) > maxInterfaces {
		return Limit{}, fmt.Errorf("there are more than %d interfaces", maxInterfaces)
	}
	return l, nil
}

// checkInterface refuses what can't be the name of an interface, and what others could read as a
// pattern.
func checkInterface(name string) error {
	odd := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' && r != '-' && r != '.'
	}
	switch {
	case name == FromNobody:
		return fmt.Errorf("%s is no interface: mybr.publish.from=%s closes ports", name, FromNobody)
	case name == FromAll:
		return fmt.Errorf("%s stands alone, without the names of interfaces", name)
	case strings.ContainsAny(name, "*+?"):
		return fmt.Errorf("%s is a pattern: name each interface", Quoted(name, 64))
	case name == "" || len(name) > maxInterface || name == "." || name == ".." || name[0] == '-' || strings.ContainsFunc(name, odd):
		return fmt.Errorf("%s is no name of an interface: want 1 to %d of letters, digits, dots, _ and (not at the beginning) -, such as eth1, or %s",
			Quoted(name, 64), maxInterface, FromAll)
	}
	return nil
}

// Interfaces is by which of the host's interfaces clients come to a published port, as a value that
// can be compared: their names, sorted, with commas between. The zero value is all of them.
type Interfaces string

// noInterface is that of a port whose limits have no interface in common.
const noInterface Interfaces = FromNobody

// interfaces are those of a Limit by interfaces.
func (l Limit) interfaces() Interfaces {
	if slices.Contains(l.Via, anyInterface) {
		return ""
	}
	return Interfaces(strings.Join(l.Via, ","))
}

// Names are the interfaces'; none: there is no interface by which the port is reached, unless it is
// reached by all.
func (v Interfaces) Names() []string {
	if v == "" || v == noInterface {
		return nil
	}
	return strings.Split(string(v), ",")
}

// Has reports whether an interface is one of them.
func (v Interfaces) Has(name string) bool { return v == "" || slices.Contains(v.Names(), name) }

// And is the interfaces of both.
func (v Interfaces) And(o Interfaces) Interfaces {
	if v == "" || o == "" {
		return v + o
	}
	var both []string
	for _, name := range v.Names() {
		if o.Has(name) {
			both = append(both, name)
		}
	}
	if len(both) == 0 {
		return noInterface
	}
	return Interfaces(strings.Join(both, ","))
}
