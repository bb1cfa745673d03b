package nftables

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/spoof"
)

// segment is a bridge with three ports: eve, whose sender is checked or not, ben, her neighbour,
// and adm, which nobody checks.
type segment struct {
	*testing.T
	host     *nettest.Host
	eve, ben *nettest.Host
	tx, rx   int // packet sockets: eve's to send, ben's to receive
	number   uint64
	spoof    *Spoof
}

var (
	macEve  = model.MAC{2, 0x42, 0, 0, 0, 2}
	macBen  = model.MAC{2, 0x42, 0, 0, 0, 3}
	macHost = model.MAC{2, 0x42, 0, 0, 0, 1}
	macVRRP = model.MAC{0, 0, 0x5e, 0, 1, 0x33} // RFC 5798, 7.3
	macAll  = model.MAC{255, 255, 255, 255, 255, 255}
	macAll6 = model.MAC{0x33, 0x33, 0, 0, 0, 1}
)

const (
	evesAddr, evesAddr6 = "10.9.0.2", "fd00:9::2"
	bensAddr, bensAddr6 = "10.9.0.3", "fd00:9::3"
	gateway, gateway6   = "10.9.0.1", "fd00:9::1"
	evesLocal           = "fe80::42:ff:fe00:2"
	gatewaysLocal       = "fe80::42:ff:fe00:1"
)

func evesPort(more model.Spoof) spoof.Port {
	return spoof.Port{Link: "vetheve", Bridge: "br9", MAC: macEve, V4: netip.MustParseAddr(evesAddr), V6: netip.MustParseAddr(evesAddr6), More: more}
}

func newSegment(t *testing.T) *segment {
	t.Helper()
	h := nettest.New(t)
	s := &segment{T: t, host: h, eve: h.Peer("eve"), ben: h.Peer("ben"), spoof: NewSpoof(t.Errorf)}
	t.Cleanup(s.spoof.Close)
	if err := s.spoof.Lacks(); err != nil {
		t.Fatal(err)
	}
	// br_netfilter, where it is loaded, cuts off what is behind an IP packet in a frame.
	h.Run("sh", "-c", "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done")
	h.Run("ip", "link", "add", "br9", "address", macHost.String(), "type", "bridge", "mcast_snooping", "0", "no_linklocal_learn", "0")
	h.Run("ip", "link", "set", "br9", "up")
	h.Address("br9", gateway+"/24")
	h.Address("br9", gateway6+"/64")
	h.Connect(nettest.End{Name: "vetheve", Master: "br9"}, s.eve, nettest.End{Name: "eth0", MAC: macEve.String(), Addresses: []string{evesAddr + "/24", evesAddr6 + "/64"}})
	h.Connect(nettest.End{Name: "vethben", Master: "br9"}, s.ben, nettest.End{Name: "eth0", MAC: macBen.String(), Addresses: []string{bensAddr + "/24", bensAddr6 + "/64"}})
	s.tx, s.rx = s.socket(s.eve, 0), s.socket(s.ben, unix.ETH_P_ALL)
	return s
}

// socket is a packet socket on a container's eth0.
func (s *segment) socket(in *nettest.Host, protocol uint16) (fd int) {
	s.Helper()
	in.In(func() {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			s.Fatal(err)
		}
		network := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, protocol))
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(network)); err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Index, Protocol: network})
		}
		if err != nil {
			s.Fatal(err)
		}
	})
	s.Cleanup(func() { unix.Close(fd) })
	return fd
}

// send sends a frame with something behind it by which it is known.
func (s *segment) send(frame []byte) (mark []byte) {
	s.Helper()
	s.number++
	mark = binary.BigEndian.AppendUint64([]byte("mybr"), s.number)
	if _, err := unix.Write(s.tx, append(bytes.Clone(frame), mark...)); err != nil {
		s.Fatal(err)
	}
	return mark
}

// seen reports whether ben has got a frame with a mark.
func (s *segment) seen(mark []byte) bool {
	b := make([]byte, 2048)
	for {
		n, err := unix.Read(s.rx, b)
		if err != nil {
			return false
		}
		if bytes.HasSuffix(b[:n], mark) {
			return true
		}
	}
}

