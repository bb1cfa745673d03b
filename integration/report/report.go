// Package report is what the guest program says of a network, as values: the guest
// prints them as one JSON object a line, the tests read them.
package report

import (
	"net/netip"
	"time"
)

// What the guest exits with, so that a test can tell the ways of not being answered.
const (
	Answered    = 0
	Failed      = 1 // anything that is not below; said on stderr
	Usage       = 2
	Refused     = 3 // a TCP reset or an ICMP port unreachable
	TimedOut    = 4
	Unreachable = 5 // no route, or an ICMP error that is not about the port
)

// Answer is what a server answers a client.
type Answer struct {
	Client netip.AddrPort // as the server sees it
	Server netip.AddrPort // the address the client reached, as the server sees it
	Name   string         // the server's host name
	TTL    int            `json:",omitempty"` // of the request's packet as it came (UDP alone)
}

// Probe is one question of a "guest probe".
type Probe struct {
	Network    string        // tcp, udp or ping
	To         string        // ADDRESS:PORT, of ping ADDRESS
	Timeout    time.Duration // for the whole question
	SourcePort int           `json:",omitempty"` // 0: the kernel's choice
	Source     netip.Addr    // zero: the kernel's choice
}

// Outcome is how a probe fared.
type Outcome struct {
	Code   int // Answered, Refused, …
	Answer Answer
	Pong   Pong   // of ping
	Err    string `json:",omitempty"`
}

// Lookup is how a name was resolved.
type Lookup struct {
	Name  string
	Addrs []string `json:",omitempty"`
	Err   string   `json:",omitempty"`
}

// Address is one address of a link, with what ip-address(8) says of it.
type Address struct {
	Dev     string
	Prefix  netip.Prefix
	Scope   string   // global, link, host
	Flags   []string `json:",omitempty"` // nodad, tentative, …: those that differ from a plain permanent address
	Dynamic bool     `json:",omitempty"` // it has a lifetime
}

// Pong is one echo reply.
type Pong struct {
	From netip.Addr
	TTL  int // TTL or hop limit of the reply as it came; -1: not told
}

// Packet is one packet seen on a link.
type Packet struct {
	Proto            string // tcp, udp, icmp, icmp6, arp, or the protocol's number
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16 `json:",omitempty"`
	TTL              int    `json:",omitempty"`
	Type             int    // ICMP's type
}

// Link is one link of a network namespace.
type Link struct {
	Name, Kind, MAC string
	Alias           string `json:",omitempty"`
	Index, MTU      int
	Up, Running     bool           // IFF_UP; IFF_RUNNING (there is a carrier)
	Peer            int            `json:",omitempty"` // index of the other end of a veth pair, in its own namespace
	Master          int            `json:",omitempty"` // index of the bridge it is a port of
	Addrs           []netip.Prefix `json:",omitempty"`
	Port            *Port          `json:",omitempty"` // only of a bridge's port
}

// Port is what the bridge says of one of its ports.
type Port struct{ Hairpin, Isolated bool }

// Route is one route of the main table.
type Route struct {
	Dst netip.Prefix // 0.0.0.0/0 or ::/0: the default route
	Via netip.Addr   // zero: on link
	Dev string
	Src netip.Addr // the preferred source; zero: none
}

// Neigh is one entry of the neighbour table.
type Neigh struct {
	Addr  netip.Addr
	MAC   string
	Dev   string
	State int // NUD_*, see linux/neighbour.h
}
