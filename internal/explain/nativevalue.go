package explain

import (
	"net/netip"
	"strings"
)

// value is what a part of a packet is, or what is known of it.
type value struct {
	state  stateOf
	text   string     // of a name
	addr   netip.Addr // of an address
	num    uint64     // of a number, which is between num and high
	high   uint64
	hidden uint64  // bits of a number that are not known
	parts  []value // of several side by side
}

type stateOf int

const (
	given  stateOf = iota
	absent         // the packet has nothing of the kind: a rule that asks for it doesn't match
	unclear
)

func word(text string) value     { return value{text: text} }
func number(n uint64) value      { return value{num: n, high: n} }
func address(a netip.Addr) value { return value{addr: a.WithZone("")} }
func without() value             { return value{state: absent} }
func unseen() value              { return value{state: unclear} }

// kind says what a value is, so that what it is compared with can be read.
type kind string

const (
	aName  kind = "name" // of a link: * at the end stands for any rest
	aWord  kind = "word"
	aProto kind = "protocol"
	anAddr kind = "address"
	aPort  kind = "port"
	aMark  kind = "mark"
	aState kind = "state"
	status kind = "status"
	flags  kind = "flags"
	icmp4  kind = "icmp"
	icmp6  kind = "icmpv6"
	exists kind = "whether"
)

// symbols are the names that nft(8) has for numbers (nft(8), linux/netfilter headers).
func symbols(k kind) map[string]uint64 {
	switch k {
	case aState:
		return map[string]uint64{"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
	case status:
		return map[string]uint64{"expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32, "dying": 512}
	case flags:
		return map[string]uint64{"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
	case icmp4:
		return map[string]uint64{"echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
			"router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12, "timestamp-request": 13,
			"timestamp-reply": 14, "info-request": 15, "info-reply": 16, "address-mask-request": 17, "address-mask-reply": 18}
	case icmp6:
		return map[string]uint64{"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4, "echo-request": 128,
			"echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132, "mld-listener-reduction": 132,
			"nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137,
			"router-renumbering": 138, "ind-neighbor-solicit": 141, "ind-neighbor-advert": 142, "mld2-listener-report": 143}
	}
	return nil
}

// protoName is what a packet has for a protocol that is written as a name or a number.
func protoName(text string) string {
	switch strings.ToLower(text) {
	case "1":
		return "icmp"
	case "6":
		return TCP
	case "17":
		return UDP
	case "58", "icmpv6":
		return "ipv6-icmp"
	case "132":
		return SCTP
	}
	return strings.ToLower(text)
}
