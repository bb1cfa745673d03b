package egress

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// Allowed is what may be begun, as a value that can be compared: what the lists that were named
// had is in it, and names are not, and whether it is only watched (Audit). The zero value is
// everything.
type Allowed string

// Nothing is what allows nothing.
const Nothing Allowed = wordNone

// Allowed is what a list allows, given those that it names. One that is not known has nothing.
func (l List) Allowed(lists model.Lists) Allowed {
	if l.All {
		return ""
	}
	var all []Entry
	for _, e := range l.Entries {
		switch {
		case e.Name != "":
		case e.List != "":
			all = append(all, Kept(lists[e.List])...)
		default:
			all = append(all, e)
		}
	}
	all = slices.DeleteFunc(all, func(e Entry) bool { return e.Name != "" })
	slices.SortFunc(all, compareEntries)
	return Allowed(List{Entries: slices.Compact(all)}.String())
}

// Recorded is what a recorded option allows; "" is none, which allows everything, and what can't
// be read allows nothing.
func Recorded(text string, lists model.Lists) Allowed {
	if text == "" {
		return ""
	}
	l, err := Parse(text)
	if err != nil {
		return Nothing
	}
	return l.Allowed(lists)
}

// All reports whether everything is allowed.
func (a Allowed) All() bool { return a == "" || a == wordAll }

// entries are what is allowed, unless it is everything. There may be more of them than in an
// option: those of several lists.
func (a Allowed) entries() []Entry {
	l, err := parse(strings.TrimPrefix(string(a), auditWord), math.MaxInt)
	if err != nil {
		return nil // it allows nothing
	}
	return l.Entries
}

// Service is what is allowed of one family of one kind of packets. Packets are of it if all
// holds that it says.
type Service struct {
	Proto model.Proto    // 0: every protocol; with ports: TCP, UDP and SCTP. ICMP is that of the family
	First uint16         // the ports; 0: all, and what has none
	Last  uint16         //
	Host  bool           // what was sent to an address of the host, published ports included
	To    []netip.Prefix // or to these; sorted, and none contains another one
}

// Protos are the protocols of a service that are told apart; none: every one.
func (s Service) Protos() []model.Proto {
	switch {
	case s.Proto != 0:
		return []model.Proto{s.Proto}
	case s.First != 0:
		return []model.Proto{model.TCP, model.UDP, model.SCTP}
	}
	return nil
}

// Services are what a list has of a family, if it is not everything, in an order that hangs on
// them alone: equal lists have equal ones.
func (a Allowed) Services(f model.Family) (all []Service) {
	at := map[Entry]int{}
	for _, e := range a.entries() {
		if !e.Host && !f.Has(e.Prefix.Addr()) {
			continue
		}
		kind := Entry{Proto: e.Proto, First: e.First, Last: e.Last, Host: e.Host}
		i, known := at[kind]
		if !known {
			i, at[kind] = len(all), len(all)
			all = append(all, Service{Proto: e.Proto, First: e.First, Last: e.Last, Host: e.Host})
		}
		if to := &all[i].To; !e.Host && (len(*to) == 0 || !(*to)[len(*to)-1].Overlaps(e.Prefix)) { // else it is in the one before
			*to = append(*to, e.Prefix)
		}
	}
	slices.SortFunc(all, func(a, b Service) int {
		host := func(s Service) int {
			if s.Host {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(host(a), host(b)), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	return all
}

// Packet is the first of a flow, as the container has sent it.
type Packet struct {
	Proto model.Proto // as the packet has it: 58 is ICMPv6
	To    netip.AddrPort
	Host  bool // To is an address of the host, or is translated there
}

// icmpv6 is ICMPv6's protocol number (IANA).
const icmpv6 model.Proto = 58

// Has reports whether a flow may begin so. A zone does not matter.
func (a Allowed) Has(p Packet) bool { return a.Matcher(model.FamilyOf(p.To.Addr().Unmap())).Has(p) }

// Matcher is what is allowed of one family, for who compares many packets with it.
type Matcher struct {
	all      bool
	services []Service
}

// Matcher returns that of a family.
func (a Allowed) Matcher(f model.Family) Matcher { return Matcher{!a.Enforced(), a.Services(f)} }

// Has is that of Allowed, for packets of the family.
func (m Matcher) Has(p Packet) bool {
	if m.all {
		return true
	}
	to := p.To.Addr().Unmap().WithZone("")
	proto, port := p.Proto, p.To.Port()
	if proto == icmpv6 && to.Is6() {
		proto = ICMP
	} else if proto == ICMP && to.Is6() || proto == icmpv6 {
		proto = 0 // that of the other family is a protocol like any other
	}
	return slices.ContainsFunc(m.services, func(s Service) bool {
		switch of := s.Protos(); {
		case of != nil && !slices.Contains(of, proto):
			return false
		case s.First != 0 && (port < s.First || port > s.Last):
			return false
		case s.Host:
			return p.Host
		}
		return slices.ContainsFunc(s.To, func(p netip.Prefix) bool { return p.Contains(to) })
	})
}
