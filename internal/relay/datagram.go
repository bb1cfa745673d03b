package relay

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many datagrams one system call takes.
	batchSize = 16
	// datagramSize is more than the greatest UDP datagram: 65,507 bytes (65,527 of IPv6).
	datagramSize = 1 << 16
	// controlSize is in_pktinfo and in6_pktinfo, each with a cmsghdr: 32 and 40 bytes.
	controlSize = 72
)

// batch is datagrams as recvmmsg(2) and sendmmsg(2) have them. It refers to itself and must
// not be copied.
type batch struct {
	in, out [batchSize]message
	vectors [2 * batchSize]unix.Iovec
	from    [batchSize]unix.RawSockaddrInet6 // large enough for IPv4's, too
	control [batchSize][controlSize]byte
	data    []byte // only what has been written to takes memory
}

// message is struct mmsghdr.
type message struct {
	unix.Msghdr
	n uint32
}

func newBatch() *batch {
	b := &batch{data: make([]byte, batchSize*datagramSize)}
	for i := range batchSize {
		b.in[i].Iov, b.out[i].Iov = &b.vectors[i], &b.vectors[batchSize+i]
		b.in[i].SetIovlen(1)
		b.out[i].SetIovlen(1)
		b.vectors[i].Base = &b.data[i*datagramSize]
		b.vectors[i].SetLen(datagramSize)
		b.vectors[batchSize+i].Base = b.vectors[i].Base
	}
	return b
}

// receive takes what has come to a socket. Errors: what recvmmsg(2) says, which for a
// connected socket can be the ICMP error to an earlier datagram.
func (b *batch) receive(fd int) (n int, err error) {
	for i := range b.in {
		m := &b.in[i]
		m.Name, m.Namelen = (*byte)(unsafe.Pointer(&b.from[i])), unix.SizeofSockaddrInet6
		m.Control = &b.control[i][0]
		m.SetControllen(controlSize)
	}
	return again(func() (int, error) { return messages(unix.SYS_RECVMMSG, fd, b.in[:]) })
}

// size is how many bytes the ith datagram has.
func (b *batch) size(i int) int { return int(b.in[i].n) }

// send sends the datagrams from first to before last on a connected socket; with to, on one
// that isn't. The first one after an ICMP error reports that error instead of being sent, so
// it is done once more. What can't be sent is lost.
func (b *batch) send(fd, first, last int, to *peer) {
	for i := first; i < last; i++ {
		m := &b.out[i]
		b.vectors[batchSize+i].SetLen(b.size(i))
		m.Name, m.Namelen, m.Control = nil, 0, nil
		m.SetControllen(0)
		if to != nil {
			m.Name, m.Namelen = (*byte)(unsafe.Pointer(&to.addr)), to.length
			if len(to.control) > 0 {
				m.Control = &to.control[0]
				m.SetControllen(len(to.control))
			}
		}
	}
	for tried := -1; first < last; {
		n, err := again(func() (int, error) { return messages(unix.SYS_SENDMMSG, fd, b.out[first:last]) })
		switch {
		case err == nil && n > 0:
			first += n
		case err != nil && refused(err) && tried != first:
			tried = first
		default:
			first++
		}
	}
}

// messages makes one of the two system calls.
func messages(call uintptr, fd int, all []message) (int, error) {
	n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&all[0])), uintptr(len(all)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// peer is a client as answers are sent to it.
type peer struct {
	addr    unix.RawSockaddrInet6
	length  uint32
	control []byte // from which address
}

// local is the address that a datagram was sent to, by which it is answered.
type local struct {
	addr    netip.Addr // zero: the kernel chooses
	ifindex uint32     // of IPv6 link-local addresses; 0: the kernel chooses
}

// key is what the ith datagram's flow is known by. False: it has no sender.
func (b *batch) key(i int) (k flowKey, ok bool) {
	port := func(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }
	switch from := &b.from[i]; from.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(from))
		k.client = netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port(&v4.Port))
	case unix.AF_INET6:
		k.client, k.zone = netip.AddrPortFrom(netip.AddrFrom16(from.Addr), port(&from.Port)), from.Scope_id
	default:
		return k, false
	}
	k.local = parseLocal(b.control[i][:b.in[i].Controllen])
	return k, true
}

// link is the index of the interface by which the ith datagram came; 0: it is not told.
func (b *batch) link(i int) uint32 { return parseLink(b.control[i][:b.in[i].Controllen]) }

// parseLocal reads the control messages of IP_PKTINFO (ip(7): ipi_ifindex,
// ipi_spec_dst, ipi_addr) or IPV6_PKTINFO (RFC 3542: ipi6_addr, ipi6_ifindex). For
// IPv4 it takes ipi_spec_dst, which is one of the host's own addresses even if the
// datagram was sent to all; IPv6 sockets have that besides a mapped address.
func parseLocal(oob []byte) (l local) {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return local{}
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return local{addr: netip.AddrFrom4([4]byte(data[4:8]))}
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			l = local{addr: netip.AddrFrom16([16]byte(data[:16]))}
			switch {
			case l.addr.IsMulticast(), l.addr.Is4In6():
				l = local{}
			case l.addr.IsLinkLocalUnicast():
				l.ifindex = binary.NativeEndian.Uint32(data[16:20])
			}
		}
		oob = rest
	}
	return l
}

// oob is the control message that makes l the source of an answer; nil for none.
func (l local) oob() []byte {
	switch {
	case l.addr.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: l.addr.As4()})
	case l.addr.Is6():
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: l.addr.As16(), Ifindex: l.ifindex})
	}
	return nil
}

// refused reports whether err is only the news that an earlier datagram did not
// arrive (icmp(7), icmpv6: RFC 4443), of which the next one is independent.
func refused(err error) bool {
	errno, ok := err.(syscall.Errno)
	if !ok {
		return false
	}
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN,
		unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EPROTO, unix.EMSGSIZE, unix.EACCES:
		return true
	}
	return false
}

// addressOf is an address as net/netip has it, with an IPv4 one that is mapped as such.
func addressOf(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 && a.IsLinkLocalUnicast() {
			a = zoned(a, sa.ZoneId)
		}
		return netip.AddrPortFrom(a, uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// sockaddr is an address as connect(2) takes it, with its domain.
func sockaddr(a netip.AddrPort) (domain int, sa unix.Sockaddr) {
	if a.Addr().Is4() || a.Addr().Is4In6() {
		return unix.AF_INET, &unix.SockaddrInet4{Addr: a.Addr().Unmap().As4(), Port: int(a.Port())}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}
