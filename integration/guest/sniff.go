package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/mybr/mybr/integration/report"
	"golang.org/x/sys/unix"
)

// sniff prints "ready" and then a report.Packet for each IP and ARP packet on a
// link, both directions, until SIGTERM.
func sniff(args []string) error {
	flags := flag.NewFlagSet("sniff", flag.ContinueOnError)
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return fmt.Errorf("%w: sniff LINK", errUsage)
	}
	ifi, err := net.InterfaceByName(flags.Arg(0))
	if err != nil {
		return err
	}
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // network byte order, packet(7)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-ended; os.Exit(0) }()
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
		proto := from.(*unix.SockaddrLinklayer).Protocol
		if p, ok := packet(proto<<8|proto>>8, buf[:n]); ok {
			if err := say(p); err != nil {
				return err
			}
		}
	}
}

func packet(ethertype uint16, b []byte) (p report.Packet, ok bool) {
	var proto byte
	var rest []byte
	switch {
	case ethertype == unix.ETH_P_IP && len(b) >= 20:
		p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		p.TTL, proto, rest = int(b[8]), b[9], b[min(int(b[0]&15)*4, len(b)):]
	case ethertype == unix.ETH_P_IPV6 && len(b) >= 40:
		p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		p.TTL, proto, rest = int(b[7]), b[6], b[40:]
	case ethertype == unix.ETH_P_ARP && len(b) >= 28:
		p.Proto, p.Type = "arp", int(b[7])
		p.Src, p.Dst = netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
		return p, true
	default:
		return p, false
	}
	switch {
	case (proto == unix.IPPROTO_TCP || proto == unix.IPPROTO_UDP) && len(rest) >= 4:
		p.Proto = map[byte]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[proto]
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
	case (proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6) && len(rest) >= 1:
		p.Proto = map[byte]string{unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_ICMPV6: "icmp6"}[proto]
		p.Type = int(rest[0])
	default:
		p.Proto = fmt.Sprint(proto)
	}
	return p, true
}
