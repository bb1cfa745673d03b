package relay

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// datagram is one UDP datagram and where it came from. Take it with receive, give
// it back with free.
type datagram struct {
	pool   *datagrams
	buffer [1 << 16]byte // the greatest UDP datagram is 65,507 bytes (65,527 of IPv6)
	oob    [64]byte      // one control message: cmsghdr 16, in6_pktinfo 20 bytes
	n      int

	from  unix.Sockaddr // nil from a connected socket
	local local
}

// local is the address that a datagram was sent to, by which it is answered.
type local struct {
	addr    netip.Addr // zero: the kernel chooses
	ifindex uint32     // of IPv6 link-local addresses; 0: the kernel chooses
}

// datagrams are buffers that all sockets share: one that waits holds none. The zero
// value is ready for use.
type datagrams struct{ pool sync.Pool }

func (p *datagrams) get() *datagram {
	if d, ok := p.pool.Get().(*datagram); ok {
		return d
	}
	return &datagram{pool: p}
}

func (d *datagram) free() {
	d.from, d.local, d.n = nil, local{}, 0
	d.pool.pool.Put(d)
}

func (d *datagram) bytes() []byte { return d.buffer[:d.n] }

// receive waits for a datagram. Errors: as of net.Conn, and what recvmsg(2) says,
// which for a connected socket can be the ICMP error to an earlier datagram.
func (p *datagrams) receive(raw syscall.RawConn) (*datagram, error) {
	var d *datagram
	var err error
	werr := raw.Read(func(fd uintptr) bool {
		d = p.get()
		var oobn int
		for {
			d.n, oobn, _, d.from, err = unix.Recvmsg(int(fd), d.buffer[:], d.oob[:], 0)
			if err != unix.EINTR {
				break
			}
		}
		if err == nil {
			d.local = parseLocal(d.oob[:oobn])
			return true
		}
		d.free()
		d = nil
		return err != unix.EAGAIN
	})
	if werr != nil {
		if d != nil {
			d.free()
		}
		return nil, werr
	}
	return d, err
}

// parseLocal reads the control message of IP_PKTINFO (ip(7): ipi_ifindex,
// ipi_spec_dst, ipi_addr) or IPV6_PKTINFO (RFC 3542: ipi6_addr, ipi6_ifindex). For
// IPv4 it takes ipi_spec_dst, which is one of the host's own addresses even if the
// datagram was sent to all.
func parseLocal(oob []byte) local {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return local{}
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return local{addr: netip.AddrFrom4([4]byte(m.Data[4:8]))}
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			l := local{addr: netip.AddrFrom16([16]byte(m.Data[:16]))}
			if l.addr.IsMulticast() {
				return local{}
			}
			if l.addr.IsLinkLocalUnicast() {
				l.ifindex = binary.NativeEndian.Uint32(m.Data[16:20])
			}
			return l
		}
	}
	return local{}
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

// answer sends p from l to a client.
func answer(raw syscall.RawConn, p []byte, to unix.Sockaddr, l local) error {
	var err error
	werr := raw.Write(func(fd uintptr) bool {
		for {
			if _, err = unix.SendmsgN(int(fd), p, l.oob(), to, 0); err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if werr != nil {
		return werr
	}
	return err
}

// refused reports whether err is only the news that an earlier datagram did not
// arrive (icmp(7), icmpv6: RFC 4443), of which the next one is independent.
func refused(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN,
		unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EPROTO, unix.EMSGSIZE, unix.EACCES:
		return true
	}
	return false
}
