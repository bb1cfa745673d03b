package model

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// AliasPrefix begins the alias (ip-link(8)) of every link that mybr made; a noun and the ID
// of the network or endpoint follow, so that the links are found again without any record.
//
// Behind that come the facts of the record that the kernel doesn't show otherwise, as
// KEY=VALUE with blanks between: should the records be lost, they are read there. What does
// not fit into an alias is left out, and the last word is aliasMore then.
const (
	AliasPrefix   = "mybr "
	AliasNetwork  = AliasPrefix + "network "
	AliasEndpoint = AliasPrefix + "endpoint "

	// maxAlias is the most bytes an alias has (IFALIASZ of linux/if.h, less the NUL).
	maxAlias  = 255
	aliasMore = "+"
)

// AliasOwner returns the part of an alias that says whose the link is: prefix, noun and ID.
func AliasOwner(alias string) string {
	words := strings.SplitN(alias, " ", 4)
	return strings.Join(words[:min(3, len(words))], " ")
}

// aliasID returns the ID in an alias that begins with a noun's prefix, and the facts.
func aliasID(alias, prefix string) (id string, facts map[string]string, complete, ok bool) {
	rest, ok := strings.CutPrefix(alias, prefix)
	words := strings.Fields(rest)
	if !ok || len(words) == 0 || !plain(words[0]) {
		return "", nil, false, false
	}
	facts, complete = map[string]string{}, len(words) > 1 // an older mybr gave no facts
	for _, word := range words[1:] {
		if word == aliasMore {
			complete = false
		} else if key, value, ok := strings.Cut(word, "="); ok && (key != "n" || plain(value)) {
			facts[key] = value
		}
	}
	return words[0], facts, complete, true
}

// plain reports whether a text can be an ID that Docker gave: it becomes part of rules.
func plain(id string) bool {
	return !strings.ContainsFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' && r != '-'
	})
}

// aliasText is an alias that facts are added to as long as there is room, the most important
// ones first.
type aliasText struct {
	strings.Builder
	more bool // something did not fit
}

// add adds a fact, unless it is empty.
func (a *aliasText) add(key, value string) {
	word := " " + key + "=" + value
	switch {
	case value == "":
	case a.Len()+len(word)+len(" "+aliasMore) > maxAlias:
		a.more = true
	default:
		a.WriteString(word)
	}
}

func (a *aliasText) text() string {
	if a.more {
		a.WriteString(" " + aliasMore)
	}
	return a.String()
}

// Alias returns the alias of a bridge that mybr made for a network, on a host where mybr
// has turned forwarding on in some families.
func (n Network) Alias(forwarding ...Family) string {
	var a aliasText
	a.WriteString(AliasNetwork + n.ID)
	limits, mode := n.Limits(), n.SpoofSet.Over(n.Spoof).Mode
	a.add("o", letters(map[byte]bool{'i': n.Internal, 'c': n.ICCInForce() != ICCNone, 'g': n.ICCListed(), 'q': n.NoAnnounce, 'l': len(limits) > 0, 'e': n.EgressInForce() != "", 'a': n.EgressModeInForce() == EgressAudit,
		'h': n.PolicyInForce() == PublishHost, 'p': n.PolicyInForce() == PublishOpen})+
		spoofLetter(mode)+"-") // never empty
	for _, f := range Families() {
		a.add(familyKey(f), n.Subnet(f).aliasText())
	}
	a.add("fwd", familyKeys(forwarding))
	a.add("from", limitsText(limits))
	a.add("out", n.EgressInForce())
	if n.ICCListed() {
		a.add("icc", n.ICCInForce())
	}
	if n.MTU != 0 {
		a.add("mtu", strconv.Itoa(n.MTU))
	}
	a.add("host", addrText(n.HostBinding))
	for _, f := range Families() {
		a.add("snat"+familyKey(f), addrText(n.Subnet(f).SNAT))
		a.add("space"+familyKey(f), url.QueryEscape(n.Subnet(f).Space))
	}
	a.add("if", url.QueryEscape(n.IfacePrefix))
	var trusted, routes []string
	for _, name := range n.Trusted {
		trusted = append(trusted, url.QueryEscape(name))
	}
	for _, r := range n.Routes {
		routes = append(routes, r.Destination.String()+">"+addrText(r.NextHop))
	}
	a.add("trust", strings.Join(trusted, ","))
	a.add("route", strings.Join(routes, ","))
	return a.text()
}

// The letters of Subnet.Mode in an alias.
var modeLetters = map[Mode]string{ModeNAT: "", ModeNATUnprotected: "u", ModeRouted: "r", ModeIsolated: "x"}

// aliasText is PREFIX,GATEWAY,ADDRESS,FLAGS: ADDRESS is = if it is the gateway's.
func (s Subnet) aliasText() string {
	if !s.Prefix.IsValid() {
		return ""
	}
	address := addrText(s.Address.Addr())
	if address != "" && s.Address.Addr() == s.Gateway {
		address = "="
	}
	flags := letters(map[byte]bool{'m': s.Masquerade, 'k': s.AddressKept}) + modeLetters[s.Mode]
	return strings.Join([]string{s.Prefix.String(), addrText(s.Gateway), address, flags}, ",")
}

