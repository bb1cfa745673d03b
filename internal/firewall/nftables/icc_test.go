package nftables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/icc"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/spoof"
)

// iccSet is eve and ben on a network with a list, each of some groups.
func iccSet(t testing.TB, list, eves, bens string) spoof.Set {
	t.Helper()
	l, err := icc.Parse(list)
	if err != nil {
		t.Fatal(err)
	}
	eve, ben := evesPort(model.Spoof{}), spoof.Port{Link: "vethben", Bridge: "br9", MAC: macBen, V4: netip.MustParseAddr(bensAddr), V6: netip.MustParseAddr(bensAddr6)}
	eve.Listed, eve.Class, ben.Listed, ben.Class = true, l.Class(eves), true, l.Class(bens)
	addr := netip.MustParseAddr
	return spoof.Set{Ports: []spoof.Port{ben, eve}, Networks: []spoof.Network{spoof.NewNetwork("br9", l, []string{eve.Class, ben.Class},
		[]netip.Addr{addr(gateway), addr(gateway6)}, []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("fd00:9::/64")})}}
}

// passes sends a frame from eve, which must arrive at ben, and drops one that must not: what may
// pass is sent behind it, and comes first.
func (s *segment) passes(name string, frame []byte) {
	s.Helper()
	mark := s.send(frame)
	nettest.Eventually(s, 5*time.Second, func() error {
		if s.seen(mark) {
			return nil
		}
		return fmt.Errorf("%s did not arrive", name)
	})
}

func (s *segment) drops(name string, frame []byte) {
	s.Helper()
	dropped := s.send(frame)
	mark := s.send(ether(macAll, macEve, 0x806, arpFrame(1, macEve, evesAddr, model.MAC{}, bensAddr)))
	b := make([]byte, 2048)
	nettest.Eventually(s, 5*time.Second, func() error {
		for {
			n, err := unix.Read(s.rx, b)
			switch {
			case err != nil:
				return fmt.Errorf("what was sent behind %s did not arrive", name)
			case bytes.HasSuffix(b[:n], dropped):
				s.Fatalf("%s arrived", name)
			case bytes.HasSuffix(b[:n], mark):
				return nil
			}
		}
	})
}

// segmentOf is a TCP segment without data.
func segmentOf(sport, dport uint16, flags byte) []byte {
	b := make([]byte, 20)
	b[0], b[1], b[2], b[3] = byte(sport>>8), byte(sport), byte(dport>>8), byte(dport)
	b[12], b[13] = 5<<4, flags
	return b
}

// chunk is an SCTP packet with the beginning of a chunk.
func chunk(sport, dport uint16, kind byte) []byte {
	return append([]byte{byte(sport >> 8), byte(sport), byte(dport >> 8), byte(dport), 0, 0, 0, 0, 0, 0, 0, 0}, kind, 0, 0, 4)
}

// The flags of TCP (RFC 9293, 3.1).
const fin, syn, rst, psh, ack, urg = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

