package model

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Spoof says what ports of a network may send that is not their endpoint's own. Each field is
// the value of an option in the form that its Parse function returns; "": it is not said.
type Spoof struct {
	Mode      string `json:",omitempty"` // SpoofRefuse, SpoofAudit or SpoofAllow
	Addresses string `json:",omitempty"` // of an endpoint: it may send from these prefixes, too
	MACs      string `json:",omitempty"` // of an endpoint: it may send with these, too
	Trusted   string `json:",omitempty"` // of an endpoint: which services it may be for others
}

// The modes: whether senders' addresses are checked, and what becomes of a frame of somebody else's.
const (
	SpoofRefuse = "refuse" // it is counted and dropped
	SpoofAudit  = "audit"  // it is counted, and passes
	SpoofAllow  = "allow"  // nobody looks
)

// The services that only trusted endpoints may be for others.
const (
	TrustDHCP = "dhcp" // a server of DHCP or DHCPv6
	TrustRA   = "ra"   // a router that advertises itself, and redirects
)

// SpoofNone stands for an empty list, where there would be another one otherwise.
const SpoofNone = "none"

// How many further prefixes and MACs an endpoint can have: each set of prefixes is copied
// whole by the kernel when one changes, and each MAC has the endpoint's addresses once more.
const (
	maxSpoofAddresses = 100
	maxSpoofMACs      = 16
)

// Over returns what counts if s is said beside o: a field of s, unless it says nothing.
func (s Spoof) Over(o Spoof) Spoof {
	return Spoof{
		Mode: cmp.Or(s.Mode, o.Mode), Addresses: cmp.Or(s.Addresses, o.Addresses),
		MACs: cmp.Or(s.MACs, o.MACs), Trusted: cmp.Or(s.Trusted, o.Trusted),
	}
}

// Prefixes lists the further prefixes.
func (s Spoof) Prefixes() (all []netip.Prefix) {
	for _, word := range spoofWords(s.Addresses) {
		if p, err := netip.ParsePrefix(word); err == nil { // ParseSpoofAddresses has written it
			all = append(all, p)
		}
	}
	return all
}

// HardwareAddresses lists the further MACs.
func (s Spoof) HardwareAddresses() (all []MAC) {
	for _, word := range spoofWords(s.MACs) {
		if m, err := ParseMAC(word); err == nil { // ParseSpoofMACs has written it
			all = append(all, m)
		}
	}
	return all
}

// Trusts reports whether an endpoint may be a service, such as TrustDHCP, for others.
func (s Spoof) Trusts(service string) bool { return slices.Contains(spoofWords(s.Trusted), service) }

// SpoofMode is the mode that counts for an endpoint, on a host with a mode for networks that don't
// say it; "" is SpoofAllow there. A bridge that was there before is checked only if somebody
// says so: what else is on it is not known. Where a container may begin some connections only it
// is always checked: from the address of somebody outside it could send a packet that looks like
// the beginning of a connection from there, and then everything as answers to that. A list that is
// only watched changes nothing for the container, and so has nothing checked. Senders are checked,
// too, where a list says what containers may begin to each other: from a neighbour's address one
// could ask what then counts as asked by the neighbour.
func SpoofMode(n Network, e Endpoint, byDefault string) string {
	if EgressEnforced(n, e) || n.ICCListed() {
		return SpoofRefuse
	}
	if !n.Owned {
		byDefault = ""
	}
	return cmp.Or(e.SpoofSet.Mode, e.Spoof.Mode, n.SpoofSet.Mode, n.Spoof.Mode, byDefault, SpoofAllow)
}

// SpoofModes lists the modes.
func SpoofModes() []string { return []string{SpoofRefuse, SpoofAudit, SpoofAllow} }

// ParseSpoofMode reads a Spoof's Mode. An error of this and of the following functions says what
// can't be taken, and nothing of where it stands.
func ParseSpoofMode(text string) (string, error) {
	if !slices.Contains(SpoofModes(), text) {
		return "", fmt.Errorf("%s: want %s, %s or %s", Quoted(text, 64), SpoofRefuse, SpoofAudit, SpoofAllow)
	}
	return text, nil
}

