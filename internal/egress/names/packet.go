package names

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// packets is a UDP socket that answers from the address that it was asked at. The kernel would
// choose by the route to the client, and where a container's question was translated on its way,
// the answer of another address is not translated back.
type packets struct {
	*net.UDPConn
	six     bool // the socket's family is IPv6, of which IPv4's may be a part (ipv6(7), IPV6_V6ONLY)
	control []byte
}

// newPackets has the kernel say which address each datagram came to.
//
// Errors: what setting the option says.
func newPackets(c *net.UDPConn) (*packets, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &packets{UDPConn: c, control: make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var domain int
		if domain, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); failed != nil {
			return
		}
		if p.six = domain == unix.AF_INET6; p.six { // of IPv4, too, as mapped addresses
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("have the kernel say where datagrams came to: %w", err)
	}
	return p, nil
}

// read reads one datagram. reply is the control message with which an answer leaves from where it
// came to; nil: the kernel chooses. It is for one caller at a time.
func (p *packets) read(buf []byte) (n int, from netip.AddrPort, reply []byte, err error) {
	n, size, _, from, err := p.ReadMsgUDPAddrPort(buf, p.control)
	if err != nil {
		return 0, netip.AddrPort{}, nil, err
	}
	return n, from, p.replyTo(p.control[:size]), nil
}

// replyTo makes the control message of an answer of that of a question: struct in_pktinfo (ip(7))
// or struct in6_pktinfo (RFC 3542, section 6). Which link an answer leaves by is for the routes to
// say, save where the address is of a link.
func (p *packets) replyTo(control []byte) []byte {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return nil
		}
		switch {
		case !p.six && h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(data[4:8])}) // ipi_spec_dst: never one of a group
		case p.six && h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := unix.Inet6Pktinfo{Addr: [16]byte(data[:16])}
			a := netip.AddrFrom16(info.Addr)
			if a.IsMulticast() || a.Unmap().IsMulticast() {
				return nil
			}
			if a.IsLinkLocalUnicast() {
				info.Ifindex = binary.NativeEndian.Uint32(data[16:20])
			}
			return unix.PktInfo6(&info)
		}
		control = rest
	}
	return nil
}

// answer sends an answer.
func (p *packets) answer(b []byte, to netip.AddrPort, reply []byte) error {
	_, _, err := p.WriteMsgUDPAddrPort(b, reply, to)
	return err
}
