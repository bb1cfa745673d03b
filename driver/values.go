package driver

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// What a link's name may have, in bytes: the kernel's IFNAMSIZ is 16 with the final
// zero. An interface's number takes at least one byte, and two from the tenth on.
const (
	maxName   = 15
	maxPrefix = maxName - 2
)

// maxListed is how many routes or interfaces an option may list: each container gets all of the
// routes, and each published port has a rule for each of the interfaces.
const maxListed = 1000

// The MTUs of an IPv4 link (RFC 791, section 3.2: every module must forward 68 bytes;
// the total length of a datagram is a number of 16 bits).
const (
	minMTU = 68
	maxMTU = 65535
)

// valueError says why the value of an option can't be taken, in Docker's own words where it
// has some, and what can.
type valueError struct{ reason, want string }

func (e *valueError) Error() string {
	text := "(" + e.reason + ")"
	if e.want != "" {
		text += ": want " + e.want
	}
	return text
}

// longestValue is how many bytes of a value an error repeats.
const longestValue = 256

func shorten(s string) string { return model.Shorten(s, longestValue) }

// quoted is a value as Docker's messages have it, shortened, and in quotes if it can't be
// printed as it is.
func quoted(s string) string { return model.Quoted(s, longestValue) }

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, &valueError{err.Error(), "true or false"}
	}
	return b, nil
}

// refuse makes a function that reads true or false for what the engine decides itself and
// sends beside the -o options. If inVain, the value is refused with the reason, for it would
// have no effect; the opposite value asks for nothing. Engines from 28 on look at enable_ipv4
// and enable_ipv6 among the -o options, too, and flags such as --ipv6 overrule these.
func refuse(key string, value, inVain bool, reason string) func(string) error {
	return func(s string) error {
		v, err := parseBool(s)
		if err == nil && v == value && inVain {
			return model.Invalid("option %s: %t: %s", key, v, reason)
		}
		return err
	}
}

// parseBridgeName reads the name of a bridge. The kernel takes more characters than
// these, but rule files, glob patterns and sysctl paths read some of them otherwise.
func parseBridgeName(s string) (string, error) {
	switch s {
	case "":
		return "", nil
	case ".", "..", "lo", "all", "default": // the last two stand for every link in /proc/sys/net/*/conf
		return "", &valueError{"it can't be the name of a bridge", ""}
	}
	return s, checkName(s, maxName)
}

// parseIfacePrefix reads the beginning of an interface's name.
func parseIfacePrefix(s string) (string, error) {
	if s == "" {
		return "eth", nil
	}
	return s, checkName(s, maxPrefix)
}

// parseTrusted reads names of interfaces with colons between; as Docker, it skips empty ones.
func parseTrusted(s string) ([]string, error) {
	names := strings.FieldsFunc(s, func(c rune) bool { return c == ':' })
	if len(names) == 0 {
		return nil, nil
	} else if len(names) > maxListed {
		return nil, &valueError{fmt.Sprintf("there are more than %d interfaces", maxListed), ""}
	}
	for _, name := range names {
		if err := checkName(name, maxName); err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// parseMode reads a gateway mode.
func parseMode(s string) (model.Mode, error) {
	switch m := model.Mode(s); m {
	case model.ModeNATUnprotected, model.ModeRouted, model.ModeIsolated:
		return m, nil
	case "nat":
		return model.ModeNAT, nil
	}
	return "", &valueError{"unknown gateway mode " + quoted(s), "nat, nat-unprotected, routed or isolated"}
}

func checkName(s string, most int) error {
	if s == "" || len(s) > most {
		return &valueError{fmt.Sprintf("%q is not 1 to %d bytes long", shorten(s), most), ""}
	}
	for i, c := range []byte(s) {
		if !isAlnum(c) && c != '_' && c != '.' && (c != '-' || i == 0) {
			return &valueError{fmt.Sprintf("%q has other characters than letters, digits, _, . and (not at the beginning) -", s), ""}
		}
	}
	return nil
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func parseMTU(s string) (int, error) {
	n, err := strconv.Atoi(s)
	want := fmt.Sprintf("a number of bytes from %d to %d", minMTU, maxMTU)
	switch {
	case err != nil:
		return 0, &valueError{err.Error(), want}
	case n < 0:
		return 0, &valueError{fmt.Sprintf("invalid MTU number: %d", n), want}
	case n != 0 && (n < minMTU || n > maxMTU):
		return 0, &valueError{"invalid argument", want}
	}
	return n, nil
}

// parseAdvertise reads a number within bounds, and refuses others in Docker's words.
func parseAdvertise(key, s, noun string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return n, model.Invalid("value for option %s %q must be %s", key, s, noun)
	} else if n < least || n > most {
		return n, model.Invalid("%s must be in the range %d to %d: it is %d", key, least, most, n)
	}
	return n, nil
}

// parseHostIP reads an address of the host, of either family.
func parseHostIP(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, &valueError{"nil ip", "an IP address"}
	}
	a = a.Unmap()
	if a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, &valueError{"invalid argument", "an address that a host can have"}
	}
	return a, nil
}

// ParseHostAddress reads where ports are published.
func ParseHostAddress(s string) (netip.Addr, error) { return parseHostIP(s) }

// parseSource reads an address that what leaves a network can have.
func parseSource(f model.Family, s string) (netip.Addr, error) {
	want := fmt.Sprintf("%s address that can be a source address", article(f))
	a, err := parseHostIP(s)
	if err != nil {
		return a, &valueError{"nil ip", want}
	}
	if !f.Has(a) || a.IsUnspecified() || a.IsLoopback() {
		return netip.Addr{}, &valueError{"invalid argument", want}
	}
	return a, nil
}

// parseRoutes reads `PREFIX via ADDRESS` or `PREFIX`, separated by commas.
func parseRoutes(s string) ([]model.Route, error) {
	var routes []model.Route
	seen := map[netip.Prefix]bool{}
	for text := range strings.SplitSeq(s, ",") {
		if len(routes) == maxListed {
			return nil, &valueError{fmt.Sprintf("there are more than %d routes", maxListed), ""}
		}
		r, err := parseRoute(strings.Fields(text))
		if err != nil {
			return nil, &valueError{fmt.Sprintf("%q %s", shorten(strings.TrimSpace(text)), err), ""}
		}
		if seen[r.Destination] {
			return nil, &valueError{fmt.Sprintf("there are two routes to %s", r.Destination), ""}
		}
		seen[r.Destination] = true
		routes = append(routes, r)
	}
	return routes, nil
}

func parseRoute(words []string) (r model.Route, err error) {
	if len(words) != 1 && (len(words) != 3 || words[1] != "via") {
		return r, fmt.Errorf("is not of the form PREFIX or PREFIX via ADDRESS")
	}
	r.Destination, err = netip.ParsePrefix(words[0])
	if err != nil || r.Destination.Addr().Is4In6() {
		return r, fmt.Errorf("does not begin with a prefix such as 10.9.0.0/16 or fd00:9::/64")
	}
	if m := r.Destination.Masked(); m != r.Destination {
		return r, fmt.Errorf("has bits behind the prefix length: did you mean %s?", m)
	}
	f := model.FamilyOf(r.Destination.Addr())
	if r.Destination.Bits() == 0 {
		return r, fmt.Errorf("is a default route: give the gateway with --gateway or --aux-address %s=ADDRESS", auxGateway(f))
	}
	if len(words) == 3 {
		if r.NextHop, err = parseSource(f, words[2]); err != nil {
			return r, fmt.Errorf("has no %s address behind via", f)
		}
	}
	return r, nil
}