// refused is how many of eve's frames were dropped, or have passed only because she is watched.
func (s *segment) refused() uint64 {
	s.Helper()
	refused, passed := s.counts()
	return refused + passed
}

// counts is both.
func (s *segment) counts() (refused, passed uint64) {
	s.Helper()
	were, have, err := s.spoof.Refused(context.Background())
	if err != nil {
		s.Fatal(err)
	}
	return were["vetheve"], have["vetheve"]
}

// arrives sends a frame, which must arrive.
func (s *segment) arrives(name string, frame []byte) {
	s.Helper()
	before, mark := s.refused(), s.send(frame)
	nettest.Eventually(s, 5*time.Second, func() error {
		if s.seen(mark) {
			return nil
		}
		return fmt.Errorf("%s did not arrive; %d were refused", name, s.refused()-before)
	})
}

// stopped sends a frame, which must be counted as refused, and must not arrive.
func (s *segment) stopped(name string, frame []byte) {
	s.Helper()
	before, mark := s.refused(), s.send(frame)
	nettest.Eventually(s, 5*time.Second, func() error {
		if s.seen(mark) {
			s.Fatalf("%s arrived", name)
		}
		if s.refused() == before {
			return fmt.Errorf("%s was not refused", name)
		}
		return nil
	})
}

func (s *segment) apply(have *spoof.Set, want spoof.Set) {
	s.Helper()
	if err := s.spoof.Apply(context.Background(), have, want); err != nil {
		s.Fatal(err)
	}
}

// frame is one that eve sends.
type frame struct {
	name  string
	bytes []byte
}

// honest is what an endpoint sends by right.
func honest() []frame {
	v4 := func(src string) []byte { return ip4(src, bensAddr, 17, 0, udp(7, 7, nil)) }
	return []frame{
		{"IPv4", ether(macBen, macEve, 0x800, v4(evesAddr))},
		{"IPv4 with a tag", ether(macBen, macEve, 0x800, v4(evesAddr), 0)},
		{"a first fragment", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 0x2000, udp(7, 7, nil)))},
		{"a second fragment", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 1, []byte("12345678")))},
		{"a second fragment whose data begins like DHCP to a client", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 1, udp(7, 68, nil)))},
		{"the same like that of a server", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 1, udp(67, 7, nil)))},
		{"the same with a tag", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 1, udp(67, 68, nil)), 0)},
		{"IGMP without an address", ether(macAll, macEve, 0x800, ip4("0.0.0.0", "224.0.0.22", 2, 0, make([]byte, 8)))},
		{"DHCP of a client", ether(macAll, macEve, 0x800, ip4("0.0.0.0", "255.255.255.255", 17, 0, udp(68, 67, nil)))},
		{"ARP that asks", ether(macAll, macEve, 0x806, arpFrame(1, macEve, evesAddr, model.MAC{}, bensAddr))},
		{"ARP that answers", ether(macBen, macEve, 0x806, arpFrame(2, macEve, evesAddr, macBen, bensAddr))},
		{"ARP that announces", ether(macAll, macEve, 0x806, arpFrame(1, macEve, evesAddr, model.MAC{}, evesAddr))},
		{"ARP that looks for its own address", ether(macAll, macEve, 0x806, arpFrame(1, macEve, "0.0.0.0", model.MAC{}, evesAddr))},
		{"IPv6", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 17, udp(7, 7, nil)))},
		{"IPv6 from its link-local address", ether(macBen, macEve, 0x86dd, ip6(evesLocal, "ff02::1", 17, udp(7, 7, nil)))},
		{"ICMPv6 echo", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 58, []byte{128, 0, 0, 0, 0, 1, 0, 1}))},
		{"a fragment of ICMPv6 echo", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 44, fragment6(58, 0, true, []byte{128, 0, 0, 0, 0, 1, 0, 1})))},
		{"the second one", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 44, fragment6(58, 1, false, []byte{136, 0, 0, 0, 0, 1, 0, 1})))},
		{"a second fragment of UDP in IPv6 whose data begins like DHCPv6", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 44, fragment6(17, 1, false, udp(547, 546, nil))))},
		{"one with the flow label 546", ether(macBen, macEve, 0x86dd, labelled(546, ip6(evesAddr6, bensAddr6, 44, fragment6(17, 1, false, udp(7, 7, nil)))))},
		{"MLDv2 without an address", ether(macAll6, macEve, 0x86dd, ip6("::", "ff02::16", 0, append([]byte{58, 0, 5, 2, 0, 0, 1, 0}, 143, 0, 0, 0, 0, 0, 0, 0)))},
		{"a solicitation of routers", ether(macAll6, macEve, 0x86dd, ip6(evesLocal, "ff02::2", 58, nd(evesLocal, "ff02::2", 133, "", 1, macEve)))},
		{"a search for duplicates of its own address", ether(macAll6, macEve, 0x86dd, ip6("::", "ff02::1:ff00:2", 58, nd("::", "ff02::1:ff00:2", 135, evesAddr6, 0, macEve)))},
		{"a solicitation", ether(macAll6, macEve, 0x86dd, ip6(evesAddr6, "ff02::1:ff00:3", 58, nd(evesAddr6, "ff02::1:ff00:3", 135, bensAddr6, 1, macEve)))},
		{"an advertisement", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 58, nd(evesAddr6, bensAddr6, 136, evesAddr6, 2, macEve)))},
		{"DHCPv6 of a client", ether(macAll6, macEve, 0x86dd, ip6(evesLocal, "ff02::1:2", 17, udp(546, 547, nil)))},
	}
}

