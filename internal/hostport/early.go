package hostport

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// The filter of a port of which flows may be tracked that began before it was translated. NAT is
// asked about the first packet of a flow only (iptables(8)), so that they come to the socket. What
// comes there by design, whenever it began, is from or to the host's loopback addresses, from an
// IPv6 link-local one, from a neighbour of the container's where neighbours are kept apart, or to
// many (NAT leads only what is sent to one address of the host).
const (
	network   = 1<<32 - 0x100000 // SKF_NET_OFF of linux/filter.h: the header of IP begins there
	source4   = network + 12     // RFC 791, section 3.1
	dest4     = network + 16
	source6   = network + 8 // RFC 8200, section 3
	dest6     = network + 24
	packetFor = ancillary + 4 // SKF_AD_PKTTYPE
)

// byDesign4 is the program for IPv4.
func byDesign4(near netip.Prefix) []unix.SockFilter {
	loopback := netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	return byDesign(within(source4, loopback), within(dest4, loopback), within(source4, near))
}

// byDesign6 is the program for IPv6.
func byDesign6(near netip.Prefix) []unix.SockFilter {
	loopback := netip.PrefixFrom(netip.IPv6Loopback(), 128)
	linkLocal := netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), 10) // RFC 4291, section 2.4
	return byDesign(within(source6, loopback), within(dest6, loopback), within(source6, linkLocal), within(source6, near))
}

// byDesign accepts what one of some tests accepts, and drops the rest.
func byDesign(tests ...[]unix.SockFilter) []unix.SockFilter {
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: packetFor},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.PACKET_HOST, Jt: 1},
		acceptAll()[0],
	}
	return slices.Concat(append(append([][]unix.SockFilter{program}, tests...), dropAll())...)
}

// within accepts a packet with an address in a prefix at a place; of others, nothing is decided.
func within(place uint32, p netip.Prefix) (program []unix.SockFilter) {
	if !p.IsValid() {
		return nil
	}
	address := p.Masked().Addr().AsSlice()
	words := (p.Bits() + 31) / 32
	for i := range words {
		mask := uint32(1<<32 - 1)
		if left := p.Bits() - 32*i; left < 32 {
			mask <<= 32 - left
		}
		// Past what is left of the test: three instructions for each further word, and the accept.
		away := uint8(3*(words-i-1) + 1)
		program = append(program,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: place + uint32(4*i)},
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(address[4*i:]), Jf: away})
	}
	return append(program, acceptAll()...)
}
