package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// forged is an IP packet as no honest program would send it, or an ARP reply.
type forged struct {
	src, dst     netip.Addr
	proto        byte
	arp          bool
	link, mac    string // send it out of this link to this station, whatever the routes say; "": the kernel routes it
	sport, dport uint16
	flags        byte   // of TCP
	offset       uint16 // of a fragment, in units of 8 bytes; 0: the first or only one
	more         bool   // more fragments follow
	options      []byte // of the IPv4 header, a multiple of 4 bytes
}

// send sends forged packets, described one after the other with a comma between, and
// tells how many. Whether they arrive is for sniff to tell. The kernel routes them, or
// with -link and -mac isn't asked; neither source nor content is looked at. Those that
// it won't send are passed over.
func send(args []string) error {
	sent := 0
	for len(args) > 0 {
		one := args
		args = nil
		if i := slices.Index(one, ","); i >= 0 {
			one, args = one[:i], one[i+1:]
		}
		p, err := parseForged(one)
		if err != nil {
			return fmt.Errorf("%w: send: %q: %w", errUsage, one, err)
		}
		gone, err := p.send()
		if err != nil {
			return err
		}
		if gone {
			sent++
		}
	}
	fmt.Println(sent)
	return nil
}

// send sends one packet through a raw socket, which wants whole IP packets (raw(7)), or
// a packet socket (packet(7)), and tells whether the kernel took it.
func (p forged) send() (gone bool, err error) {
	family, proto := unix.AF_INET, unix.IPPROTO_RAW
	kind, content := unix.SOCK_RAW, p.bytes()
	var to unix.Sockaddr
	switch {
	case p.link != "":
		ifi, err := net.InterfaceByName(p.link)
		if err != nil {
			return false, err
		}
		mac, err := net.ParseMAC(p.mac)
		if err != nil {
			return false, err
		}
		if p.arp {
			content = p.arpReply(ifi.HardwareAddr, mac)
		}
		station := &unix.SockaddrLinklayer{Ifindex: ifi.Index, Protocol: p.ethertype(), Halen: 6}
		copy(station.Addr[:], mac)
		family, proto, kind, to = unix.AF_PACKET, 0, unix.SOCK_DGRAM, station
	case p.dst.Is6():
		to6 := &unix.SockaddrInet6{Addr: p.dst.As16()}
		if zone := p.dst.Zone(); zone != "" {
			ifi, err := net.InterfaceByName(zone)
			if err != nil {
				return false, err
			}
			to6.ZoneId = uint32(ifi.Index)
		}
		family, to = unix.AF_INET6, to6
	default:
		to = &unix.SockaddrInet4{Addr: p.dst.As4()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return false, fmt.Errorf("raw socket: %w", err)
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, content, 0, to) == nil, nil
}

// ethertype is the packet's, in network byte order.
func (p forged) ethertype() uint16 {
	kind := uint16(unix.ETH_P_IP)
	switch {
	case p.arp:
		kind = unix.ETH_P_ARP
	case p.dst.Is6():
		kind = unix.ETH_P_IPV6
	}
	return kind<<8 | kind>>8
}

// arpReply says that src is at our station, RFC 826.
func (p forged) arpReply(ours, theirs net.HardwareAddr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 2}
	b = append(append(b, ours...), p.src.AsSlice()...)
	return append(append(b, theirs...), p.dst.AsSlice()...)
}

