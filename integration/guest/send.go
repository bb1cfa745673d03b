package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// forged is an IPv4 packet as no honest program would send it.
type forged struct {
	src, dst     netip.Addr
	proto        byte
	sport, dport uint16
	flags        byte   // of TCP
	offset       uint16 // of a fragment, in units of 8 bytes; 0: the first or only one
	more         bool   // more fragments follow
	options      []byte // of the IP header, a multiple of 4 bytes
}

// send sends forged packets, described one after the other with a comma between, and
// tells how many. Whether they arrive is for sniff to tell. The kernel routes them, but
// neither source nor content is looked at. Those it won't send are passed over.
func send(args []string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW) // implies IP_HDRINCL, raw(7)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	defer unix.Close(fd)
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
		if err := unix.Sendto(fd, p.bytes(), 0, &unix.SockaddrInet4{Addr: p.dst.As4()}); err == nil {
			sent++
		}
	}
	fmt.Println(sent)
	return nil
}

func parseForged(args []string) (p forged, err error) {
	flags := flag.NewFlagSet("send", flag.ContinueOnError)
	src := flags.String("src", "", "source address")
	proto := flags.String("proto", "udp", "tcp, udp, icmp, sctp or a number")
	tcp := flags.String("flags", "S", "of TCP: letters of FSRPAU; empty for none")
	sport := flags.Uint("sport", 40000, "source port")
	dport := flags.Uint("dport", 80, "destination port; of ICMP: the type")
	offset := flags.Uint("fragment", 0, "fragment offset, in units of 8 bytes")
	flags.BoolVar(&p.more, "more", false, "more fragments follow")
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
	if p.proto, err = protocol(*proto); err != nil {
		return p, err
	}
	if p.options, err = hex.DecodeString(*options); err != nil {
		return p, err
	}
	if flags.NArg() != 1 || !p.dst.Is4() || !p.src.Is4() || len(p.options)%4 != 0 {
		return p, errors.New("want [flags] ADDRESS, IPv4, with options of whole words")
	}
	for i, letter := range "FSRPAU" {
		if strings.ContainsRune(*tcp, letter) {
			p.flags |= 1 << i
		}
	}
	return p, nil
}

func protocol(s string) (byte, error) {
	known := map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP, "sctp": unix.IPPROTO_SCTP}
	if n, ok := known[s]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return byte(n), err
}

// bytes is the packet, RFC 791. The kernel fills in the header's checksum and length.
func (p forged) bytes() []byte {
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
	return append(append(b, p.options...), p.payload()...)
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
		binary.BigEndian.PutUint16(b[4:], uint16(length)) // checksum 0: none
	case unix.IPPROTO_ICMP:
		clear(b)
		b[0] = byte(p.dport)
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	case unix.IPPROTO_SCTP: // RFC 9260: tag 0, INIT chunk of 20 bytes
		b = append(b[:12], 1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1)
		binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	return b
}

// sum is TCP's checksum over the pseudo header and the segment.
func (p forged) sum(segment []byte) uint16 {
	b := append(p.src.AsSlice(), p.dst.AsSlice()...)
	b = append(b, 0, p.proto, 0, byte(len(segment)))
	return checksum(append(b, segment...))
}
