package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/mybr/mybr/integration/report"
	"golang.org/x/sys/unix"
)

// ICMP and ICMPv6 message types, RFC 792 and RFC 4443.
const (
	echo4, reply4 = 8, 0
	echo6, reply6 = 128, 129
)

// pinger is one raw ICMP socket.
type pinger struct {
	fd int
	v6 bool
	to unix.Sockaddr
	id uint16
}

// ping sends echo requests and prints a report.Pong for each reply. It succeeds only
// if all are answered.
func ping(args []string) error {
	flags := flag.NewFlagSet("ping", flag.ContinueOnError)
	count := flags.Int("count", 1, "echo requests, one after the other's reply")
	timeout := flags.Duration("timeout", 5*time.Second, "for each reply")
	size := flags.Int("size", 56, "bytes of payload")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return fmt.Errorf("%w: ping [flags] ADDRESS|NAME", errUsage)
	}
	addr, err := lookUp(flags.Arg(0))
	if err != nil {
		return err
	}
	p, err := newPinger(addr, uint16(os.Getpid()))
	if err != nil {
		return err
	}
	defer unix.Close(p.fd)
	for seq := range *count {
		pong, err := p.once(uint16(seq), *size, *timeout)
		if err != nil {
			return err
		}
		if err := say(pong); err != nil {
			return err
		}
	}
	return nil
}

// lookUp gives an address as it is, and a name's first address.
func lookUp(s string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr, nil
	}
	found, err := net.LookupHost(s)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(found[0])
}

// newPinger makes a pinger; those that go on at the same time in one namespace need
// different numbers.
func newPinger(addr netip.Addr, id uint16) (*pinger, error) {
	p := &pinger{v6: addr.Is6(), id: id}
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	p.to = &unix.SockaddrInet4{Addr: [4]byte{}}
	if p.v6 {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
		to := &unix.SockaddrInet6{Addr: addr.As16()}
		if addr.Zone() != "" {
			ifi, err := net.InterfaceByName(addr.Zone())
			if err != nil {
				return nil, err
			}
			to.ZoneId = uint32(ifi.Index)
		}
		p.to = to
	} else {
		p.to = &unix.SockaddrInet4{Addr: addr.As4()}
	}
	var err error
	if p.fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto); err != nil {
		return nil, fmt.Errorf("raw socket: %w", err)
	}
	if p.v6 {
		err = unix.SetsockoptInt(p.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	}
	return p, err
}

func (p *pinger) once(seq uint16, size int, timeout time.Duration) (report.Pong, error) {
	if err := unix.Sendto(p.fd, p.request(seq, size), 0, p.to); err != nil {
		return report.Pong{}, os.NewSyscallError("sendto", err)
	}
	deadline := time.Now().Add(timeout)
	buf, oob := make([]byte, 65536), make([]byte, 256)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return report.Pong{}, os.ErrDeadlineExceeded
		}
		tv := unix.NsecToTimeval(max(left, time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return report.Pong{}, err
		}
		n, oobn, _, from, err := unix.Recvmsg(p.fd, buf, oob, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return report.Pong{}, os.NewSyscallError("recvmsg", err)
		}
		if pong, ok := p.read(buf[:n], oob[:oobn], from, seq); ok {
			return pong, nil
		}
	}
}

func (p *pinger) request(seq uint16, size int) []byte {
	b := make([]byte, 8+size)
	b[0] = echo4
	if p.v6 {
		b[0] = echo6 // the kernel fills in ICMPv6's checksum
	}
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], seq)
	if !p.v6 {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

// read tells whether a packet is the reply to seq. A raw IPv4 socket gives the IP
// header too (raw(7)), an IPv6 one does not.
func (p *pinger) read(b, oob []byte, from unix.Sockaddr, seq uint16) (report.Pong, bool) {
	pong, want := report.Pong{TTL: -1}, byte(reply6)
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		if len(b) < 20 {
			return pong, false
		}
		pong.From, pong.TTL, want = netip.AddrFrom4(a.Addr), int(b[8]), reply4
		b = b[min(int(b[0]&15)*4, len(b)):]
	case *unix.SockaddrInet6:
		pong.From = netip.AddrFrom16(a.Addr)
		msgs, err := unix.ParseSocketControlMessage(oob)
		for i := 0; err == nil && i < len(msgs); i++ {
			if msgs[i].Header.Level == unix.IPPROTO_IPV6 && msgs[i].Header.Type == unix.IPV6_HOPLIMIT {
				pong.TTL = int(*(*int32)(unsafe.Pointer(&msgs[i].Data[0])))
			}
		}
	}
	return pong, len(b) >= 8 && b[0] == want &&
		binary.BigEndian.Uint16(b[4:]) == p.id && binary.BigEndian.Uint16(b[6:]) == seq
}

// checksum is the internet checksum, RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
