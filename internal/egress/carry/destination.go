package carry

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Destination tells where a client meant to connect to. It must fail for a connection that
// was made to this process itself, which nobody has led here.
type Destination func(*net.TCPConn) (netip.AddrPort, error)

// Transparent is the destination of connections that TPROXY has led to a socket
// (IP_TRANSPARENT, ip(7)): their own local address. own tells the addresses of the host.
func Transparent(own func(netip.Addr) bool) Destination {
	return func(c *net.TCPConn) (netip.AddrPort, error) {
		at, err := local(c)
		if err != nil {
			return netip.AddrPort{}, err
		}
		if own(at.Addr()) {
			return netip.AddrPort{}, fmt.Errorf("it was made to %s, an address of the host", at)
		}
		return at, nil
	}
}

// soOriginalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST (linux/netfilter_ipv4.h,
// linux/netfilter_ipv6/ip6_tables.h).
const soOriginalDst = 80

// Redirected is the destination of connections that REDIRECT or DNAT has led to a socket: what
// connection tracking has noted of them. The socket may have either family, or both.
func Redirected(c *net.TCPConn) (netip.AddrPort, error) {
	at, err := local(c)
	if err != nil {
		return netip.AddrPort{}, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read the original destination: %w", err)
	}
	var to netip.AddrPort
	var optErr error
	err = raw.Control(func(fd uintptr) {
		if at.Addr().Is4() {
			to, optErr = original4(int(fd))
		} else {
			to, optErr = original6(int(fd))
		}
	})
	if err == nil {
		err = optErr
	}
	if err != nil { // ENOENT: connection tracking doesn't know it
		return netip.AddrPort{}, fmt.Errorf("read the original destination: %w", err)
	}
	if to == at {
		return netip.AddrPort{}, fmt.Errorf("it was made to %s, where nobody is led to unless redirected", at)
	}
	return to, nil
}

func local(c *net.TCPConn) (netip.AddrPort, error) {
	a, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("it has the local address %v", c.LocalAddr())
	}
	at := a.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()), nil
}

// original4 reads a sockaddr_in: the option's value is as large as x/sys's IPv6Mreq, which
// is how it can be read without a pointer of our own.
func original4(fd int) (netip.AddrPort, error) {
	v, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}, err
	}
	b := v.Multiaddr // family, port, address
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:4])), nil
}

// original6 reads a sockaddr_in6, with which x/sys's IPv6MTUInfo begins.
func original6(fd int) (netip.AddrPort, error) {
	v, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}, err
	}
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], v.Addr.Port) // it is in the order of the network
	return netip.AddrPortFrom(netip.AddrFrom16(v.Addr.Addr), binary.BigEndian.Uint16(port[:])), nil
}
