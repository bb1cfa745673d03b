package explain

import (
	"fmt"
	"net/netip"
	"strings"
)

// Protocols.
const (
	TCP  = "tcp"
	UDP  = "udp"
	SCTP = "sctp"
	ICMP = "icmp" // of both families
)

// Packet is the first of a flow, or the first that answers it, where it is just now.
type Packet struct {
	receiver
	Proto        string
	Src, Dst     netip.Addr
	Sport, Dport uint16 // 0 of ICMP; a Sport of 0 is one of the kernel's choice
	Reply        bool
	kind         string     // "": the first, or its answer
	inner        netip.Addr // of an Error: the destination of what it is about
	chosen       [2]uint16  // the range of which the kernel chooses the port that is 0
	in, out      string     // links, in the namespace where it is
	port         *Link      // the bridge port that it came in by, where br_netfilter has seen it
	crossing     bool       // a bridge, from port to port
	mark         uint32
	early        bool  // connection tracking has not seen it yet
	conn         *conn // nil: not tracked
}

// Other kinds of packet.
const (
	third = "third" // of the client's, behind the answer: a flow whose answer arrives may yet be stopped
	reset = "reset" // a refusal of TCP's (RFC 9293)
	fault = "error" // a refusal of ICMP's: "destination unreachable" (RFC 792, RFC 4443), which has ports and inner of what it is about
)

// conn is what connection tracking knows of the flow in one namespace.
type conn struct {
	space            *Space
	src, dst         netip.Addr // of the first packet as it came
	sport, dport     uint16
	toSrc, toDst     netip.Addr // what they were translated to
	toSport, toDport uint16
	dnat, snat       bool // and something has changed
	dstSet, srcSet   bool // a rule has said where it leads
	dstDone, srcDone bool // the chains of nat have been passed
	confirmed        bool // it has left the namespace, or was taken there: before that, others don't find it
	mark             uint32
}

// six reports whether it is IPv6.
func (p *Packet) six() bool { return p.Dst.Is6() }

// state is the connection's, as iptables-extensions(8) names it.
func (p *Packet) state() string {
	switch {
	case p.conn == nil && p.Reply && p.Proto == TCP: // a SYN with ACK begins no connection
		return "INVALID"
	case p.conn == nil && p.Reply && p.Proto == ICMP:
		return "INVALID"
	case p.conn == nil && p.kind == fault:
		return "INVALID"
	case p.kind == fault, p.kind == reset && !p.conn.confirmed: // what the kernel refuses with belongs to what it refuses (nf_ct_attach)
		return "RELATED"
	case (p.Reply || p.kind == third) && p.conn != nil:
		return "ESTABLISHED"
	}
	return "NEW"
}

func (p *Packet) String() string {
	end := func(a netip.Addr, port uint16) string {
		if !a.IsValid() {
			return "no address"
		}
		if p.Proto == ICMP || port == 0 {
			return a.String()
		}
		return netip.AddrPortFrom(a, port).String()
	}
	if p.kind != "" {
		return fmt.Sprintf("%s %s %s → %s", p.Proto, p.kind, end(p.Src, p.Sport), end(p.Dst, p.Dport))
	}
	return fmt.Sprintf("%s %s → %s", p.Proto, end(p.Src, p.Sport), end(p.Dst, p.Dport))
}

// family is the name of the packet's address family in settings.
func (p *Packet) family() string {
	if p.six() {
		return "ipv6"
	}
	return "ipv4"
}

// protoIs reports whether a protocol, as iptables-save(8) writes it, is the packet's.
func (p *Packet) protoIs(name string) bool {
	switch strings.ToLower(name) {
	case "all", "0":
		return true
	case "6":
		name = TCP
	case "17":
		name = UDP
	case "132":
		name = SCTP
	case "icmp", "1":
		return p.Proto == ICMP && !p.six()
	case "ipv6-icmp", "icmpv6", "icmp6", "58":
		return p.Proto == ICMP && p.six()
	}
	return strings.EqualFold(name, p.Proto)
}

// icmpType is that of an echo request or reply, or of an error (RFC 792, RFC 4443).
func (p *Packet) icmpType() int {
	switch {
	case p.kind == fault && p.six():
		return 1
	case p.kind == fault:
		return 3
	case p.six() && p.Reply:
		return 129
	case p.six():
		return 128
	case p.Reply:
		return 0
	}
	return 8
}
