package relay

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linkOf is the index of the interface by which an accepted connection began, and 0 if the kernel
// doesn't say. What the host sends to an address of its own comes by that address's interface.
//
// The kernel keeps it for the control messages that IP_PKTOPTIONS and IPV6_2292PKTOPTIONS read of a
// stream (do_ip_getsockopt of net/ipv4/ip_sockglue.c, do_ipv6_getsockopt of
// net/ipv6/ipv6_sockglue.c), as long as the socket asks for them; asked for all the time, IPv6
// keeps a copy of each packet for them, too.
func linkOf(fd int, ipv6 bool) uint32 {
	level, want, get := unix.IPPROTO_IP, unix.IP_PKTINFO, unix.IP_PKTOPTIONS
	if ipv6 {
		level, want, get = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, unix.IPV6_2292PKTOPTIONS
	}
	if unix.SetsockoptInt(fd, level, want, 1) != nil {
		return 0
	}
	var oob [controlSize]byte
	size := uint32(len(oob))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(get),
		uintptr(unsafe.Pointer(&oob)), uintptr(unsafe.Pointer(&size)), 0)
	if unix.SetsockoptInt(fd, level, want, 0) != nil || errno != 0 || int(size) > len(oob) {
		return 0
	}
	return parseLink(oob[:size])
}

// parseLink reads the interface from the control messages that tell it; 0: none does.
func parseLink(oob []byte) uint32 {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		switch {
		case err != nil:
			return 0
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return binary.NativeEndian.Uint32(data) // ipi_ifindex of ip(7)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return binary.NativeEndian.Uint32(data[16:]) // ipi6_ifindex of RFC 3542
		}
		oob = rest
	}
	return 0
}
