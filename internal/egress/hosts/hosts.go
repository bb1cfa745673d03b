// Package hosts is what the packages that enforce egress by host name have in common: what
// a host name is, who decides about one, which addresses a name can never lead to, and how
// many connections clients may have.
//
// Be aware: two spellings of a name must never be two names. Every name that comes from a
// client goes through Name (of a server) or Question (of DNS) first, and what is compared,
// recorded or resolved is what those return.
package hosts

import (
	"fmt"
	"net/netip"
	"strings"
)

// Verdict is what a list says. The zero value refuses.
type Verdict uint8

const (
	Refuse Verdict = iota
	Audit          // not on the list, but let through and told of
	Allow
)

func (v Verdict) String() string {
	switch v {
	case Refuse:
		return "refuse"
	case Audit:
		return "audit"
	case Allow:
		return "allow"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Policy is asked by any goroutine, for each connection, request and query, and again when
// a list has changed. It must not block.
type Policy interface {
	// Allowed says whether a client may reach a TCP port of a host, whose name is as Name or
	// Question returns it. Port 0 asks whether the name is listed with any port or protocol,
	// which is what DNS needs to know. A client that is not known is refused.
	Allowed(client netip.Addr, name string, port uint16) Verdict
}

// PolicyFunc is a function that is a Policy.
type PolicyFunc func(client netip.Addr, name string, port uint16) Verdict

// Allowed implements Policy.
func (f PolicyFunc) Allowed(client netip.Addr, name string, port uint16) Verdict {
	return f(client, name, port)
}

// Lengths in the presentation form, without the root's dot (RFC 1035, 2.3.4).
const (
	maxName  = 253
	maxLabel = 63
)

// Name returns the one spelling of a server's name: lower case. The name must be one that
// TLS (RFC 6066, 3) and HTTP clients can mean: labels of letters, digits and hyphens
// (RFC 1123, 2.1), internationalized ones in their ASCII form (RFC 5890, A-label), without
// a dot at the end. What could be read as an IP address is no name: a last label that is a
// number (WHATWG URL, "ends in a number").
//
// Errors name the rule that is broken, not the name, which the caller quotes.
func Name(s string) (string, error) {
	if strings.HasSuffix(s, ".") {
		return "", fmt.Errorf("a host name doesn't end with a dot")
	}
	return name(s, false)
}

// Question is Name for the name of a DNS question: a dot at the end is the root's and is
// taken off, and labels may have underscores, as the names of services do (RFC 8552).
func Question(s string) (string, error) {
	return name(strings.TrimSuffix(s, "."), true)
}

func name(s string, underscore bool) (string, error) {
	if s == "" {
		return "", fmt.Errorf("the host name is empty")
	}
	if len(s) > maxName {
		return "", fmt.Errorf("a host name has at most %d characters, this one %d", maxName, len(s))
	}
	s = lower(s)
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if err := checkLabel(label, underscore); err != nil {
			return "", err
		}
		last = label
	}
	if isNumber(last) {
		return "", fmt.Errorf("it is an IP address or could be read as one, not a host name")
	}
	return s, nil
}

// lower changes ASCII letters only: what Unicode makes of others must not become a name.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func checkLabel(label string, underscore bool) error {
	switch {
	case label == "":
		return fmt.Errorf("a host name has no empty labels")
	case len(label) > maxLabel:
		return fmt.Errorf("a label of a host name has at most %d characters, this one %d", maxLabel, len(label))
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("a label of a host name doesn't begin or end with a hyphen")
	}
	for i := range len(label) {
		c := label[i]
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || underscore && c == '_' {
			continue
		}
		return fmt.Errorf("a host name doesn't have the character %q", c)
	}
	return nil
}

// isNumber tells a label that inet_aton(3) would read as part of an address: decimal, octal
// or hexadecimal.
func isNumber(label string) bool {
	digits, hex := strings.CutPrefix(label, "0x")
	for i := range len(digits) {
		c := digits[i]
		if !('0' <= c && c <= '9' || hex && 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}