func parseForged(args []string) (p forged, err error) {
	flags := flag.NewFlagSet("send", flag.ContinueOnError)
	src := flags.String("src", "", "source address")
	proto := flags.String("proto", "udp", "tcp, udp, icmp, sctp, arp or a number")
	tcp := flags.String("flags", "S", "of TCP: letters of FSRPAU; empty for none")
	sport := flags.Uint("sport", 40000, "source port")
	dport := flags.Uint("dport", 80, "destination port; of ICMP: the type")
	offset := flags.Uint("fragment", 0, "fragment offset, in units of 8 bytes")
	flags.BoolVar(&p.more, "more", false, "more fragments follow")
	flags.StringVar(&p.link, "link", "", "send it out of this link, to -mac, past routes and neighbours")
	flags.StringVar(&p.mac, "mac", "ff:ff:ff:ff:ff:ff", "with -link: the station to send it to")
	options := flags.String("options", "", "of the IP header, in hex")
	if err := flags.Parse(args); err != nil {
		return p, err
	}
	p.sport, p.dport, p.offset = uint16(*sport), uint16(*dport), uint16(*offset)
	if p.dst, err = netip.ParseAddr(flags.Arg(0)); err != nil {
		return p, err
	}
	if p.src, err = netip.ParseAddr(*src); err != nil {
		return p, err
	}
	if p.arp = *proto == "arp"; !p.arp {
		if p.proto, err = protocol(*proto, p.dst); err != nil {
			return p, err
		}
	}
	if p.options, err = hex.DecodeString(*options); err != nil {
		return p, err
	}
	if flags.NArg() != 1 || p.dst.Is4() != p.src.Is4() || len(p.options)%4 != 0 {
		return p, errors.New("want [flags] ADDRESS, of the source's family, with options of whole words")
	}
	if p.dst.Is6() && (len(p.options) > 0 || p.offset > 0 || p.more) || p.arp && (p.link == "" || p.dst.Is6()) {
		return p, errors.New("options and fragments are for IPv4, ARP is for IPv4 and a -link")
	}
	for i, letter := range "FSRPAU" {
		if strings.ContainsRune(*tcp, letter) {
			p.flags |= 1 << i
		}
	}
	return p, nil
}

func protocol(s string, dst netip.Addr) (byte, error) {
	known := map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP, "sctp": unix.IPPROTO_SCTP}
	if dst.Is6() {
		known["icmp"] = unix.IPPROTO_ICMPV6
	}
	if n, ok := known[s]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return byte(n), err
}

// bytes is the packet, RFC 791 or RFC 8200. A raw socket's IPv4 header gets its checksum
// and length from the kernel, a packet socket's doesn't.
func (p forged) bytes() []byte {
	payload := p.payload()
	if p.dst.Is6() {
		b := make([]byte, 8, 128)
		b[0], b[6], b[7] = 0x60, p.proto, 64
		binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
		return append(append(append(b, p.src.AsSlice()...), p.dst.AsSlice()...), payload...)
	}
	b := make([]byte, 20, 128)
	b[0] = 0x40 | byte(5+len(p.options)/4)
	binary.BigEndian.PutUint16(b[4:], 4711) // the same in all fragments
	binary.BigEndian.PutUint16(b[6:], p.offset)
	if p.more {
		b[6] |= 0x20
	}
	b[8], b[9] = 64, p.proto
	copy(b[12:], p.src.AsSlice())
	copy(b[16:], p.dst.AsSlice())
	b = append(b, p.options...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(payload)))
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, payload...)
}

// payload is a whole number of 8 bytes, so that a fragment can follow. Of a later
// fragment it is the rest of what came before.
func (p forged) payload() []byte {
	b := make([]byte, 24)
	if p.offset > 0 {
		return b
	}
	binary.BigEndian.PutUint16(b, p.sport)
	binary.BigEndian.PutUint16(b[2:], p.dport)
	switch p.proto {
	case unix.IPPROTO_TCP: // RFC 9293: sequence number, header of 5 words, flags, window
		b = b[:20]
		binary.BigEndian.PutUint32(b[4:], 1000)
		b[12], b[13] = 5<<4, p.flags
		binary.BigEndian.PutUint16(b[14:], 1024)
		binary.BigEndian.PutUint16(b[16:], p.sum(b))
	case unix.IPPROTO_UDP:
		length := len(b)
		if p.more {
			length *= 2
		}
		binary.BigEndian.PutUint16(b[4:], uint16(length))
		if p.dst.Is6() { // in IPv4, checksum 0 says that there is none
			binary.BigEndian.PutUint16(b[6:], p.sum(b))
		}
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		clear(b)
		b[0] = byte(p.dport)
		sum := checksum(b)
		if p.proto == unix.IPPROTO_ICMPV6 {
			sum = p.sum(b)
		}
		binary.BigEndian.PutUint16(b[2:], sum)
	case unix.IPPROTO_SCTP: // RFC 9260: tag 0, INIT chunk of 20 bytes
		b = append(b[:12], 1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1)
		binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	return b
}

// sum is the checksum over the pseudo header and the segment. Its fields are of other
// sizes in IPv6, but the sum is the same.
func (p forged) sum(segment []byte) uint16 {
	b := append(p.src.AsSlice(), p.dst.AsSlice()...)
	b = append(b, 0, p.proto, 0, byte(len(segment)))
	return checksum(append(b, segment...))
}