// forged is what is somebody else's.
func forged() []frame {
	advert := func(from string) []byte { return nd(from, "ff02::1", 134, "", 1, macEve) }
	return []frame{
		{"another MAC", ether(macBen, model.MAC{2, 9, 9, 9, 9, 8}, 0x800, ip4(evesAddr, bensAddr, 17, 0, udp(7, 7, nil)))},
		{"another MAC of a broadcast", ether(macAll, model.MAC{2, 9, 9, 9, 9, 9}, 0x800, ip4(evesAddr, bensAddr, 17, 0, udp(7, 7, nil)))},
		{"the gateway's MAC in IPv6", ether(macAll6, macHost, 0x86dd, ip6(evesAddr6, "ff02::1", 17, udp(7, 7, nil)))},
		{"the gateway's MAC in ARP", ether(macAll, macHost, 0x806, arpFrame(1, macEve, evesAddr, model.MAC{}, bensAddr))},
		{"IPv4 from a neighbour", ether(macBen, macEve, 0x800, ip4("10.9.0.4", bensAddr, 17, 0, udp(7, 7, nil)))},
		{"IPv4 from outside", ether(macBen, macEve, 0x800, ip4("192.0.2.9", bensAddr, 6, 0, make([]byte, 20)))},
		{"IPv4 from nobody", ether(macBen, macEve, 0x800, ip4("0.0.0.0", bensAddr, 17, 0, udp(7, 7, nil)))},
		{"a second fragment from nobody whose data begins like DHCP", ether(macBen, macEve, 0x800, ip4("0.0.0.0", bensAddr, 17, 1, udp(68, 67, nil)))},
		{"a fragment from a neighbour", ether(macBen, macEve, 0x800, ip4("10.9.0.4", bensAddr, 17, 1, []byte("12345678")))},
		{"IPv4 with a tag from a neighbour", ether(macBen, macEve, 0x800, ip4("10.9.0.4", bensAddr, 17, 0, udp(7, 7, nil)), 0)},
		{"IPv4 with two tags from a neighbour", ether(macBen, macEve, 0x800, ip4("10.9.0.4", bensAddr, 17, 0, udp(7, 7, nil)), 0, 0)},
		{"a VLAN in a VLAN", ether(macBen, macEve, 0x800, ip4("10.9.0.4", bensAddr, 17, 0, udp(7, 7, nil)), 5, 0, 0)},
		{"802.3 with LLC and SNAP", ether(macBen, macEve, 40, append([]byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, ip4("10.9.0.4", bensAddr, 17, 0, udp(7, 7, nil))...))},
		{"an unknown EtherType", ether(macBen, macEve, 0x88b5, []byte("12345678"))},
		{"the gateway's address by ARP", ether(macBen, macEve, 0x806, arpFrame(2, macEve, gateway, macBen, bensAddr))},
		{"the gateway's address by an announcement", ether(macAll, macEve, 0x806, arpFrame(1, macEve, gateway, model.MAC{}, gateway))},
		{"a neighbour's address by ARP", ether(macAll, macEve, 0x806, arpFrame(2, macEve, bensAddr, macHost, gateway))},
		{"another MAC inside ARP", ether(macBen, macEve, 0x806, arpFrame(2, macHost, evesAddr, macBen, bensAddr))},
		{"ARP that looks for somebody else's address", ether(macAll, macEve, 0x806, arpFrame(1, macEve, "0.0.0.0", model.MAC{}, bensAddr))},
		{"ARP with other lengths", ether(macAll, macEve, 0x806, append([]byte{0, 1, 8, 0, 8, 4, 0, 2}, arpFrame(2, macEve, evesAddr, macBen, bensAddr)[8:]...))},
		{"ARP with a tag about the gateway", ether(macBen, macEve, 0x806, arpFrame(2, macEve, gateway, macBen, bensAddr), 0)},
		{"DHCP of a server", ether(macAll, macEve, 0x800, ip4(evesAddr, "255.255.255.255", 17, 0, udp(67, 68, nil)))},
		{"the first fragment of a DHCP server's", ether(macAll, macEve, 0x800, ip4(evesAddr, "255.255.255.255", 17, 0x2000, udp(67, 68, nil)))},
		{"DHCP to a client from another port", ether(macAll, macEve, 0x800, ip4(evesAddr, "255.255.255.255", 17, 0, udp(6767, 68, nil)))},
		{"the same with a tag", ether(macAll, macEve, 0x800, ip4(evesAddr, "255.255.255.255", 17, 0, udp(6767, 68, nil)), 0)},
		{"IPv6 from a neighbour", ether(macBen, macEve, 0x86dd, ip6("fd00:9::4", bensAddr6, 17, udp(7, 7, nil)))},
		{"IPv6 from the gateway's link-local address", ether(macBen, macEve, 0x86dd, ip6(gatewaysLocal, "ff02::1", 17, udp(7, 7, nil)))},
		{"IPv6 from nobody", ether(macBen, macEve, 0x86dd, ip6("::", bensAddr6, 17, udp(7, 7, nil)))},
		{"ICMPv6 echo from a neighbour", ether(macBen, macEve, 0x86dd, ip6("fd00:9::4", bensAddr6, 58, []byte{128, 0, 0, 0, 0, 1, 0, 1}))},
		{"the gateway's address by an advertisement", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 58, nd(evesAddr6, bensAddr6, 136, gateway6, 2, macEve)))},
		{"the same behind an extension header", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 60, extension(58, nd(evesAddr6, bensAddr6, 136, gateway6, 2, macEve))))},
		{"the same behind two", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 0, extension(60, extension(58, nd(evesAddr6, bensAddr6, 136, gateway6, 2, macEve)))))},
		{"the same as a first fragment", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 44, fragment6(58, 0, true, nd(evesAddr6, bensAddr6, 136, gateway6, 2, macEve))))},
		{"a fragment that hides its protocol", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 44, fragment6(60, 1, false, extension(58, nd(evesAddr6, bensAddr6, 136, gateway6, 2, macEve)))))},
		{"another MAC inside an advertisement", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 58, nd(evesAddr6, bensAddr6, 136, evesAddr6, 2, macHost)))},
		{"another MAC inside a solicitation", ether(macAll6, macEve, 0x86dd, ip6(evesAddr6, "ff02::1:ff00:3", 58, nd(evesAddr6, "ff02::1:ff00:3", 135, bensAddr6, 1, macHost)))},
		{"a solicitation from a neighbour", ether(macAll6, macEve, 0x86dd, ip6("fd00:9::4", "ff02::1:ff00:3", 58, nd("fd00:9::4", "ff02::1:ff00:3", 135, bensAddr6, 1, macEve)))},
		{"a search for duplicates of somebody else's address", ether(macAll6, macEve, 0x86dd, ip6("::", "ff02::1:ff00:3", 58, nd("::", "ff02::1:ff00:3", 135, bensAddr6, 0, macEve)))},
		{"an advertisement from nobody", ether(macAll6, macEve, 0x86dd, ip6("::", "ff02::1", 58, nd("::", "ff02::1", 136, evesAddr6, 2, macEve)))},
		{"a router's advertisement", ether(macAll6, macEve, 0x86dd, ip6(evesLocal, "ff02::1", 58, advert(evesLocal)))},
		{"the same behind an extension header", ether(macAll6, macEve, 0x86dd, ip6(evesLocal, "ff02::1", 60, extension(58, advert(evesLocal))))},
		{"the same with a tag", ether(macAll6, macEve, 0x86dd, ip6(evesLocal, "ff02::1", 58, advert(evesLocal)), 0)},
		{"a router's redirect", ether(macBen, macEve, 0x86dd, ip6(evesLocal, bensAddr6, 58, nd(evesLocal, bensAddr6, 137, evesLocal, 2, macEve)))},
		{"DHCPv6 of a server", ether(macBen, macEve, 0x86dd, ip6(evesLocal, bensAddr6, 17, udp(547, 546, nil)))},
		{"DHCPv6 to a client from another port", ether(macBen, macEve, 0x86dd, ip6(evesLocal, bensAddr6, 17, udp(7777, 546, nil)))},
		{"the same behind an extension header", ether(macBen, macEve, 0x86dd, ip6(evesLocal, bensAddr6, 60, extension(17, udp(7777, 546, nil))))},
	}
}