// What eve may begin, and what counts as her answer, frame by frame: she is a server, and ben her
// client.
func TestICCFrames(t *testing.T) {
	s := newSegment(t)
	s.apply(nil, iccSet(t, "client>server:5432,client>server/icmp,server>client:9000-9010/udp", "server", "client"))
	for _, v := range []struct {
		name   string
		kind   uint16
		packet func(proto byte, body []byte) []byte
		icmp   byte
	}{
		{"IPv4", 0x800, func(proto byte, body []byte) []byte { return ip4(evesAddr, bensAddr, proto, 0, body) }, 1},
		{"IPv6", 0x86dd, func(proto byte, body []byte) []byte { return ip6(evesAddr6, bensAddr6, proto, body) }, 58},
		{"IPv6 behind an extension header", 0x86dd, func(proto byte, body []byte) []byte { return ip6(evesAddr6, bensAddr6, 60, extension(proto, body)) }, 58},
	} {
		types := map[bool][]byte{true: {0, 3, 11, 12, 8, 5, 13}, false: {129, 1, 3, 4, 128, 127, 139}}[v.icmp == 1] // echo reply, three errors, echo request, two others
		of := func(proto byte, body []byte) []byte { return ether(macBen, macEve, v.kind, v.packet(proto, body)) }
		icmp := func(kind byte) []byte { return of(v.icmp, []byte{kind, 0, 0, 0, 0, 0, 0, 0}) }
		for _, f := range []struct {
			name   string
			frame  []byte
			passes bool
		}{
			{"SYN from the port", of(6, segmentOf(5432, 40000, syn)), false},
			{"SYN with everything but ACK and RST", of(6, segmentOf(5432, 40000, syn|fin|psh|urg|0xc0)), false},
			{"SYN with ACK", of(6, segmentOf(5432, 40000, syn|ack)), true},
			{"ACK", of(6, segmentOf(5432, 40000, ack)), true},
			{"RST", of(6, segmentOf(5432, 40000, rst)), true},
			{"no flags", of(6, segmentOf(5432, 40000, 0)), false},
			{"ACK from another port", of(6, segmentOf(5433, 40000, ack)), false},
			{"SYN to the port", of(6, segmentOf(40000, 5432, syn)), false},
			{"a TCP header that is cut off", of(6, segmentOf(5432, 40000, ack)[:8]), false},
			{"INIT from the port", of(132, chunk(5432, 40000, 1)), false},
			{"INIT ACK", of(132, chunk(5432, 40000, 2)), true},
			{"DATA", of(132, chunk(5432, 40000, 0)), true},
			{"DATA from another port", of(132, chunk(5433, 40000, 0)), false},
			{"UDP that nobody has asked for", of(17, udp(5432, 40000, nil)), false},
			{"UDP to the first port", of(17, udp(40000, 9000, nil)), true},
			{"UDP to the last port", of(17, udp(40000, 9010, nil)), true},
			{"UDP before the first port", of(17, udp(40000, 8999, nil)), false},
			{"UDP behind the last port", of(17, udp(40000, 9011, nil)), false},
			{"TCP to the port", of(6, segmentOf(40000, 9000, syn)), false},
			{"GRE", of(47, make([]byte, 8)), false},
			{"echo reply", icmp(types[0]), true}, {"an error", icmp(types[1]), true}, {"another error", icmp(types[2]), true}, {"a third error", icmp(types[3]), true},
			{"echo request", icmp(types[4]), false}, {"another message", icmp(types[5]), false}, {"yet another", icmp(types[6]), false},
		} {
			if name := v.name + ": " + f.name; f.passes {
				s.passes(name, f.frame)
			} else {
				s.drops(name, f.frame)
			}
		}
	}
	second := ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 1, []byte("12345678")))
	for _, f := range []frame{
		{"ARP", ether(macBen, macEve, 0x806, arpFrame(2, macEve, evesAddr, macBen, bensAddr))},
		{"a solicitation", ether(macAll6, macEve, 0x86dd, ip6(evesAddr6, "ff02::1:ff00:3", 58, nd(evesAddr6, "ff02::1:ff00:3", 135, bensAddr6, 1, macEve)))},
		{"an advertisement", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 58, nd(evesAddr6, bensAddr6, 136, evesAddr6, 2, macEve)))},
		{"MLDv2", ether(macAll6, macEve, 0x86dd, ip6("::", "ff02::16", 0, append([]byte{58, 0, 5, 2, 0, 0, 1, 0}, 143, 0, 0, 0, 0, 0, 0, 0)))},
		{"IGMP", ether(macAll, macEve, 0x800, ip4(evesAddr, "224.0.0.22", 2, 0, make([]byte, 8)))},
		{"a second fragment", second},
		{"a second fragment of IPv6", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 44, fragment6(17, 1, false, []byte("12345678"))))},
		{"a first fragment", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 0x2000, udp(40000, 9000, nil)))},
		{"a broadcast to the port", ether(macAll, macEve, 0x800, ip4(evesAddr, "255.255.255.255", 17, 0, udp(40000, 9000, nil)))},
		{"with a tag, to the port", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 0, udp(40000, 9000, nil)), 0)},
	} {
		s.passes(f.name, f.bytes)
	}
	for _, f := range []frame{
		{"a first fragment to another port", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 0x2000, udp(40000, 9011, nil)))},
		{"a broadcast to another port", ether(macAll, macEve, 0x800, ip4(evesAddr, "255.255.255.255", 17, 0, udp(40000, 9011, nil)))},
		{"multicast to another port", ether(macAll6, macEve, 0x86dd, ip6(evesLocal, "ff02::1", 17, udp(40000, 9011, nil)))},
		{"with a tag, to another port", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 0, udp(40000, 9011, nil)), 0)},
		{"a first fragment without the flags of TCP", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 6, 0x2000, segmentOf(5432, 40000, ack)[:8]))},
		{"a first fragment with SYN", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 6, 0x2000, segmentOf(5432, 40000, syn)[:16]))},
		{"a first fragment of IPv6 without the flags of TCP", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 44, fragment6(6, 0, true, segmentOf(5432, 40000, ack)[:8])))},
		{"a first fragment of IPv6 with SYN", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 44, fragment6(6, 0, true, segmentOf(5432, 40000, syn)[:16])))},
		{"a fragment of IPv6 that is all", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 44, fragment6(6, 0, false, segmentOf(5432, 40000, syn))))},
		{"a first fragment whose headers go on in the next", ether(macBen, macEve, 0x86dd, ip6(evesAddr6, bensAddr6, 44, fragment6(60, 0, true, []byte{6, 2, 1, 4, 0, 0, 0, 0})))},
		{"SYN behind a tag of a network", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 6, 0, segmentOf(5432, 40000, syn)), 7)},
		{"IPv4 within IPv4", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 4, 0, ip4(evesAddr, bensAddr, 6, 0, segmentOf(5432, 40000, ack))))},
	} {
		s.drops(f.name, f.bytes)
	}
	// Answers by UDP pass to who has asked, from where it was asked for; and no longer when the list
	// does not let that be asked.
	answer := ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 0, udp(5432, 40001, nil)))
	s.drops("UDP that ben has not asked for", answer)
	s.ben.In(func() {
		c, err := net.DialUDP("udp4", &net.UDPAddr{Port: 40001}, &net.UDPAddr{IP: net.ParseIP(evesAddr), Port: 5432})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
	})
	s.passes("UDP that ben has asked for", answer)
	s.apply(nil, iccSet(t, "client>server:5432,client>server/icmp,server>client:9000-9010/udp", "server", "client"))
	s.passes("the same after a look at everything", answer)
	s.drops("the same to another port", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 17, 0, udp(5432, 40002, nil))))
	have := iccSet(t, "client>server:5432,client>server/icmp,server>client:9000-9010/udp", "server", "client")
	s.apply(&have, iccSet(t, "client>server:5433,client>server/icmp,server>client:9000-9010/udp", "server", "client"))
	s.drops("UDP that ben may not ask for any more", answer)
	s.drops("an answer from a port that is not listed any more", ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 6, 0, segmentOf(5432, 40000, ack))))

	// Without anything between two classes not even fragments pass.
	s.apply(nil, iccSet(t, "client>server:5432", "client", ""))
	s.drops("a second fragment to a stranger", second)
	s.apply(nil, spoof.Set{})
	s.passes("a second fragment without a list", second)
	if text := s.host.Run("nft", "list", "tables"); strings.Contains(text, spoofTable) {
		t.Errorf("left: %s", text)
	}
}

