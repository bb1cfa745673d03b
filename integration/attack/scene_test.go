package attack

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/mybr/mybr/integration/report"
	"golang.org/x/sys/unix"
)

// scene is what a row knows of where it is tried: addresses of one family, and the token that watchers
// look for.
type scene struct {
	token     string
	port      uint16 // no other try has it
	eve       netip.Addr
	eveLocal  netip.Addr // link-local, of IPv6
	neighbour netip.Addr // on eve's network
	nobody    netip.Addr // of eve's network, and no container's
	gateway   netip.Addr
	local     netip.Addr // the host's link-local address on eve's bridge, of IPv6
	broadcast netip.Addr // of eve's network, of IPv4
	host      netip.Addr // on the LAN
	lan       netip.Addr // the host of the LAN that lists name
	evil      netip.Addr // the one that they don't
	other     netip.Addr // a container of another network
	otherGate netip.Addr // the host's on that

	eveMAC, neighbourMAC, gatewayMAC net.HardwareAddr
	published                        uint16 // where the host publishes UDP port 9053 of eve's
}

type attempts []report.Attempt

func (x scene) v6() bool { return x.eve.Is6() }

const (
	// within bounds a connection that ought not to be made.
	within = 700 * time.Millisecond
	// patience bounds what ought to arrive, on a busy machine, too.
	patience = 10 * time.Second
)

// waiting gives attempts the time that what ought to arrive may take. Where they are carried, they
// end when they are answered: not before, or the process would see their client gone.
func (all attempts) waiting(carried bool) attempts {
	for i := range all {
		all[i].Connect = patience
		if carried {
			all[i].Within, all[i].Once = patience, true
		}
	}
	return all
}

// dial has data sent to an address by TCP or UDP as honest programs do.
func dial(network string, to netip.Addr, port uint16, data []byte) attempts {
	return attempts{{Kind: network, To: netip.AddrPortFrom(to, port).String(), Data: data, Within: within}}
}

// frames are whole frames, sent one after the other.
func frames(all ...[]byte) (out attempts) {
	for _, b := range all {
		out = append(out, report.Attempt{Kind: "frame", Data: b})
	}
	return out
}

// via is a frame to the gateway.
func (x scene) via(p packet, content []byte) []byte {
	return frame(x.gatewayMAC, x.eveMAC, p.ethertype(), p.bytes(content))
}

// beside is a frame to the neighbour.
func (x scene) beside(p packet, content []byte) []byte {
	return frame(x.neighbourMAC, x.eveMAC, p.ethertype(), p.bytes(content))
}

// to is a packet of eve's.
func (x scene) to(dst netip.Addr, proto byte) packet {
	return packet{src: x.eve, dst: dst, proto: proto}
}

// datagram is a UDP datagram of eve's with the token.
func (x scene) datagram(dst netip.Addr, port uint16) []byte {
	return udp(x.eve, dst, x.port, port, x.text())
}

// text is the token in data that is as long as several units of fragments.
func (x scene) text() []byte { return []byte("    " + x.token + "        " + x.token + "    ") }

// icmpProto is that of the family.
func (x scene) icmpProto() byte {
	if x.v6() {
		return unix.IPPROTO_ICMPV6
	}
	return unix.IPPROTO_ICMP
}

// echo is an echo request, or the reply without one.
func (x scene) echo(dst netip.Addr, reply bool) []byte {
	kind := byte(8)
	switch {
	case x.v6() && reply:
		kind = 129
	case x.v6():
		kind = 128
	case reply:
		kind = 0
	}
	return icmp(x.eve, dst, kind, 0, append(binary.BigEndian.AppendUint16(nil, x.port), append([]byte{0, 1}, x.token...)...))
}

// station is the MAC of a multicast group (RFC 1112, 6.4; RFC 2464, 7).
func station(group netip.Addr) net.HardwareAddr {
	b := group.AsSlice()
	if group.Is6() {
		return append(net.HardwareAddr{0x33, 0x33}, b[12:]...)
	}
	return net.HardwareAddr{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
}

var everybody = net.HardwareAddr{255, 255, 255, 255, 255, 255}

// group is a datagram to a multicast group.
func (x scene) group(group4, group6 string, port uint16) attempts {
	g := netip.MustParseAddr(group4)
	if x.v6() {
		g = netip.MustParseAddr(group6)
	}
	p := x.to(g, unix.IPPROTO_UDP)
	return frames(frame(station(g), x.eveMAC, p.ethertype(), p.bytes(x.datagram(g, port))))
}

// bare is a packet of a protocol that has no ports.
func (x scene) bare(dst netip.Addr, proto byte, content []byte) []byte {
	return x.via(x.to(dst, proto), append(content, x.text()...))
}

func decimal(n uint16) string { return strconv.Itoa(int(n)) }