// ParseSpoofAddresses reads `192.0.2.7,10.0.0.0/8,fd00::/64`, or SpoofNone. A prefix that
// another one has in it is left out.
func ParseSpoofAddresses(text string) (string, error) {
	if strings.TrimSpace(text) == SpoofNone {
		return SpoofNone, nil
	}
	var all []netip.Prefix
	for _, word := range strings.Split(text, ",") {
		p, err := parseSpoofAddress(strings.TrimSpace(word))
		if err != nil {
			return "", err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, comparePrefixes)
	var words []string
	var last netip.Prefix
	for _, p := range all { // in this order a prefix is behind the one that has it in it
		if !last.IsValid() || !last.Overlaps(p) {
			last, words = p, append(words, p.String())
		}
	}
	if len(words) > maxSpoofAddresses {
		return "", fmt.Errorf("there are more than %d addresses: want prefixes that have several in them", maxSpoofAddresses)
	}
	return strings.Join(words, ","), nil
}

func parseSpoofAddress(word string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(word); err == nil && (IPv4.Has(a) || IPv6.Has(a)) && !a.IsUnspecified() && !a.IsMulticast() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(word)
	switch {
	case err != nil || !IPv4.Has(p.Addr()) && !IPv6.Has(p.Addr()) || p.Addr().IsMulticast() || p.IsSingleIP() && p.Addr().IsUnspecified():
		return p, fmt.Errorf("%s is no address to send from: want one such as 192.0.2.7 or fd00::7, a prefix such as 192.168.0.0/16, or %s", Quoted(word, 64), SpoofNone)
	case p != p.Masked():
		return p, fmt.Errorf("%s has bits behind its prefix: want %s, or %s", word, p.Masked(), p.Addr())
	}
	return p, nil
}

// ParseSpoofMACs reads `00:00:5e:00:01:33,02:42:ac:11:00:09`, or SpoofNone.
func ParseSpoofMACs(text string) (string, error) {
	if strings.TrimSpace(text) == SpoofNone {
		return SpoofNone, nil
	}
	var words []string
	for _, word := range strings.Split(text, ",") {
		m, err := ParseMAC(strings.TrimSpace(word))
		if err != nil || m.IsZero() || m[0]&1 != 0 { // IEEE 802: the lowest bit is that of groups
			return "", fmt.Errorf("%s is no address of an interface: want one such as 00:00:5e:00:01:33, or %s", Quoted(word, 64), SpoofNone)
		}
		words = append(words, m.String())
	}
	slices.Sort(words)
	words = slices.Compact(words)
	if len(words) > maxSpoofMACs {
		return "", fmt.Errorf("there are more than %d addresses: want %s=%s for a container with more interfaces than that", maxSpoofMACs, "mybr.spoof", SpoofAllow)
	}
	return strings.Join(words, ","), nil
}

// ParseSpoofTrusted reads TrustDHCP, TrustRA, both with a comma between, or SpoofNone.
func ParseSpoofTrusted(text string) (string, error) {
	if strings.TrimSpace(text) == SpoofNone {
		return SpoofNone, nil
	}
	var words []string
	for _, word := range strings.Split(text, ",") {
		word = strings.TrimSpace(word)
		if word != TrustDHCP && word != TrustRA {
			return "", fmt.Errorf("%s: want %s, %s, both with a comma between, or %s", Quoted(word, 64), TrustDHCP, TrustRA, SpoofNone)
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ","), nil
}

// spoofWords are the words of a list.
func spoofWords(text string) []string {
	if text == "" || text == SpoofNone {
		return nil
	}
	return strings.Split(text, ",")
}

// spoofLetters are the modes in an alias: of a network among other letters, of an endpoint behind
// the hexadecimal digits of its MAC.
var spoofLetters = map[string]string{"s": SpoofRefuse, "u": SpoofAudit, "t": SpoofAllow}

// spoofLetter is a mode in an alias; "": it is not said.
func spoofLetter(mode string) string {
	for letter, of := range spoofLetters {
		if of == mode {
			return letter
		}
	}
	return ""
}

// parseSpoofLetters is the mode among the letters of an alias.
func parseSpoofLetters(letters string) (mode string) {
	for letter, of := range spoofLetters {
		if strings.Contains(letters, letter) {
			mode = of
		}
	}
	return mode
}

// spoofFact is a field as an alias has it. What has no room there is refused after the records
// are lost.
type spoofFact struct {
	key   string
	value *string
}

func (s *Spoof) facts() []spoofFact {
	return []spoofFact{{"sa", &s.Addresses}, {"sm", &s.MACs}, {"st", &s.Trusted}}
}
