package nflog

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// message is one of the kernel's with these attributes.
func message(kind uint16, attributes ...[]byte) []byte {
	body := append([]byte{unix.AF_INET, 0, 0, 0}, slices.Concat(attributes...)...)
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	return append(append(msg, make([]byte, 10)...), body...)
}

// fromHex reads bytes with blanks between.
func fromHex(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(string(slices.DeleteFunc([]byte(text), func(b byte) bool { return b == ' ' || b == '\n' || b == '\t' })))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func packets(data []byte) (all []Packet) {
	Packets(data, func(p Packet) { all = append(all, p) })
	return all
}

// flow is that of a TCP connection from 172.18.0.2:40000 to 192.0.2.1:8080.
func flowAttribute() []byte {
	port := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	ip := attribute(tupleIP|unix.NLA_F_NESTED, append(attribute(ipSource4, []byte{172, 18, 0, 2}), attribute(ipTo4, []byte{192, 0, 2, 1})...))
	proto := attribute(tupleProto|unix.NLA_F_NESTED, slices.Concat(attribute(protoNumber, []byte{6}), attribute(protoFrom, port(40000)), attribute(protoTo, port(8080))))
	return attribute(packetFlow|unix.NLA_F_NESTED, attribute(flowOriginal|unix.NLA_F_NESTED, append(ip, proto...)))
}

// The headers say where a packet goes, and its flow says it better.
func TestPackets(t *testing.T) {
	ap := netip.MustParseAddrPort
	syn := fromHex(t, `45 00 00 28 00 00 40 00 40 06 00 00 ac 12 00 02 ac 13 00 02 9c 40 00 50 00 00 00 01`)
	about := slices.Concat(attribute(packetPrefix, []byte("mybr\x00")), attribute(packetLink, []byte{0, 0, 0, 7}), attribute(packetHWAddr, fromHex(t, "0006 0000 024200000002 0000")))
	mac := [6]byte{2, 0x42, 0, 0, 0, 2}
	for name, c := range map[string]struct {
		payload string
		want    Packet
	}{
		"TCP over IPv4": {`45 00 00 28 00 00 40 00 40 06 00 00 ac 12 00 02 c0 00 02 07 9c 40 01 bb`,
			Packet{From: ap("172.18.0.2:40000"), To: ap("192.0.2.7:443"), Proto: 6}},
		"options of IPv4": {`46 00 00 28 00 00 40 00 40 11 00 00 ac 12 00 02 c0 00 02 07 01 01 01 00 9c 40 00 35`,
			Packet{From: ap("172.18.0.2:40000"), To: ap("192.0.2.7:53"), Proto: 17}},
		"a later fragment": {`45 00 00 28 00 00 00 05 40 11 00 00 ac 12 00 02 c0 00 02 07 9c 40 00 35`,
			Packet{From: ap("172.18.0.2:0"), To: ap("192.0.2.7:0"), Proto: 17}},
		"ICMP": {`45 00 00 1c 00 00 40 00 40 01 00 00 ac 12 00 02 c0 00 02 07 08 00 00 00`,
			Packet{From: ap("172.18.0.2:0"), To: ap("192.0.2.7:0"), Proto: 1}},
		"cut short behind the header": {`45 00 00 28 00 00 40 00 40 06 00 00 ac 12 00 02 c0 00 02 07 9c`,
			Packet{From: ap("172.18.0.2:0"), To: ap("192.0.2.7:0"), Proto: 6}},
		"UDP over IPv6 behind a destination option": {`60 00 00 00 00 10 3c 40 fd000018000000000000000000000002 20010db8000000000000000000000007
			11 00 01 04 00 00 00 00 9c 40 00 7b 00 08 00 00`,
			Packet{From: ap("[fd00:18::2]:40000"), To: ap("[2001:db8::7]:123"), Proto: 17}},
		"a later fragment of IPv6": {`60 00 00 00 00 10 2c 40 fd000018000000000000000000000002 20010db8000000000000000000000007
			11 00 00 b8 00 00 00 01 9c 40 00 7b`,
			Packet{From: ap("[fd00:18::2]:0"), To: ap("[2001:db8::7]:0"), Proto: 17}},
		"an option that is cut short": {`60 00 00 00 00 10 3c 40 fd000018000000000000000000000002 20010db8000000000000000000000007 11`,
			Packet{From: ap("[fd00:18::2]:0"), To: ap("[2001:db8::7]:0"), Proto: 60}},
	} {
		c.want.Prefix, c.want.Link, c.want.MAC = "mybr", 7, mac
		got := packets(message(msgPacket, about, attribute(packetPayload, fromHex(t, c.payload))))
		if !slices.Equal(got, []Packet{c.want}) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	want := Packet{Prefix: "mybr", Link: 7, MAC: mac, Flow: true, From: ap("172.18.0.2:40000"), To: ap("192.0.2.1:8080"), Proto: 6}
	one := message(msgPacket, about, attribute(packetPayload, syn), flowAttribute())
	if got := packets(append(slices.Clone(one), one...)); !slices.Equal(got, []Packet{want, want}) {
		t.Errorf("with its flow: %+v, want two of %+v", got, want)
	}
	for name, data := range map[string][]byte{
		"nothing":                   nil,
		"without a packet":          message(msgPacket, about),
		"no IP":                     message(msgPacket, attribute(packetPayload, []byte{0x15, 0})),
		"an answer":                 message(unix.NLMSG_ERROR, attribute(packetPayload, syn)),
		"cut short":                 one[:len(one)-60],
		"shorter than it says":      append(binary.NativeEndian.AppendUint32(nil, 8), make([]byte, 20)...),
		"an attribute of no length": message(msgPacket, []byte{0, 0, 9, 0}, attribute(packetPayload, syn)),
		"a header of IPv4 that is too short": message(msgPacket, attribute(packetPayload, fromHex(t,
			`41 00 00 28 00 00 40 00 40 06 00 00 ac 12 00 02 c0 00 02 07 9c 40 01 bb`))),
	} {
		if got := packets(data); len(got) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Whatever the bytes are, reading them ends, and a packet that is told has a destination.
func FuzzPackets(f *testing.F) {
	syn := fromHex(f, `45 00 00 28 00 00 40 00 40 06 00 00 ac 12 00 02 c0 00 02 07 9c 40 01 bb`)
	f.Add(message(msgPacket, attribute(packetPrefix, []byte("mybr\x00")), attribute(packetPayload, syn)))
	f.Add(message(msgPacket, flowAttribute(), attribute(packetHWAddr, make([]byte, 12))))
	f.Add(message(msgPacket, attribute(packetPayload, fromHex(f,
		`60 00 00 00 00 10 33 40 fd000018000000000000000000000002 20010db8000000000000000000000007 00 01 00 00 00 00 00 00 00 00 00 00 2c 00 00 00 00 00 00 00 11 00 00 01`))))
	f.Fuzz(func(t *testing.T, data []byte) {
		Packets(data, func(p Packet) {
			if !p.To.Addr().IsValid() || !p.From.Addr().IsValid() {
				t.Errorf("%+v goes nowhere", p)
			}
		})
	})
}
