package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/mybr/mybr/integration/report"
	"golang.org/x/sys/unix"
)

// tokens is what watch looks for, whatever is around it: in small letters alone, or in capitals.
var tokens = regexp.MustCompile(`(tk[0-9a-f]{10}|TK[0-9A-F]{10})(?:\.(\d+))?`)

// room is what a watcher's socket may hold of what has not been read yet, in bytes as the kernel
// counts them: some thousand frames. A busy machine reads them late, and what is lost would pass for
// what was refused.
const room = 4 << 20

// watchTokens prints "ready" and then a report.Sight for each token in what arrives, until SIGTERM. With
// a link that is every frame that it receives; with -own only those to its own MAC and to all. With
// "host" it is what the packet filter has let through to this host itself, of every IP protocol: raw
// sockets are given packets behind it. -join GROUP%LINK,… has the host listen to multicast groups.
func watchTokens(args []string) error {
	flags := flag.NewFlagSet("watch", flag.ContinueOnError)
	own := flags.Bool("own", false, "nothing that is sent to another station")
	join := flags.String("join", "", "multicast groups, GROUP%LINK with commas between")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return fmt.Errorf("%w: watch [flags] LINK|host", errUsage)
	}
	for group := range strings.SplitSeq(*join, ",") {
		if group == "" {
			continue
		}
		if err := joinGroup(group); err != nil {
			return fmt.Errorf("join %s: %w", group, err)
		}
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-ended; os.Exit(0) }()
	if flags.Arg(0) == "host" {
		return watchHost()
	}
	return watchLink(flags.Arg(0), *own)
}

// joinGroup joins a group until the process ends.
func joinGroup(group string) error {
	address, link, _ := strings.Cut(group, "%")
	a, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	family := unix.AF_INET6
	if a.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if a.Is4() {
		return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: a.As4(), Ifindex: int32(ifi.Index)})
	}
	return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: a.As16(), Interface: uint32(ifi.Index)})
}

func watchLink(link string, own bool) error {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // network byte order, packet(7)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room); err != nil {
		return fmt.Errorf("room of the packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		return err
	}
	fmt.Println("ready")
	buf := make([]byte, 65536)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil {
			return fmt.Errorf("statistics of the packet socket: %w", err)
		}
		if stats.Drops > 0 {
			return fmt.Errorf("%d frames were lost, since they came faster than they were read", stats.Drops)
		}
		station := from.(*unix.SockaddrLinklayer)
		if station.Pkttype == unix.PACKET_OUTGOING || own && station.Pkttype == unix.PACKET_OTHERHOST {
			continue
		}
		p, known := packet(station.Protocol<<8|station.Protocol>>8, buf[:n])
		if !known {
			p.Proto = fmt.Sprintf("ethertype %#04x", station.Protocol<<8|station.Protocol>>8)
		}
		if err := sighted(buf[:n], p); err != nil {
			return err
		}
	}
}

// watchHost listens with a raw socket for each protocol, in both families.
func watchHost() error {
	var fds []unix.PollFd
	var protocols []int
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		for proto := 1; proto < unix.IPPROTO_RAW; proto++ { // IPPROTO_RAW only sends: raw(7)
			fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
			if err != nil {
				return fmt.Errorf("raw socket of protocol %d: %w", proto, err)
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room); err != nil {
				return fmt.Errorf("room of the raw socket of protocol %d: %w", proto, err)
			}
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			protocols = append(protocols, proto)
		}
	}
	fmt.Println("ready")
	buf := make([]byte, 65536)
	for {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for i, f := range fds {
			if f.Revents == 0 {
				continue
			}
			for {
				n, from, err := unix.Recvfrom(int(f.Fd), buf, 0)
				if errors.Is(err, unix.EAGAIN) {
					break
				}
				if errors.Is(err, unix.EINTR) {
					continue
				}
				if err != nil {
					return fmt.Errorf("read protocol %d: %w", protocols[i], err)
				}
				var p report.Packet
				if from6, ok := from.(*unix.SockaddrInet6); ok { // it has no header: ipv6(7)
					header := make([]byte, 40, 40+n)
					header[6] = byte(protocols[i])
					copy(header[8:], from6.Addr[:])
					p, _ = packet(unix.ETH_P_IPV6, append(header, buf[:n]...))
				} else {
					p, _ = packet(unix.ETH_P_IP, buf[:n])
				}
				if err := sighted(buf[:n], p); err != nil {
					return err
				}
			}
		}
	}
}

// sighted prints each token once.
func sighted(b []byte, p report.Packet) error {
	said := map[string]bool{}
	for _, m := range tokens.FindAllSubmatch(b, -1) {
		if said[string(m[0])] {
			continue
		}
		said[string(m[0])] = true
		count := 0
		if len(m[2]) > 0 {
			var err error
			if count, err = strconv.Atoi(string(m[2])); err != nil {
				return err
			}
		}
		if err := say(report.Sight{Token: string(m[1]), Count: count, Packet: p}); err != nil {
			return err
		}
	}
	return nil
}
