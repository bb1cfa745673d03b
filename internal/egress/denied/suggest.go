package denied

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// Suggest is the entries of a list that what was seen would need, each once and sorted:
// NAME:PORT where a host was named, else ADDRESS:PORT/PROTOCOL, with IPv6 in brackets, or host: for
// an address of this host that is not known, or
// ADDRESS/PROTOCOL where there are no ports. A query of DNS for a name needs an entry of its
// own only if no connection to the name was seen.
//
// left is what no entry can let pass: names that are none or have no dot, addresses that are
// not outside of the host (hosts.Never), and protocols other than TCP, UDP, SCTP and ICMP.
func Suggest(seen []Entry) (entries []string, left []Entry) {
	connected := map[string]bool{}
	for _, e := range seen {
		if e.Protocol != "dns" && e.Name != "" {
			connected[e.Name] = true
		}
	}
	for _, e := range seen {
		text, ok := e.entry()
		switch {
		case !ok:
			left = append(left, e)
		case e.Protocol == "dns" && connected[e.Name]:
		default:
			entries = append(entries, text)
		}
	}
	slices.Sort(entries)
	return slices.Compact(entries), left
}

// entry is the text of an entry that lets k pass.
func (k Key) entry() (string, bool) {
	known := slices.Contains([]string{"tcp", "udp", "sctp", "icmp", "dns"}, k.Protocol)
	if k.Name != "" {
		name, err := hosts.Question(k.Name)
		if err != nil || !strings.Contains(name, ".") || !known {
			return "", false
		}
		return withPort(name, k.Port, k.Protocol), true
	}
	if k.Address.IsUnspecified() && k.Port != 0 && known && k.Protocol != "dns" {
		return fmt.Sprintf("host:%d/%s", k.Port, k.Protocol), true
	}
	if k.Protocol == "dns" || !known || hosts.Never(k.Address) {
		return "", false
	}
	host := k.Address.String()
	if k.Address.Is6() && k.Port != 0 {
		host = "[" + host + "]"
	}
	if k.Port != 0 {
		host = fmt.Sprintf("%s:%d", host, k.Port)
	}
	return host + "/" + k.Protocol, true
}

// withPort adds a port, and a protocol that is not TCP, which is what names are reached by.
func withPort(host string, port uint16, protocol string) string {
	if port != 0 {
		host = fmt.Sprintf("%s:%d", host, port)
	}
	if protocol != "tcp" && protocol != "dns" {
		host += "/" + protocol
	}
	return host
}

// String is where to, as a line of the log says it.
func (k Key) String() string {
	var b strings.Builder
	b.WriteString(k.Protocol)
	if k.Name != "" {
		fmt.Fprintf(&b, " %q", k.Name)
	}
	switch {
	case k.Address.IsValid() && k.Port != 0:
		fmt.Fprintf(&b, " %s", netip.AddrPortFrom(k.Address, k.Port))
	case k.Address.IsValid():
		fmt.Fprintf(&b, " %s", k.Address)
	case k.Port != 0:
		fmt.Fprintf(&b, " port %d", k.Port)
	}
	return b.String()
}