func TestSpoof(t *testing.T) {
	s := newSegment(t)
	// Unless they are checked, all frames arrive: a neighbour may be told anything.
	all := append(honest(), forged()...)
	for _, f := range all {
		s.arrives(f.name+", not checked", f.bytes)
	}
	checked := spoof.Set{Ports: []spoof.Port{evesPort(model.Spoof{})}}
	s.apply(nil, checked)
	for _, f := range honest() {
		s.arrives(f.name, f.bytes)
	}
	for _, f := range forged() {
		s.stopped(f.name, f.bytes)
	}
	if got := s.eve.Run("cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"); got != "0\n" && got != "0" {
		t.Fatalf("eve has no IPv6: %q", got)
	}
	// Nobody else's frames are looked at, and nobody else's kernel is kept from anything.
	for _, to := range []string{bensAddr, "[" + bensAddr6 + "]", gateway, "[" + gateway6 + "]"} {
		place := s.ben
		if strings.Contains(to, "9.0.1") || strings.Contains(to, "::1") {
			place = s.host
		}
		port := place.Echo("udp", to+":0")
		if _, err := s.eve.Ask("udp", port.String(), 3*time.Second); err != nil {
			t.Errorf("eve asks %s: %v", to, err)
		}
	}
	audited := spoof.Set{Ports: []spoof.Port{checked.Ports[0]}}
	audited.Ports[0].Audited = true
	s.apply(&checked, audited)
	if refused, passed := s.counts(); refused != 0 || passed != 0 {
		s.Errorf("what was refused before, %d frames, counts as what has passed, %d", refused, passed)
	}
	for _, f := range honest() {
		before := s.refused()
		s.arrives(f.name+", only counted", f.bytes)
		if after := s.refused(); after != before {
			s.Errorf("%s: %d frames were counted", f.name, after-before)
		}
	}
	for _, f := range forged() {
		before := s.refused()
		s.arrives(f.name+", only counted", f.bytes)
		if s.refused() == before {
			s.Errorf("%s was not counted", f.name)
		}
	}
	if refused, passed := s.counts(); refused != 0 || passed < uint64(len(forged())) {
		s.Errorf("%d frames were refused of a port that is only watched, and %d have passed", refused, passed)
	}
	s.apply(&audited, checked)
	if refused, passed := s.counts(); refused != 0 || passed != 0 {
		s.Errorf("what has passed before, %d frames, counts as refused, %d", passed, refused)
	}
	for _, f := range forged() {
		s.stopped(f.name+", checked again", f.bytes)
	}
	s.apply(&checked, spoof.Set{})
	if text := s.host.Run("nft", "list", "tables"); strings.Contains(text, spoofTable) {
		t.Errorf("left: %s", text)
	}
	for _, f := range forged() {
		s.arrives(f.name+", not checked any more", f.bytes)
	}
}

