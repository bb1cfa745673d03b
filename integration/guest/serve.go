package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"unsafe"

	"github.com/mybr/mybr/integration/report"
	"golang.org/x/sys/unix"
)

// serve listens on each of tcp:PORT, udp:PORT, tcp:ADDRESS:PORT…, of both families
// where no address is given. A TCP client is told report.Answer as the first line,
// then gets back what it sends; a UDP client gets a report.Answer for each datagram.
func serve(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: serve tcp:80 udp:81…", errUsage)
	}
	failed := make(chan error, len(args))
	for _, arg := range args {
		network, at, ok := strings.Cut(arg, ":")
		if !ok {
			return fmt.Errorf("%w: serve: %q is not NETWORK:PORT", errUsage, arg)
		}
		if !strings.Contains(at, ":") {
			at = ":" + at
		}
		if err := start(network, at, failed); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	go func() { failed <- sleep(nil) }()
	return <-failed
}

func start(network, at string, failed chan<- error) error {
	switch network {
	case "tcp", "http":
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		answer := answerTCP
		if network == "http" {
			answer = answerHTTP
		}
		go func() { failed <- serveTCP(l, answer) }()
	case "udp":
		addr, err := net.ResolveUDPAddr(network, at)
		if err != nil {
			return err
		}
		c, err := net.ListenUDP(network, addr)
		if err != nil {
			return err
		}
		go func() { failed <- serveUDP(c) }()
	default:
		return fmt.Errorf("%w: serve: network %q", errUsage, network)
	}
	return nil
}

func serveTCP(l net.Listener, answer func(c net.Conn, line []byte)) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			line, err := answerLine(addrPort(c.RemoteAddr()), addrPort(c.LocalAddr()), 0)
			if err != nil {
				return
			}
			answer(c, line)
		}()
	}
}

// answerTCP says who asked, and then repeats what it hears.
func answerTCP(c net.Conn, line []byte) {
	if _, err := c.Write(line); err != nil {
		return
	}
	in := bufio.NewReader(c)
	in.WriteTo(c)
}

// answerHTTP says who asked to one request, in the shortest HTTP that clients understand
// (RFC 1945): the end of the connection is that of the answer.
func answerHTTP(c net.Conn, line []byte) {
	for in := bufio.NewReader(c); ; {
		header, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimRight(header, "\r\n") == "" {
			break
		}
	}
	fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(line), line)
}

// serveUDP answers from the address that was asked: the wildcard socket alone would
// let the route choose one.
func serveUDP(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Control(func(fd uintptr) {
		for _, o := range [][2]int{
			{unix.IPPROTO_IP, unix.IP_PKTINFO}, {unix.IPPROTO_IP, unix.IP_RECVTTL},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO}, {unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT},
		} {
			unix.SetsockoptInt(int(fd), o[0], o[1], 1) // those of the other family don't apply
		}
	})
	if err != nil {
		return err
	}
	buf, oob := make([]byte, 65536), make([]byte, 512)
	port := uint16(c.LocalAddr().(*net.UDPAddr).Port)
	for {
		_, n, _, from, err := c.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			return err
		}
		to, ttl, back := arrival(oob[:n])
		line, err := answerLine(unmap(from), netip.AddrPortFrom(to, port), ttl)
		if err != nil {
			return err
		}
		c.WriteMsgUDPAddrPort(line, back, from) // a client that is gone is its own affair
	}
}

// arrival reads where a datagram was sent to and its TTL out of its control messages
// (ip(7), ipv6(7)), and gives the control message that answers from there.
func arrival(oob []byte) (to netip.Addr, ttl int, back []byte) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			to = netip.AddrFrom4(info.Addr)
			back = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: info.Addr})
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0]))
			if a := netip.AddrFrom16(info.Addr); !a.Is4In6() {
				to, back = a, unix.PktInfo6(info)
			}
		case m.Header.Type == unix.IP_TTL && m.Header.Level == unix.IPPROTO_IP,
			m.Header.Type == unix.IPV6_HOPLIMIT && m.Header.Level == unix.IPPROTO_IPV6:
			ttl = int(*(*int32)(unsafe.Pointer(&m.Data[0])))
		}
	}
	return to, ttl, back
}

func answerLine(client, server netip.AddrPort, ttl int) ([]byte, error) {
	name, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(report.Answer{Client: client, Server: server, Name: name, TTL: ttl})
	return append(line, '\n'), err
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return unmap(tcp.AddrPort())
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
