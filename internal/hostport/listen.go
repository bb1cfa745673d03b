package hostport

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/relay"
)

// newPort makes a socket as its protocol needs it, with everything that arrives being
// dropped: at one address, or with both at every address of both families. Nil without an
// error: only the table guards the port. The caller holds m.mu.
//
// Errors: *relay.LimitError; those of system calls.
func (m *Manager) newPort(proto model.Proto, host netip.AddrPort, both bool) (*port, error) {
	if err := m.budget.Hold(); err != nil {
		return nil, err
	}
	err := fault.Point("hostport: before binding a socket")
	fd := -1
	if err == nil {
		fd, err = listen(proto, host, both)
		fault.Passed("hostport: after binding a socket")
	}
	if err == nil {
		return &port{m: m, fd: fd, proto: proto, at: host, both: both}, nil
	}
	m.budget.Release()
	if proto == model.SCTP && (errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT)) {
		m.sctpOnce.Do(func() {
			m.cfg.Warn("SCTP ports are published by firewall rules alone, and other programs can take them: the kernel makes no SCTP sockets (%s)", reason(err))
		})
		return nil, nil
	}
	return nil, err
}

// kindOf is how a protocol's sockets are made (socket(2)).
func kindOf(proto model.Proto) (kind, protocol int, known bool) {
	switch proto {
	case model.TCP:
		return unix.SOCK_STREAM, unix.IPPROTO_TCP, true // not Multipath TCP: splice(2) and the filter are about plain TCP
	case model.UDP:
		return unix.SOCK_DGRAM, unix.IPPROTO_UDP, true
	case model.SCTP:
		return unix.SOCK_STREAM, unix.IPPROTO_SCTP, true
	}
	return 0, 0, false
}

// listen makes a socket that holds a port. The runtime knows nothing of it: who relays has
// a poller of its own.
func listen(proto model.Proto, host netip.AddrPort, both bool) (fd int, err error) {
	kind, protocol, known := kindOf(proto)
	if !known {
		return -1, fmt.Errorf("%w protocol %d", model.ErrInvalid, proto)
	}
	domain, sa, err := sockaddr(host)
	if err != nil {
		return -1, err
	}
	if fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol); err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err = prepare(fd, proto, host.Addr(), both); err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sa))
	}
	if err == nil && proto != model.UDP {
		err = os.NewSyscallError("listen", unix.Listen(fd, math.MaxInt32)) // net.core.somaxconn is less
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// prepare is what is done to each socket between socket(2) and bind(2): it drops
// all that arrives, so that there is no moment in which a connection is answered
// before it can be served; and a loopback address is tied to lo, so that packets
// which others route here for 127.0.0.0/8 never match.
//
// A UDP socket tells the address each datagram was sent to, and has no SO_REUSEADDR, with
// which Linux would let others bind the same port.
func prepare(fd int, proto model.Proto, addr netip.Addr, both bool) error {
	if err := attachFilter(fd, dropAll()); err != nil {
		return err
	}
	var options [][3]int
	if !addr.Is4() {
		only := 1
		if both {
			only = 0
		}
		options = append(options, [3]int{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only})
	}
	if proto != model.UDP {
		options = append(options, [3]int{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1})
	}
	if proto == model.UDP && !addr.Is4() {
		options = append(options, [3]int{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1})
	}
	if proto == model.UDP && (addr.Is4() || both) {
		options = append(options, [3]int{unix.IPPROTO_IP, unix.IP_PKTINFO, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if proto == model.TCP {
		if err := relay.KeepAlive(fd); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if addr.IsLoopback() {
		return os.NewSyscallError("setsockopt", unix.BindToDevice(fd, "lo"))
	}
	return nil
}

// sockaddr is the address as bind(2) takes it, with its domain.
func sockaddr(host netip.AddrPort) (domain int, sa unix.Sockaddr, err error) {
	if host.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(host.Port()), Addr: host.Addr().As4()}, nil
	}
	in6 := &unix.SockaddrInet6{Port: int(host.Port()), Addr: host.Addr().As16()}
	if zone := host.Addr().Zone(); zone != "" {
		ifi, err := net.InterfaceByName(zone)
		if err != nil {
			return 0, nil, err
		}
		in6.ZoneId = uint32(ifi.Index)
	}
	return unix.AF_INET6, in6, nil
}