// A bridge forwards to nobody what is for its own link alone, but it would learn from it where
// somebody is. (What is for 01:80:c2:00:00:0e, LLDP, passes no hook: bridges of mybr's don't learn
// from any of these.)
func TestSpoofWhatIsNotForwarded(t *testing.T) {
	s := newSegment(t)
	eapol := ether(model.MAC{1, 0x80, 0xc2, 0, 0, 3}, macVRRP, 0x888e, make([]byte, 46))
	port := func() string {
		for line := range strings.Lines(s.host.Run("bridge", "fdb", "show", "br", "br9")) {
			if strings.HasPrefix(line, macVRRP.String()) {
				return line
			}
		}
		return ""
	}
	s.send(eapol)
	nettest.Eventually(t, 5*time.Second, func() error {
		if port() == "" {
			return fmt.Errorf("without a check the bridge learns nothing from it: the test says nothing")
		}
		return nil
	})
	s.host.Run("bridge", "fdb", "del", macVRRP.String(), "dev", "vetheve", "master")
	s.apply(nil, spoof.Set{Ports: []spoof.Port{evesPort(model.Spoof{})}})
	before := s.refused()
	s.send(eapol)
	nettest.Eventually(t, 5*time.Second, func() error {
		if s.refused() == before {
			return fmt.Errorf("it was not refused")
		}
		return nil
	})
	if line := port(); line != "" {
		t.Errorf("the bridge has learnt %q", line)
	}
}

