package egress

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// Entry is one entry of a list: exactly one of Prefix, Host, Name and List says to whom
// connections may begin. Entries that mean the same are equal.
type Entry struct {
	Prefix netip.Prefix // addresses
	Host   bool         // the host itself, at any of its addresses
	Name   string       // a host name, in small letters, or "*." and what names end with
	List   string       // the name of a list that operators keep

	Proto model.Proto // 0: every protocol; with ports: those that have ports
	First uint16      // the first port; 0: there are no ports, or all of them are meant
	Last  uint16      // the last port
}

// ICMP is the protocol of that name in an entry: of IPv4, and in IPv6 ICMPv6 (IANA protocol
// numbers 1 and 58).
const ICMP model.Proto = 1

// The words of the grammar.
const (
	wordAll  = "all"
	wordNone = "none"
	wordHost = "host"
	suffix   = "*."
)

// protocols are the words that an entry can end with.
var protocols = []model.Proto{model.TCP, model.UDP, model.SCTP, ICMP}

func protoWord(p model.Proto) string {
	if p == ICMP {
		return "icmp"
	}
	return p.String()
}

// wanted ends errors about what is no entry at all.
const wanted = "want an address such as 192.0.2.7, a prefix such as 10.0.0.0/8, either with :PORT behind it ([fd00::7]:PORT), host:PORT, a name such as example.com or *.example.com, or @NAME of a list"

// ParseEntry reads one entry. An error says what of it can't be taken, and nothing of where
// it stands.
func ParseEntry(word string) (e Entry, err error) {
	whole := word
	fail := func(format string, args ...any) (Entry, error) {
		return Entry{}, fmt.Errorf("%s: "+format, append([]any{model.Quoted(whole, 80)}, args...)...)
	}
	switch {
	case word == "":
		return Entry{}, fmt.Errorf("there is an entry missing between commas: %s", wanted)
	case word == wordAll || word == wordNone:
		return fail("it stands alone, and not among others")
	case strings.HasPrefix(word, model.ListPrefix):
		e.List = strings.TrimPrefix(word, model.ListPrefix)
		if strings.ContainsAny(e.List, ":/") {
			return fail("ports and protocols are said in the list itself: want %sNAME alone", model.ListPrefix)
		}
		if err := model.CheckListName(e.List); err != nil {
			return Entry{}, err
		}
		return e, nil
	}
	// What follows a slash is a protocol, or the length of a prefix, and then ports may follow.
	if at := strings.LastIndexByte(word, '/'); at >= 0 && word[at+1:] != "" && !digits(word[at+1:at+2]) {
		if e.Proto = parseProto(word[at+1:]); e.Proto == 0 {
			return fail("%s is no protocol: want tcp, udp, sctp or icmp", model.Quoted(word[at+1:], 64))
		}
		word = word[:at]
	}
	to, ports, named := cutPorts(word)
	if named {
		if e.First, e.Last, err = model.ParsePorts(ports); err != nil {
			return fail("%w", err)
		}
		if e.Proto == ICMP {
			return fail("ICMP has no ports: leave out :%s, or /icmp", ports)
		}
	}
	switch {
	case strings.HasPrefix(to, "["):
		inside, ok := strings.CutSuffix(to[1:], "]")
		if !ok {
			return fail("want [ADDRESS] or [PREFIX], with :PORT behind it")
		}
		if e.Prefix, err = parsePrefix(inside); err == nil && e.Prefix.Addr().Is4() {
			return fail("brackets are for IPv6: leave them out")
		}
	case to == wordHost:
		if e.Host = true; e.First == 0 {
			return fail("want %s:PORT: of the host itself only ports can be listed", wordHost)
		}
	case strings.ContainsAny(to, ":/") || numeric(to):
		e.Prefix, err = parsePrefix(to)
	default:
		e.Name, err = parseName(to)
	}
	if err != nil {
		return fail("%w", err)
	}
	return e, nil
}

// cutPorts takes the ports off the end. An IPv6 address without brackets has more colons, and
// none of them begins a port.
func cutPorts(word string) (to, ports string, named bool) {
	if end := strings.LastIndexByte(word, ']'); end >= 0 {
		ports, named = strings.CutPrefix(word[end+1:], ":")
		if !named {
			return word, "", false
		}
		return word[:end+1], ports, true
	}
	if strings.Count(word, ":") != 1 {
		return word, "", false
	}
	return strings.Cut(word, ":")
}

func parseProto(word string) model.Proto {
	for _, p := range protocols {
		if word == protoWord(p) {
			return p
		}
	}
	return 0
}

// parsePrefix reads an address or a prefix.
func parsePrefix(word string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(word); err == nil && (model.IPv4.Has(a) || model.IPv6.Has(a)) {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(word)
	switch {
	case err != nil || !model.IPv4.Has(p.Addr()) && !model.IPv6.Has(p.Addr()):
		return p, fmt.Errorf("there is no such address: %s", wanted)
	case p != p.Masked():
		return p, fmt.Errorf("it has bits behind its prefix: want %s, or %s", p.Masked(), p.Addr())
	}
	return p, nil
}

// parseName reads a host name (RFC 1123, section 2.1, as RFC 5891 writes other letters), or
// "*." and the end of names. It has a dot, so that what is mistyped is not taken for one.
func parseName(text string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	of, wild := strings.CutPrefix(name, suffix)
	labels := strings.Split(of, ".")
	switch {
	case strings.ContainsFunc(of, func(r rune) bool { return r > 0x7f }):
		return "", fmt.Errorf("names are written in ASCII: want other letters as xn--… (IDNA)")
	case len(name) > 253:
		return "", fmt.Errorf("a name has at most 253 characters (RFC 1035)")
	case strings.Contains(of, "*"):
		return "", fmt.Errorf("%s stands at the beginning of a name alone: want *.example.com", "*")
	case len(labels) < 2 || digits(labels[len(labels)-1]):
		return "", fmt.Errorf("it is no address, and no name with a domain: %s", wanted)
	}
	for _, l := range labels {
		odd := func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'z') && r != '-' && r != '_' }
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.ContainsFunc(l, odd) {
			return "", fmt.Errorf("%s is no part of a name: want 1 to 63 of letters, digits and -", model.Quoted(l, 64))
		}
	}
	if wild {
		return suffix + of, nil
	}
	return of, nil
}

// digits reports whether a text is a number.
func digits(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' })
}

// numeric reports whether a text was meant for an IPv4 address.
func numeric(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
}

// String returns the entry as ParseEntry reads it, in the one way in which it is recorded.
func (e Entry) String() string {
	var to string
	switch {
	case e.List != "":
		return model.ListPrefix + e.List
	case e.Host:
		to = wordHost
	case e.Name != "":
		to = e.Name
	default:
		if to = e.Prefix.String(); e.Prefix.IsSingleIP() {
			to = e.Prefix.Addr().String()
		}
		if e.First != 0 && e.Prefix.Addr().Is6() {
			to = "[" + to + "]"
		}
	}
	if e.First != 0 {
		to += ":" + strconv.Itoa(int(e.First))
		if e.Last != e.First {
			to += "-" + strconv.Itoa(int(e.Last))
		}
	}
	if e.Proto != 0 {
		to += "/" + protoWord(e.Proto)
	}
	return to
}

// Plain reports whether it is addresses and nothing else, as a list of clients has them.
func (e Entry) Plain() bool { return e.Prefix.IsValid() && e.Proto == 0 && e.First == 0 }