// ParseNetworkAlias reads what Network.Alias has written: ok is false for any other alias.
// complete says that all the facts are there. BridgeMAC, Owned and Bridge are not in it.
func ParseNetworkAlias(alias string) (n Network, complete, ok bool) {
	id, facts, complete, ok := aliasID(alias, AliasNetwork)
	if !ok {
		return n, false, false
	}
	n = Network{ID: id, Internal: strings.Contains(facts["o"], "i"), ICC: strings.Contains(facts["o"], "c"), NoAnnounce: strings.Contains(facts["o"], "q")}
	var errs []error
	if strings.Contains(facts["o"], "l") {
		n.From = parseLimitsText(facts["from"])
	}
	n.Spoof.Mode, n.Policy = parseSpoofLetters(facts["o"]), parsePolicyLetters(facts["o"])
	if strings.Contains(facts["o"], "e") {
		n.Egress = cmp.Or(facts["out"], FromNobody) // what had no room allows nothing
	}
	if strings.Contains(facts["o"], "g") {
		n.ICCList = cmp.Or(facts["icc"], ICCNone) // likewise
	}
	if strings.Contains(facts["o"], letterAudited) {
		n.EgressMode = EgressAudit
	}
	for _, f := range Families() {
		key, s := familyKey(f), n.Subnet(f)
		errs = append(errs, s.parseAlias(facts[key]), parseAddr(facts["snat"+key], &s.SNAT), unescape(facts["space"+key], &s.Space))
	}
	if text, there := facts["mtu"]; there {
		mtu, err := strconv.Atoi(text)
		n.MTU = mtu
		errs = append(errs, err)
	}
	errs = append(errs, parseAddr(facts["host"], &n.HostBinding), unescape(facts["if"], &n.IfacePrefix))
	for _, text := range list(facts["trust"]) {
		var name string
		errs = append(errs, unescape(text, &name))
		n.Trusted = append(n.Trusted, name)
	}
	for _, text := range list(facts["route"]) {
		destination, hop, _ := strings.Cut(text, ">")
		r := Route{}
		errs = append(errs, parsePrefix(destination, &r.Destination), parseAddr(hop, &r.NextHop))
		n.Routes = append(n.Routes, r)
	}
	return n, complete && errors.Join(errs...) == nil, true
}

// AliasForwarding returns the families in which mybr has turned forwarding on, as the alias
// of a network's bridge has it, or of an endpoint on a bridge that is not mybr's.
func AliasForwarding(alias string) (families []Family) {
	_, facts, _, ok := aliasID(alias, AliasNetwork)
	if !ok {
		_, facts, _, _ = aliasID(alias, AliasEndpoint)
	}
	for _, f := range Families() {
		if strings.Contains(facts["fwd"], familyKey(f)) {
			families = append(families, f)
		}
	}
	return families
}

func (s *Subnet) parseAlias(text string) error {
	if text == "" {
		return nil
	}
	part := strings.Split(text, ",")
	if len(part) != 4 {
		return fmt.Errorf("subnet %q has %d parts", text, len(part))
	}
	errs := []error{parsePrefix(part[0], &s.Prefix), parseAddr(part[1], &s.Gateway)}
	address := s.Gateway
	if part[2] != "=" {
		errs = append(errs, parseAddr(part[2], &address))
	}
	if part[2] != "" && address.IsValid() {
		s.Address = netip.PrefixFrom(address, s.Prefix.Bits())
	}
	s.Masquerade, s.AddressKept = strings.Contains(part[3], "m"), strings.Contains(part[3], "k")
	for mode, letter := range modeLetters {
		if letter != "" && strings.Contains(part[3], letter) {
			s.Mode = mode
		}
	}
	return errors.Join(errs...)
}

// letters lists the keys of what is true, in their order.
func letters(of map[byte]bool) (text string) {
	for c := byte('a'); c <= 'z'; c++ {
		if of[c] {
			text += string(c)
		}
	}
	return text
}

func familyKey(f Family) string {
	if f == IPv6 {
		return "6"
	}
	return "4"
}

func familyKeys(families []Family) (text string) {
	for _, f := range families {
		text += familyKey(f)
	}
	return text
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func parseAddr(text string, to *netip.Addr) (err error) {
	if text != "" {
		*to, err = netip.ParseAddr(text)
	}
	return err
}

func parsePrefix(text string, to *netip.Prefix) (err error) {
	if text != "" {
		*to, err = netip.ParsePrefix(text)
	}
	return err
}

func unescape(text string, to *string) (err error) {
	*to, err = url.QueryUnescape(text)
	return err
}

// parseHexMAC reads the 12 hexadecimal digits of a MAC.
func parseHexMAC(text string, to *MAC) error {
	raw, err := hex.DecodeString(text)
	if err == nil && len(raw) != len(to) {
		err = fmt.Errorf("%w MAC address %q", ErrInvalid, text)
	}
	if err == nil {
		*to = MAC(raw)
	}
	return err
}
