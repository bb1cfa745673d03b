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

// The MTUs of an IPv4 link (RFC 791, section 3.2: every module must forward 68 bytes;
// the total length of a datagram is a number of 16 bits).
const (
	minMTU = 68
	maxMTU = 65535
)

// parseBridgeName reads the name of a bridge. The kernel takes more characters than
// these, but rule files, glob patterns and sysctl paths read some of them otherwise.
func parseBridgeName(s string) (string, error) {
	switch s {
	case ".", "..", "lo", "all", "default": // the last two stand for every link in /proc/sys/net/*/conf
		return "", fmt.Errorf("%q can't be the name of a bridge", s)
	}
	return s, checkName(s, maxName)
}

// parseIfacePrefix reads the beginning of an interface's name.
func parseIfacePrefix(s string) (string, error) { return s, checkName(s, maxPrefix) }

func checkName(s string, most int) error {
	if s == "" || len(s) > most {
		return fmt.Errorf("%q is not 1 to %d bytes long", s, most)
	}
	for i, c := range []byte(s) {
		if !isAlnum(c) && c != '_' && c != '.' && (c != '-' || i == 0) {
			return fmt.Errorf("%q has other characters than letters, digits, _, . and (not at the beginning) -", s)
		}
	}
	return nil
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func parseMTU(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n != 0 && (n < minMTU || n > maxMTU) {
		return 0, fmt.Errorf("%q is not a number of bytes from %d to %d", s, minMTU, maxMTU)
	}
	return int(n), nil
}

// parseHostIP reads an address of the host, of either family.
func parseHostIP(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", s)
	}
	a = a.Unmap()
	if a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, fmt.Errorf("%q is not an address that a host can have", s)
	}
	return a, nil
}

func parseUnicast4(s string) (netip.Addr, error) {
	a, err := parseHostIP(s)
	if err != nil || !a.Is4() || a.IsUnspecified() || a.IsLoopback() {
		return netip.Addr{}, fmt.Errorf("%q is not an IPv4 address that can be a source address", s)
	}
	return a, nil
}

// parseRoutes reads `PREFIX via ADDRESS` or `PREFIX`, separated by commas.
func parseRoutes(s string) ([]model.Route, error) {
	var routes []model.Route
	for text := range strings.SplitSeq(s, ",") {
		r, err := parseRoute(strings.Fields(text))
		if err != nil {
			return nil, fmt.Errorf("%q %w", strings.TrimSpace(text), err)
		}
		if slices.ContainsFunc(routes, func(o model.Route) bool { return o.Destination == r.Destination }) {
			return nil, fmt.Errorf("there are two routes to %s", r.Destination)
		}
		routes = append(routes, r)
	}
	return routes, nil
}

func parseRoute(words []string) (r model.Route, err error) {
	if len(words) != 1 && (len(words) != 3 || words[1] != "via") {
		return r, fmt.Errorf("is not of the form PREFIX or PREFIX via ADDRESS")
	}
	r.Destination, err = netip.ParsePrefix(words[0])
	if err != nil || !r.Destination.Addr().Is4() {
		return r, fmt.Errorf("does not begin with an IPv4 prefix such as 10.9.0.0/16")
	}
	if m := r.Destination.Masked(); m != r.Destination {
		return r, fmt.Errorf("has bits behind the prefix length: did you mean %s?", m)
	}
	if r.Destination.Bits() == 0 {
		return r, fmt.Errorf("is a default route: give the gateway with --gateway or --aux-address %s=ADDRESS", auxGateway)
	}
	if len(words) == 3 {
		if r.NextHop, err = parseUnicast4(words[2]); err != nil {
			return r, fmt.Errorf("has no IPv4 address behind via")
		}
	}
	return r, nil
}
