package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/explain"
)

// probeWithin is how long an answer is waited for: a SYN is repeated after a second
// (RFC 6298), and a neighbour that nobody has is given up after three (arp(7)).
const probeWithin = 4 * time.Second

// probe is a socket that has its port, and has sent nothing yet.
type probe struct {
	fd    int
	q     explain.Query
	local netip.AddrPort // Port: the source port; of an echo request its identifier
}

// newProbe makes the socket, in the namespace of the calling thread.
func newProbe(q explain.Query) (*probe, error) {
	domain, kind, proto := unix.AF_INET, unix.SOCK_STREAM, 0
	if q.Dst.Is6() {
		domain = unix.AF_INET6
	}
	switch q.Proto {
	case explain.TCP:
	case explain.UDP:
		kind = unix.SOCK_DGRAM
	case explain.ICMP:
		kind, proto = unix.SOCK_RAW, unix.IPPROTO_ICMP
		if q.Dst.Is6() {
			proto = unix.IPPROTO_ICMPV6
		}
	default:
		return nil, fmt.Errorf("protocol %q: only tcp, udp and icmp can be sent", q.Proto)
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	p := &probe{fd: fd, q: q}
	src := q.Src
	if !src.IsValid() {
		src = netip.IPv4Unspecified()
		if q.Dst.Is6() {
			src = netip.IPv6Unspecified()
		}
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(src, q.Sport))); err != nil {
		p.close()
		return nil, os.NewSyscallError("bind", err)
	}
	p.local = netip.AddrPortFrom(src, uint16(os.Getpid()))
	if q.Proto != explain.ICMP {
		name, err := unix.Getsockname(fd)
		if err != nil {
			p.close()
			return nil, os.NewSyscallError("getsockname", err)
		}
		switch a := name.(type) {
		case *unix.SockaddrInet4:
			p.local = netip.AddrPortFrom(src, uint16(a.Port))
		case *unix.SockaddrInet6:
			p.local = netip.AddrPortFrom(src, uint16(a.Port))
		}
	}
	return p, nil
}

func (p *probe) close() { _ = unix.Close(p.fd) } // there is nothing in it to be lost

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// fare sends, and says how it fared as a verdict. What UDP has no answer for is Dropped.
func (p *probe) fare() (verdict, detail string, err error) {
	end := time.Now().Add(probeWithin)
	err = unix.Connect(p.fd, sockaddr(netip.AddrPortFrom(p.q.Dst, p.q.Dport)))
	if p.q.Proto == explain.TCP && errors.Is(err, unix.EINPROGRESS) {
		ready, err := p.wait(unix.POLLOUT, end)
		if err != nil || !ready {
			return explain.Dropped, "no answer", err
		}
		n, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return "", "", os.NewSyscallError("getsockopt", err)
		}
		return told(unix.Errno(n), "connected")
	}
	if err != nil {
		return told(err, "")
	}
	if _, err := unix.Write(p.fd, p.message()); err != nil {
		return told(err, "")
	}
	for {
		ready, err := p.wait(unix.POLLIN, end)
		if err != nil || !ready {
			return explain.Dropped, "no answer", err
		}
		buffer := make([]byte, 2048)
		n, err := unix.Read(p.fd, buffer)
		switch {
		case errors.Is(err, unix.EAGAIN):
		case err != nil:
			return told(err, "")
		case p.q.Proto != explain.ICMP || p.echoed(buffer[:n]):
			return explain.Delivered, "answered", nil
		}
	}
}

// wait waits until the socket is ready, or has an error, or the time is up.
func (p *probe) wait(events int16, end time.Time) (bool, error) {
	for {
		left := time.Until(end)
		if left <= 0 {
			return false, nil
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: events}}, int(left/time.Millisecond)+1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0, os.NewSyscallError("poll", err)
	}
}

// told turns what a system call has ended with into a verdict.
func told(err error, well string) (verdict, detail string, failed error) {
	switch {
	case err == nil, errors.Is(err, unix.Errno(0)):
		return explain.Delivered, well, nil
	case errors.Is(err, unix.ECONNREFUSED):
		return explain.Refused, err.Error(), nil
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EADDRNOTAVAIL):
		return explain.NoRoute, err.Error(), nil
	case errors.Is(err, unix.ETIMEDOUT), errors.Is(err, unix.EPERM): // a rule of the namespace's own has dropped it
		return explain.Dropped, err.Error(), nil
	}
	return "", "", err
}

// message is what is sent: for ICMP an echo request (RFC 792, RFC 4443; the kernel computes
// the checksum of IPv6).
func (p *probe) message() []byte {
	if p.q.Proto != explain.ICMP {
		return []byte("mybr explain\n")
	}
	b := []byte{8, 0, 0, 0, 0, 0, 0, 1}
	if p.q.Dst.Is6() {
		b[0] = 128
	}
	binary.BigEndian.PutUint16(b[4:], p.local.Port())
	if !p.q.Dst.Is6() {
		var sum uint32
		for i := 0; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		binary.BigEndian.PutUint16(b[2:], ^uint16(sum+sum>>16))
	}
	return b
}

// echoed reports whether it is the reply: raw sockets of IPv4 get the header, too (raw(7)).
func (p *probe) echoed(b []byte) bool {
	reply := byte(129)
	if !p.q.Dst.Is6() {
		if reply = 0; len(b) < 20 || len(b) < int(b[0]&15)*4 {
			return false
		}
		b = b[int(b[0]&15)*4:]
	}
	return len(b) >= 8 && b[0] == reply && binary.BigEndian.Uint16(b[4:]) == p.local.Port()
}