// Real connections, whether or not br_netfilter has iptables see what is bridged: what is listed
// works in both families and directions, nothing else does, and neither way goes round by the host.
func TestICCConnections(t *testing.T) {
	s := newSegment(t)
	for _, h := range []*nettest.Host{s.host, s.eve, s.ben} {
		h.Run("sh", "-c", "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range")
	}
	s.host.Sysctl("net/ipv4/ip_forward", "1")
	s.host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	ports := map[string]uint16{"tcp": 5432, "udp": 5353}
	for network, port := range ports {
		for _, p := range []uint16{port, port + 1} {
			s.ben.Echo(network, fmt.Sprintf("[::]:%d", p))
			s.eve.Echo(network, fmt.Sprintf("[::]:%d", p))
			s.host.Echo(network, fmt.Sprintf("[::]:%d", p))
		}
	}
	asks := func(from *nettest.Host, network, address string, port uint16, want bool) {
		t.Helper()
		within := 5 * time.Second
		if !want {
			within = 300 * time.Millisecond
		}
		at := net.JoinHostPort(address, fmt.Sprint(port))
		if _, err := from.Ask(network, at, within); (err == nil) != want {
			t.Errorf("%s asks %s %s: %v, want %t", from.Name, network, at, err, want)
		}
	}
	list := iccSet(t, "web>db:5432/tcp,web>db:5353/udp,web>db:5355/udp,web>db/icmp", "web", "db")
	s.apply(nil, list)
	for _, call := range []string{"0", "1"} {
		s.host.Run("sh", "-c", "for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $f ] || echo "+call+" > $f; done")
		for _, to := range []struct{ eve, ben, host string }{{evesAddr, bensAddr, gateway}, {evesAddr6, bensAddr6, gateway6}} {
			for network, port := range ports {
				asks(s.eve, network, to.ben, port, true)
				asks(s.eve, network, to.ben, port+1, false)
				asks(s.ben, network, to.eve, port, false)
				asks(s.eve, network, to.host, port+1, true) // the host is none of the list's
				asks(s.host, network, to.eve, port+1, true)
			}
			fragmented(t, s.eve, net.JoinHostPort(to.ben, "5353"))
			// Nobody listens there, and says so.
			c, err := s.eve.Dial("udp", net.JoinHostPort(to.ben, "5355"), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := nettest.AskOn(c, 5*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("to a closed port of %s: %v", to.ben, err)
			}
			c.Close()
			if !pings(s.eve, to.ben) || pings(s.ben, to.eve) {
				t.Errorf("pings between %s and %s", to.eve, to.ben)
			}
			// By the host's hardware address the host would route it to ben.
			bits := map[bool]string{true: "/32", false: "/128"}[to.host == gateway]
			s.eve.Run("ip", "route", "add", to.ben+bits, "via", to.host)
			asks(s.eve, "tcp", to.ben, 5433, false)
			asks(s.eve, "tcp", to.ben, 5432, false)
			s.eve.Run("ip", "route", "del", to.ben+bits)
		}
	}
	// A connection that is no longer allowed ends: nothing of it passes in either direction.
	c, err := s.eve.Dial("tcp", bensAddr+":5432", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := nettest.AskOn(c, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	less := iccSet(t, "web>db:5353/udp,web>db/icmp", "web", "db")
	s.apply(&list, less)
	answers := func(within time.Duration) error {
		if err := c.SetDeadline(time.Now().Add(within)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("more")); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 64))
		return err
	}
	if err := answers(300 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that is not allowed any more: %v", err)
	}
	s.apply(&less, list)
	if err := answers(10 * time.Second); err != nil {
		t.Errorf("and again allowed: %v", err)
	}
}

// fragmented asks an echo server of UDP with more than fits into a frame.
func fragmented(t *testing.T, from *nettest.Host, at string) {
	t.Helper()
	c, err := from.Dial("udp", at, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 64<<10)); err != nil || n < 5000 {
		t.Errorf("%s answers fragments with %d bytes, %v", at, n, err)
	}
}