// What an endpoint may send besides its own is what its options say, and no more.
func TestSpoofMore(t *testing.T) {
	s := newSegment(t)
	vip, vip6 := "10.9.0.100", "fd00:9::100"
	foreign := ether(macBen, macEve, 0x800, ip4("10.244.1.7", bensAddr, 17, 0, udp(7, 7, nil)))
	foreign6 := ether(macBen, macEve, 0x86dd, ip6("fd00:244::7", bensAddr6, 17, udp(7, 7, nil)))
	virtual := ether(macAll, macVRRP, 0x806, arpFrame(1, macVRRP, vip, model.MAC{}, vip))
	announced := ether(macAll, macEve, 0x806, arpFrame(1, macEve, vip, model.MAC{}, vip))
	probe := ether(macAll, macEve, 0x806, arpFrame(1, macEve, "0.0.0.0", model.MAC{}, vip))
	announced6 := ether(macAll6, macEve, 0x86dd, ip6(evesLocal, "ff02::1", 58, nd(evesLocal, "ff02::1", 136, vip6, 2, macEve)))
	search6 := ether(macAll6, macEve, 0x86dd, ip6("::", "ff02::1", 58, nd("::", "ff02::1", 135, vip6, 0, macEve)))
	nested := ether(macBen, macVRRP, 0x800, ip4(evesAddr, bensAddr, 17, 0, udp(7, 7, nil)))
	offer := ether(macAll, macEve, 0x800, ip4(evesAddr, "255.255.255.255", 17, 0, udp(67, 68, nil)))
	offer6 := ether(macBen, macEve, 0x86dd, ip6(evesLocal, bensAddr6, 17, udp(547, 546, nil)))
	other4 := ether(macAll, macEve, 0x800, ip4(evesAddr, "255.255.255.255", 17, 0, udp(6767, 68, nil)))
	other6 := ether(macBen, macEve, 0x86dd, ip6(evesLocal, bensAddr6, 17, udp(7777, 546, nil)))
	advert := ether(macAll6, macEve, 0x86dd, ip6(evesLocal, "ff02::1", 58, nd(evesLocal, "ff02::1", 134, "", 1, macEve)))
	others := ether(macBen, macEve, 0x800, ip4(gateway, bensAddr, 17, 0, udp(7, 7, nil)))
	pretender := ether(macAll6, macEve, 0x86dd, ip6(gatewaysLocal, "ff02::1", 58, nd(gatewaysLocal, "ff02::1", 134, "", 1, macEve)))
	all := map[string][]byte{"foreign": foreign, "foreign6": foreign6, "virtual": virtual, "announced": announced, "announced6": announced6, "probe": probe,
		"search6": search6, "nested": nested, "offer": offer, "offer6": offer6, "other4": other4, "other6": other6, "advert": advert, "others": others, "pretender": pretender}
	var have *spoof.Set
	for _, c := range []struct {
		more model.Spoof
		may  string
	}{
		{model.Spoof{}, ""},
		{model.Spoof{Addresses: "10.9.0.100/32,10.244.0.0/16,fd00:9::100/128,fd00:244::/48"}, "foreign foreign6 announced announced6 probe search6"},
		{model.Spoof{Addresses: "10.9.0.100/32", MACs: macVRRP.String()}, "virtual announced probe nested"},
		{model.Spoof{MACs: macVRRP.String()}, "nested"},
		{model.Spoof{Trusted: model.TrustDHCP}, "offer offer6 other4 other6"},
		{model.Spoof{Trusted: "dhcp,ra"}, "offer offer6 other4 other6 advert"},
		{model.Spoof{Addresses: "0.0.0.0/0"}, "foreign announced probe others"},
		{model.Spoof{Addresses: "none", MACs: "none", Trusted: "none"}, ""},
	} {
		want := spoof.Set{Ports: []spoof.Port{evesPort(c.more)}}
		s.apply(have, want)
		have = &want
		for name, f := range all {
			if strings.Contains(" "+c.may+" ", " "+name+" ") {
				s.arrives(fmt.Sprintf("%s with %+v", name, c.more), f)
			} else {
				s.stopped(fmt.Sprintf("%s with %+v", name, c.more), f)
			}
		}
	}
	// Another endpoint of the container has an address that it may answer from here, too.
	want := spoof.Set{Ports: have.Ports, Shares: []spoof.Share{{Link: "vetheve", Bridge: "br9", MAC: macEve, Addr: netip.MustParseAddr("10.244.1.7")}}}
	s.stopped("another network's", foreign)
	s.apply(have, want)
	s.arrives("another network's", foreign)
	s.stopped("yet another's", foreign6)
}

