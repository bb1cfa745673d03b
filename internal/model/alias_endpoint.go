package model

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Alias returns the alias of the host's end of the endpoint's veth pair, in a network, on a
// host where mybr has turned forwarding on in some families.
//
// Be aware: the sandbox is not in it. It is recorded by Join, which changes nothing on the
// host.
func (e Endpoint) Alias(n Network, forwarding ...Family) string {
	var a aliasText
	a.WriteString(AliasEndpoint + e.ID)
	mac := hex.EncodeToString(e.MAC[:])
	if e.MACGiven {
		mac += "g"
	}
	limits := e.Limits()
	if len(limits) > 0 {
		mac += "l"
	}
	mac += policyLetter(e.PolicyInForce())
	more := e.SpoofSet.Over(e.Spoof)
	mac += spoofLetter(more.Mode)
	if e.EgressInForce() != "" {
		mac += "x" // none of these is a hexadecimal digit
	}
	mac += e.egressLetter()
	a.add("m", mac)
	for _, f := range Families() {
		if p := *e.Address(f); p.IsValid() {
			a.add(familyKey(f), p.String())
		}
	}
	if !n.Owned { // else the bridge says it
		mode := n.SpoofSet.Over(n.Spoof).Mode
		a.add("n", e.NetworkID)
		a.add("o", letters(map[byte]bool{'i': n.Internal, 'c': n.ICCInForce() != ICCNone, 'm': n.V4.Masquerade, 'w': n.V6.Masquerade, 'l': len(n.Limits()) > 0,
			'e': n.EgressInForce() != "", 'a': n.EgressModeInForce() == EgressAudit, 'h': n.PolicyInForce() == PublishHost, 'p': n.PolicyInForce() == PublishOpen})+spoofLetter(mode)+"-")
		a.add("fwd", familyKeys(forwarding))
	}
	a.add("from", limitsText(limits))
	a.add("out", e.EgressInForce())
	a.add("grp", e.Groups())
	for _, fact := range more.facts() {
		a.add(fact.key, *fact.value)
	}
	for _, f := range Families() {
		var open []string
		for _, s := range map[Family][]PortSpan{IPv4: e.OpenV4, IPv6: e.OpenV6}[f] {
			open = append(open, protoLetter(s.Proto)+portsText(s.First, s.Count))
		}
		a.add("open"+familyKey(f), strings.Join(open, ","))
	}
	a.addPorts(e)
	a.more = a.more || len(e.Wanted) > 0
	return a.text()
}

// addPorts adds as many of the published ports as fit.
func (a *aliasText) addPorts(e Endpoint) {
	text := ""
	e.Ports = slices.SortedFunc(slices.Values(e.Ports), compareBindings) // equal sets, equal aliases
	for i, b := range e.Ports {
		word := b.aliasText(e)
		if twin := slices.Index(e.Ports, b.twin(e)); twin >= 0 && twin != i && b.Host.Addr() == netip.IPv4Unspecified() {
			word = "*" + word
		} else if first := slices.IndexFunc(e.Ports, func(o PortBinding) bool { return o.twin(e) == b }); first >= 0 && first != i {
			continue // is written with its twin
		}
		if text != "" {
			word = "," + word
		}
		if a.Len()+len(" p=")+len(text)+len(word)+len(" "+aliasMore) > maxAlias {
			a.more = true
			break
		}
		text += word
	}
	a.add("p", text)
}

func compareBindings(a, b PortBinding) int {
	return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Host.Port(), b.Host.Port()), a.Host.Compare(b.Host), a.Container.Compare(b.Container))
}

// twin is the binding of [::] that goes with one of 0.0.0.0, zero for any other: Docker
// publishes a port that names no host address at both.
func (b PortBinding) twin(e Endpoint) PortBinding {
	if b.Host.Addr() != netip.IPv4Unspecified() || b.Container.Addr() != e.V4.Addr() {
		return PortBinding{}
	}
	b.Host = netip.AddrPortFrom(netip.IPv6Unspecified(), b.Host.Port())
	if e.V6.IsValid() {
		b.Container = netip.AddrPortFrom(e.V6.Addr(), b.Container.Port())
	}
	return b
}

// aliasText is PROTOCOL[ADDRESS/]PORT[+COUNT-1]>[ADDRESS/]PORT. An address that is missing
// is 0.0.0.0, or the endpoint's of IPv4.
func (b PortBinding) aliasText(e Endpoint) string {
	host, container := "", ""
	if a := b.Host.Addr(); a != netip.IPv4Unspecified() {
		host = a.String() + "/"
	}
	if a := b.Container.Addr(); a == e.V6.Addr() && e.V6.IsValid() {
		container = "6/"
	} else if a != e.V4.Addr() {
		container = a.String() + "/"
	}
	return protoLetter(b.Proto) + host + portsText(b.Host.Port(), b.Count) + ">" + container + strconv.Itoa(int(b.Container.Port()))
}

