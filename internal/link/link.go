// Package link makes bridges and veth pairs match what is wanted, and answers what
// the drivers ask about the host's links, addresses and routes.
//
// Links that mybr made carry an alias (ip-link(8)) that begins with model.AliasPrefix, so
// that they are found again without any record.
//
// Be aware: a link without that alias is never changed or deleted, save that a bridge
// that was there before is brought up and gets the addresses and settings of its Bridge.
// The addresses are taken off it again; settings stay. An address left on such a bridge by
// a process that died can't be told from its owner's, and stays. An alias is given right
// after a link is made: in between, a MAC that only mybr's record has says whose the link
// is. The container's end of a veth pair belongs to Docker from Join on: it is not looked
// at here. A link that is removed is out of service when its plan is done; the kernel
// destroys it behind that (Wait).
package link

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// Set is every link that mybr wants on the host, sorted by name.
//
// Pairs are as many as there are containers. Sets that follow each other share those that are the
// same in both, so nobody writes to one through these pointers.
type Set struct {
	Bridges []Bridge
	Veths   []*Veth
}

// Bridge is one bridge, up.
type Bridge struct {
	Name   string
	Owned  bool         // made and deleted here; otherwise it must be there
	Alias  string       // of an owned bridge
	MAC    model.MAC    // of an owned bridge
	MTU    int          // of an owned bridge, in bytes; 0: the kernel's default
	V4, V6 netip.Prefix // addresses, added here and removed here; zero: none

	// AcceptRA and DisableIPv6 are the values of net/ipv6/conf/NAME/accept_ra and
	// …/disable_ipv6 (ip-sysctl.rst); "" leaves a setting as it is.
	AcceptRA, DisableIPv6 string
}

// Veth is one veth pair, its host end up and a port of Bridge.
type Veth struct {
	Host, Peer string
	Bridge     string
	Alias      string     // of the host end
	MAC        model.MAC  // of the peer
	V4, V6     netip.Addr // of the container; zero: none
	Announce   bool       // V4 and V6 are announced on the bridge when the pair is made
	MTU        int        // of both ends, in bytes; 0: the kernel's default
	Hairpin    bool       // bridge port flag: frames may leave by the port they came in (own published port, with br_netfilter)
	Isolated   bool       // bridge port flag: no frames to or from other isolated ports
	Joined     bool       // Docker has the peer: a pair that is gone is not made again

	DisableIPv6 string // the value of net/ipv6/conf/HOST/disable_ipv6; "" leaves it as it is
}

// Same reports whether two sets are deeply equal.
func (s Set) Same(o Set) bool {
	return plan.SameList(s.Bridges, o.Bridges) && plan.SameShared(s.Veths, o.Veths)
}

// Has reports whether a link is in the set.
func (s Set) Has(subject string) bool {
	_, bridge := s.bridge(subject)
	return bridge || s.veth(subject) != nil
}

// bridge returns the bridge of a name.
func (s Set) bridge(name string) (b Bridge, ok bool) {
	i, ok := slices.BinarySearchFunc(s.Bridges, name, func(b Bridge, name string) int { return cmp.Compare(b.Name, name) })
	if !ok {
		return b, false
	}
	return s.Bridges[i], true
}

// veth returns the pair whose host end has a name; nil: there is none.
func (s Set) veth(host string) *Veth {
	i, ok := slices.BinarySearchFunc(s.Veths, host, func(v *Veth, host string) int { return cmp.Compare(v.Host, host) })
	if !ok {
		return nil
	}
	return s.Veths[i]
}

// Subjects returns every link of the set by its name, as a comparable Bridge or Veth: the
// subjects of this package's plans.
func (s Set) Subjects() map[string]any {
	m := make(map[string]any, len(s.Bridges)+len(s.Veths))
	for _, b := range s.Bridges {
		m[b.Name] = b
	}
	for _, v := range s.Veths {
		m[v.Host] = *v
	}
	return m
}

// With returns the union of two sets that have no link in common.
func (s Set) With(o Set) Set {
	both := Set{Bridges: slices.Concat(s.Bridges, o.Bridges), Veths: slices.Concat(s.Veths, o.Veths)}
	slices.SortFunc(both.Bridges, func(a, b Bridge) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(both.Veths, compareVeths)
	return both
}

// Only returns the part of the set whose links' names keep accepts, in the same order.
func (s Set) Only(keep func(subject string) bool) Set {
	var part Set
	for _, b := range s.Bridges {
		if keep(b.Name) {
			part.Bridges = append(part.Bridges, b)
		}
	}
	for _, v := range s.Veths {
		if keep(v.Host) {
			part.Veths = append(part.Veths, v)
		}
	}
	return part
}