// One socket is for all changes, as the kernel would have whoever closes one wait until what was
// deleted is destroyed; it is known as mybr's own, and closed in the end.
func TestSpoofSocket(t *testing.T) {
	nettest.New(t)
	s := NewSpoof(t.Errorf)
	ctx := context.Background()
	one := spoof.Set{Ports: []spoof.Port{evesPort(model.Spoof{})}}
	ben := spoof.Port{Link: "vethben", Bridge: "br9", MAC: macBen, V4: netip.MustParseAddr(bensAddr)}
	two := spoof.Set{Ports: []spoof.Port{ben, one.Ports[0]}}
	if err := s.Apply(ctx, nil, one); err != nil {
		t.Fatal(err)
	}
	known, kept := len(s.sockets.ended), s.sockets.kept
	if kept == nil {
		t.Fatal("no socket is kept for the next change")
	}
	for range 3 {
		if err := errors.Join(s.Apply(ctx, &one, two), s.Apply(ctx, &two, one)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.sockets.ended) != known || s.sockets.kept != kept || !s.sockets.ended[kept.address].IsZero() {
		t.Errorf("changes of a port have opened other sockets: %v", s.sockets.ended)
	}
	if !s.Own(kept.address) {
		t.Error("the socket is taken for somebody else's")
	}
	if s.Close(); s.sockets.ended[kept.address].IsZero() || !s.Own(kept.address) {
		t.Errorf("closed: socket %d, ended %s", kept.address, s.sockets.ended[kept.address])
	}
	if err := s.Apply(ctx, &one, spoof.Set{}); err != nil {
		t.Errorf("after it was closed: %v", err)
	}
	s.Close()
}
