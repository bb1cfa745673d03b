package hostport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// bind makes the socket of s as its protocol needs it, with everything that arrives
// being dropped. Errors are those of the net package and of system calls.
func (m *Manager) bind(s *socket) error {
	err := fault.Point("hostport: before binding a socket")
	if err != nil {
		return err
	}
	defer fault.Passed("hostport: after binding a socket")
	switch s.proto {
	case model.TCP:
		s.conn, err = listenTCP(s.host)
	case model.UDP:
		s.conn, err = listenUDP(s.host)
	case model.SCTP:
		s.conn, err = listenRaw(unix.IPPROTO_SCTP, s.host)
		if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
			m.sctpOnce.Do(func() {
				m.cfg.Warn("SCTP ports are published by firewall rules alone, and other programs can take them: the kernel makes no SCTP sockets (%s)", reason(err))
			})
			s.conn, err = nil, nil
		}
	default:
		err = fmt.Errorf("%w protocol %d", model.ErrInvalid, s.proto)
	}
	return err
}

// family is "4" or "6", the suffix that the net package gives to networks.
func family(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}

// listenTCP binds a listening socket, filtered. The net package sets SO_REUSEADDR,
// IPV6_V6ONLY (by the 6 in "tcp6"), close-on-exec, the backlog of
// net.core.somaxconn, and keepalive (15 s) on what is accepted.
func listenTCP(host netip.AddrPort) (conn, error) {
	lc := net.ListenConfig{Control: beforeBind(host.Addr())}
	lc.SetMultipathTCP(false) // splice(2) and the filter are about plain TCP
	l, err := lc.Listen(context.Background(), "tcp"+family(host.Addr()), host.String())
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// listenUDP binds a datagram socket, filtered, that tells the address each datagram
// was sent to. Without SO_REUSEADDR, with which Linux would let others bind the
// same port.
func listenUDP(host netip.AddrPort) (conn, error) {
	lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		if err := beforeBind(host.Addr())(network, address, c); err != nil {
			return err
		}
		return control(c, func(fd int) error {
			if host.Addr().Is4() {
				return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			}
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		})
	}}
	p, err := lc.ListenPacket(context.Background(), "udp"+family(host.Addr()), host.String())
	if err != nil {
		return nil, err
	}
	return p.(*net.UDPConn), nil
}

// listenRaw binds a listening stream socket of a protocol that the net package
// doesn't know, filtered.
func listenRaw(proto int, host netip.AddrPort) (conn, error) {
	domain, sa, err := sockaddr(host)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("protocol %d %s", proto, host))
	raw, err := f.SyscallConn()
	if err == nil {
		err = beforeBind(host.Addr())("", "", raw)
	}
	if err == nil {
		err = control(raw, func(fd int) error {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				return err
			}
			if domain == unix.AF_INET6 {
				if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
					return err
				}
			}
			if err := unix.Bind(fd, sa); err != nil {
				return err
			}
			return unix.Listen(fd, unix.SOMAXCONN)
		})
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
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

// beforeBind is what is done to each socket between socket(2) and bind(2): it drops
// all that arrives, so that there is no moment in which a connection is answered
// before it can be served; and a loopback address is tied to lo, so that packets
// which others route here for 127.0.0.0/8 never match.
func beforeBind(addr netip.Addr) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error {
			if err := attachFilter(fd, dropAll()); err != nil {
				return err
			}
			if addr.IsLoopback() {
				return os.NewSyscallError("setsockopt", unix.BindToDevice(fd, "lo"))
			}
			return nil
		})
	}
}

// control runs fn with the descriptor and returns its error.
func control(c syscall.RawConn, fn func(fd int) error) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = fn(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// withFD is control for a socket.
func withFD(c syscall.Conn, fn func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, fn)
}
