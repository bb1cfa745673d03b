package model

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Limit says which clients reach published ports from outside, or by which interfaces of the host
// they come. Without one all do. Of a port there can be one of each: both have to let a client in.
//
// A port is named by the number that clients use: the host's where the port is translated or
// relayed, the container's own in a routed family, which has no other.
type Limit struct {
	Proto Proto    `json:",omitempty"` // 0: every protocol
	Port  uint16   `json:",omitempty"` // 0: every port
	From  []string // prefixes, and @ before the names of lists; sorted; empty: nobody
	// Via are names of interfaces instead of clients, sorted, or anyInterface; empty: From counts.
	// An older mybr, which does not read it, lets nobody in.
	Via []string `json:",omitempty"`
}

// ListPrefix begins the name of a list where a prefix could be.
const ListPrefix = "@"

// The words that stand for no client, and for all of them.
const (
	FromNobody = "none"
	FromAll    = "all"
)

// everywhere is what FromAll is recorded as.
var everywhere = [...]string{"0.0.0.0/0", "::/0"}

// maxClients is how many prefixes and lists a limit, and how many prefixes a list may have: a new
// connection is compared with all of those that begin alike.
const maxClients = 1000

// List is prefixes under a name, for limits and egress lists of any network.
type List struct {
	Name     string
	Prefixes []netip.Prefix // sorted
	Egress   []string       `json:",omitempty"` // entries of package egress that are more than prefixes, for egress lists alone; sorted
}

// Clone returns a copy that shares no memory with the record.
func (l List) Clone() List {
	l.Prefixes, l.Egress = slices.Clone(l.Prefixes), slices.Clone(l.Egress)
	return l
}

// Same reports whether two limits are of the same kind and ports.
func (l Limit) Same(o Limit) bool {
	return l.Proto == o.Proto && l.Port == o.Port && l.ByInterface() == o.ByInterface()
}

// String returns the clients as ParseLimit reads them, or the interfaces as ParseInterfaces does.
func (l Limit) String() string {
	switch {
	case l.ByInterface() && l.interfaces() == "":
		return FromAll
	case l.ByInterface():
		return string(l.interfaces())
	case len(l.From) == 0:
		return FromNobody
	case slices.Equal(l.From, everywhere[:]):
		return FromAll
	}
	return strings.Join(l.From, ",")
}

// Ports returns the ports as ParseLimitPorts reads them: "" for all, "8080" or "53/udp".
func (l Limit) Ports() string {
	if l.Port == 0 {
		return ""
	}
	text := strconv.Itoa(int(l.Port))
	if l.Proto != 0 {
		text += "/" + l.Proto.String()
	}
	return text
}

// CompareLimits orders limits by their kind, those of clients first, and the ports that they are of.
func CompareLimits(a, b Limit) int {
	return cmp.Or(cmp.Compare(min(len(a.Via), 1), min(len(b.Via), 1)), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto))
}

// ParseLimit reads `192.168.0.0/16,fd00::1,@office`, FromNobody or FromAll. An error says what
// of it can't be taken, and nothing of where it stands.
func ParseLimit(text string) (l Limit, err error) {
	switch strings.TrimSpace(text) {
	case FromNobody:
		return l, nil
	case FromAll:
		l.From = slices.Clone(everywhere[:])
		return l, nil
	}
	for _, word := range strings.Split(text, ",") {
		word = strings.TrimSpace(word)
		if name, ok := strings.CutPrefix(word, ListPrefix); ok {
			err = CheckListName(name)
		} else {
			var p netip.Prefix
			if p, err = ParseClients(word); err == nil {
				word = p.String()
			}
		}
		if err != nil {
			return Limit{}, err
		}
		l.From = append(l.From, word)
	}
	slices.Sort(l.From)
	l.From = slices.Compact(l.From)
	if len(l.From) > maxClients {
		return Limit{}, fmt.Errorf("there are more than %d clients: name a list of them, which all networks share", maxClients)
	}
	return l, nil
}

// ParseLimitPorts reads `8080` or `53/udp`.
func ParseLimitPorts(text string) (l Limit, err error) {
	number, proto, named := strings.Cut(text, "/")
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil || port == 0 || number[0] == '+' {
		return l, fmt.Errorf("%s is no port: want a number from 1 to 65535, with /tcp, /udp or /sctp behind it or without", Quoted(number, 64))
	}
	l.Port = uint16(port)
	if !named {
		return l, nil
	}
	l.Proto, err = ParseProto(proto)
	return l, err
}

// ParseProto reads the name of a protocol that has ports.
func ParseProto(name string) (Proto, error) {
	for _, p := range []Proto{TCP, UDP, SCTP} {
		if name == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%s is no protocol: want tcp, udp or sctp", Quoted(name, 64))
}

// ParsePorts reads PORT or FIRST-LAST: numbers from 1 to 65535, the first not behind the last.
func ParsePorts(text string) (first, last uint16, err error) {
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	number := func(word string) uint16 {
		n, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			return 0
		}
		return uint16(n)
	}
	switch first, last = number(from), number(to); {
	case first == 0 || last == 0:
		return 0, 0, fmt.Errorf("%s is no port: want a number from 1 to 65535, or two with - between", Quoted(text, 64))
	case first > last:
		return 0, 0, fmt.Errorf("ports %s: the first is behind the last", text)
	}
	return first, last, nil
}

// ParseClients reads an address or a prefix.
func ParseClients(word string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(word); err == nil && (IPv4.Has(a) || IPv6.Has(a)) {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(word)
	switch {
	case err != nil || !IPv4.Has(p.Addr()) && !IPv6.Has(p.Addr()):
		return p, fmt.Errorf("%s is no address: want one such as 192.0.2.7 or fd00::7, a prefix such as 192.168.0.0/16, %sNAME of a list, %s or %s",
			Quoted(word, 64), ListPrefix, FromAll, FromNobody)
	case p != p.Masked():
		return p, fmt.Errorf("%s has bits behind its prefix: want %s, or %s", word, p.Masked(), p.Addr())
	}
	return p, nil
}

// CheckListName refuses what can't be the name of a list.
func CheckListName(name string) error {
	odd := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' && r != '-' && r != '.'
	}
	if name == "" || len(name) > 63 || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%s is no name of a list: want 1 to 63 of letters, digits, dots, _ and -", Quoted(name, 64))
	}
	return nil
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// MergeLimits is the limits that were given, with those that were set later in the place of the
// ones of the same ports.
func MergeLimits(given, set []Limit) []Limit {
	all := slices.Clone(set)
	for _, l := range given {
		if !slices.ContainsFunc(set, l.Same) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, CompareLimits)
	return all
}

// Limits are those of a network that are in force.
func (n Network) Limits() []Limit { return MergeLimits(n.From, n.FromSet) }

// Limits are those of an endpoint that are in force.
func (e Endpoint) Limits() []Limit { return MergeLimits(e.From, e.FromSet) }

// limitOf is the limit of one port among some, of the kind of another one; that of the port counts
// before that of all.
func limitOf(all []Limit, kind Limit, proto Proto, port uint16) (l Limit, ok bool) {
	for _, want := range []Limit{{Proto: proto, Port: port, Via: kind.Via}, {Port: port, Via: kind.Via}, {Via: kind.Via}} {
		if i := slices.IndexFunc(all, want.Same); i >= 0 {
			return all[i], true
		}
	}
	return l, false
}

// Uses reports whether a limit names a list.
func Uses(limits []Limit, list string) bool {
	return slices.ContainsFunc(limits, func(l Limit) bool { return slices.Contains(l.From, ListPrefix+list) })
}