// ParseEndpointAlias reads what Endpoint.Alias has written: ok is false for any other alias.
// complete says that all the facts are there. NetworkID is there only if the network's
// bridge does not say it; Sandbox is not.
func ParseEndpointAlias(alias string) (e Endpoint, complete, ok bool) {
	id, facts, complete, ok := aliasID(alias, AliasEndpoint)
	if !ok {
		return e, false, false
	}
	e = Endpoint{ID: id, NetworkID: facts["n"], Group: facts["grp"]} // without room for its groups it is in none
	mac, audited := strings.CutSuffix(facts["m"], letterAudit)
	mac, enforced := strings.CutSuffix(mac, letterEnforce)
	switch {
	case audited:
		e.EgressMode = EgressAudit
	case enforced:
		e.EgressMode = EgressEnforce
	}
	mac, listed := strings.CutSuffix(mac, "x")
	if listed {
		e.Egress = cmp.Or(facts["out"], FromNobody) // what had no room allows nothing
	}
	for letter, mode := range spoofLetters {
		if rest, said := strings.CutSuffix(mac, letter); said {
			mac, e.Spoof.Mode = rest, mode
		}
	}
	for _, fact := range e.Spoof.facts() {
		*fact.value = facts[fact.key]
	}
	for letter, policy := range policyLetters {
		if rest, said := strings.CutSuffix(mac, letter); said {
			mac, e.Policy = rest, policy
		}
	}
	mac, limited := strings.CutSuffix(mac, "l")
	if limited {
		e.From = parseLimitsText(facts["from"])
	}
	mac, given := strings.CutSuffix(mac, "g")
	e.MACGiven = given
	errs := []error{parseHexMAC(mac, &e.MAC)}
	for _, f := range Families() {
		errs = append(errs, parsePrefix(facts[familyKey(f)], e.Address(f)))
		open := map[Family]*[]PortSpan{IPv4: &e.OpenV4, IPv6: &e.OpenV6}[f]
		for _, text := range list(facts["open"+familyKey(f)]) {
			s, err := parseSpan(text)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			*open = append(*open, s)
		}
	}
	for _, text := range list(facts["p"]) {
		text, both := strings.CutPrefix(text, "*")
		b, err := parseBinding(text, e)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.Ports = append(e.Ports, b)
		if both {
			e.Ports = append(e.Ports, b.twin(e))
		}
	}
	return e, complete && errors.Join(errs...) == nil, true
}

// ParseForeignNetwork returns what the alias of an endpoint says of a network whose bridge is
// not mybr's, and so has no alias: ok is false if it says nothing. Its addresses are on the
// bridge, and its other settings are not known.
func ParseForeignNetwork(alias string) (n Network, ok bool) {
	_, facts, _, ok := aliasID(alias, AliasEndpoint)
	if !ok || facts["n"] == "" {
		return n, false
	}
	has := func(letter string) bool { return strings.Contains(facts["o"], letter) }
	n = Network{ID: facts["n"], Internal: has("i") || facts["o"] == "", ICC: has("c")}
	n.V4.Masquerade, n.V6.Masquerade = has("m"), has("w")
	n.Spoof.Mode, n.Policy = parseSpoofLetters(facts["o"]), parsePolicyLetters(facts["o"])
	if has("l") {
		n.From = parseLimitsText("") // the bridge is not mybr's, so that its alias says nothing of them
	}
	if has("e") {
		n.Egress = FromNobody // for the same reason
	}
	if has(letterAudited) {
		n.EgressMode = EgressAudit
	}
	return n, true
}

func parseBinding(text string, e Endpoint) (b PortBinding, err error) {
	host, container, ok := strings.Cut(text, ">")
	if !ok || host == "" {
		return b, fmt.Errorf("port binding %q", text)
	}
	hostAddr, containerAddr := netip.IPv4Unspecified(), e.V4.Addr()
	proto, host := host[:1], host[1:]
	if addr, ports, ok := strings.Cut(host, "/"); ok {
		host = ports
		if hostAddr, err = netip.ParseAddr(addr); err != nil {
			return b, err
		}
	}
	if addr, port, ok := strings.Cut(container, "/"); ok {
		container = port
		if containerAddr = e.V6.Addr(); addr != "6" {
			containerAddr, err = netip.ParseAddr(addr)
		}
	}
	span, err2 := parseSpan(proto + host)
	port, err3 := strconv.ParseUint(container, 10, 16)
	if err := errors.Join(err, err2, err3); err != nil {
		return b, fmt.Errorf("port binding %q: %w", text, err)
	}
	if !containerAddr.IsValid() || int(port)+int(span.Count)-1 > 65535 {
		return b, fmt.Errorf("%w port binding %q: there is no such place in the container", ErrInvalid, text)
	}
	return PortBinding{Proto: span.Proto, Host: netip.AddrPortFrom(hostAddr, span.First),
		Container: netip.AddrPortFrom(containerAddr, uint16(port)), Count: span.Count}, nil
}

// portsText is PORT, or PORT+MORE for more than one.
func portsText(first, count uint16) string {
	text := strconv.Itoa(int(first))
	if count > 1 {
		text += "+" + strconv.Itoa(int(count-1))
	}
	return text
}

func parseSpan(text string) (s PortSpan, err error) {
	if text == "" {
		return s, fmt.Errorf("%w ports", ErrInvalid)
	}
	for _, p := range []Proto{TCP, UDP, SCTP} {
		if protoLetter(p) == text[:1] {
			s.Proto = p
		}
	}
	first, more, _ := strings.Cut(text[1:], "+")
	number, err := strconv.ParseUint(first, 10, 16)
	last := number
	if more != "" && err == nil {
		last, err = strconv.ParseUint(more, 10, 16)
		last += number
	}
	if err == nil && (s.Proto == 0 || number == 0 || last > 65535) {
		err = fmt.Errorf("%w ports %q", ErrInvalid, text)
	}
	if err == nil {
		s.First, s.Count = uint16(number), uint16(last-number+1)
	}
	return s, err
}

func protoLetter(p Proto) string { return p.String()[:1] }