// pings reports whether an address answers, by a socket of the kernel's for that (icmp(7)).
func pings(from *nettest.Host, address string) (answered bool) {
	a := netip.MustParseAddr(address)
	family, proto, request := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
	var to unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(a.AsSlice()[:4])}
	if a.Is6() {
		family, proto, request = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
		to = &unix.SockaddrInet6{Addr: a.As16()}
	}
	from.In(func() {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return
		}
		defer unix.Close(fd)
		if unix.Sendto(fd, []byte{request, 0, 0, 0, 0, 0, 0, 1}, 0, to) != nil {
			return
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 500)
		answered = err == nil && n == 1
	})
	return answered
}

// One more container of a network is some elements, whatever containers and networks there are.
func TestICCOneMore(t *testing.T) {
	l, err := icc.Parse("web>db:5432,web>cache:6379,*>dns:53/udp")
	if err != nil {
		t.Fatal(err)
	}
	many := spoof.Set{}
	for n := range 20 {
		bridge := fmt.Sprintf("br%02d", n)
		many.Networks = append(many.Networks, spoof.NewNetwork(bridge, l, nil, nil, nil))
		for i := range 50 {
			many.Ports = append(many.Ports, spoof.Port{Link: fmt.Sprintf("veth%02d%02d", n, i), Bridge: bridge, MAC: model.MAC{2, 0, 0, 0, byte(n), byte(i)},
				V4: netip.AddrFrom4([4]byte{10, byte(n), 0, byte(i)}), Listed: true, Class: []string{"", "web", "db", "cache", "dns"}[i%5]})
		}
	}
	more := many
	more.Ports = append(many.Ports[:len(many.Ports):len(many.Ports)], spoof.Port{Link: "vethnew", Bridge: "br07", MAC: macEve, V4: netip.MustParseAddr("10.7.0.99"), Listed: true, Class: "web"})
	p, err := (&Spoof{}).Plan(context.Background(), &many, more)
	// Of senders five; then those of the class, of the network and of the host; and three classes
	// that it may begin something to, or answer.
	if err != nil || len(p) != 1 || len(p.Changes()) != 11 {
		t.Fatalf("%v: %d changes: %q", err, len(p.Changes()), p.Changes())
	}
	for _, line := range p.Changes() {
		if !strings.Contains(line, "add element") || !strings.Contains(line, "vethnew") {
			t.Error(line)
		}
	}
	for _, e := range (&Spoof{}).Explain(more) {
		if e.Why == "" {
			t.Errorf("%+v has no reason", e)
		}
	}
	// A list that changes is its own network's business.
	relisted := many
	relisted.Networks = append([]spoof.Network(nil), many.Networks...)
	other, err := icc.Parse("web>db:5433")
	if err != nil {
		t.Fatal(err)
	}
	relisted.Networks[7] = spoof.NewNetwork("br07", other, nil, nil, nil)
	for i := range relisted.Ports {
		if relisted.Ports[i].Bridge == "br07" {
			relisted.Ports = append([]spoof.Port(nil), relisted.Ports...)
			break
		}
	}
	for i, port := range relisted.Ports {
		if port.Bridge == "br07" {
			relisted.Ports[i].Class = other.Class(port.Class)
		}
	}
	p, err = (&Spoof{}).Plan(context.Background(), &many, relisted)
	if err != nil || len(p) != 1 {
		t.Fatal(p, err)
	}
	for _, line := range p.Changes() {
		for n := range 20 {
			if n != 7 && strings.Contains(line, fmt.Sprintf(`"veth%02d`, n)) {
				t.Errorf("another network's: %s", line)
			}
		}
	}
}
