package nftables

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/spoof"
)

// setup is what a container does with its interface that Docker does not know of; docs/policy.md has
// the list of them.
type setup struct {
	name    string
	prepare func(s *segment) (from *nettest.Host, local string) // who asks ben then, and from where
	to      string                                              // ben's address; "": the one of IPv4
	more    model.Spoof                                         // what lets it
	passes  bool                                                // it needs nothing
}

const inner = "192.168.7.2"

// behindEve is a host behind eve, which forwards for it.
func behindEve(s *segment) *nettest.Host {
	in := s.host.Peer("inner")
	s.eve.Connect(nettest.End{Name: "in0", Addresses: []string{"192.168.7.1/24"}}, in, nettest.End{Name: "eth0", Addresses: []string{inner + "/24"}})
	s.eve.Sysctl("net/ipv4/ip_forward", "1")
	in.Route("0.0.0.0/0", "192.168.7.1")
	return in
}

func setups() []setup {
	macInner := model.MAC{2, 0x42, 0, 0, 7, 7}
	own := func(address, prefix string) func(*segment) (*nettest.Host, string) {
		return func(s *segment) (*nettest.Host, string) {
			s.eve.Address("eth0", address+prefix)
			return s.eve, address
		}
	}
	return []setup{
		{name: "an address that the container gives itself", prepare: own("10.9.0.50", "/24"), more: model.Spoof{Addresses: "10.9.0.50/32"}},
		{name: "one of IPv6, as with SLAAC and privacy extensions", prepare: own("fd00:9::50", "/64"), to: bensAddr6, more: model.Spoof{Addresses: "fd00:9::/64"}},
		{name: "a link-local address that is not made of the MAC", to: "ff02::1%eth0", more: model.Spoof{Addresses: "fe80::/64"},
			prepare: func(s *segment) (*nettest.Host, string) {
				s.eve.Address("eth0", "fe80::50/64")
				return s.eve, "fe80::50%eth0"
			}},
		{name: "another MAC", more: model.Spoof{MACs: macInner.String()}, prepare: func(s *segment) (*nettest.Host, string) {
			s.eve.Run("ip", "link", "set", "eth0", "address", macInner.String())
			return s.eve, evesAddr
		}},
		{name: "a macvlan", more: model.Spoof{MACs: macInner.String(), Addresses: "10.9.0.60/32"}, prepare: func(s *segment) (*nettest.Host, string) {
			in := s.host.Peer("inner")
			s.eve.Run("ip", "link", "add", "mv0", "link", "eth0", "address", macInner.String(), "type", "macvlan", "mode", "bridge")
			in.Adopt(s.eve, "mv0", nettest.End{Name: "eth0", Addresses: []string{"10.9.0.60/24"}})
			return in, "10.9.0.60"
		}},
		{name: "a bridge", more: model.Spoof{MACs: macInner.String(), Addresses: "10.9.0.61/32"}, prepare: func(s *segment) (*nettest.Host, string) {
			in := s.host.Peer("inner")
			s.eve.Run("ip", "link", "add", "brin", "type", "bridge")
			s.eve.Run("ip", "link", "set", "brin", "up")
			s.eve.Run("ip", "link", "set", "eth0", "master", "brin")
			s.eve.Connect(nettest.End{Name: "in0", Master: "brin"}, in, nettest.End{Name: "eth0", MAC: macInner.String(), Addresses: []string{"10.9.0.61/24"}})
			return in, "10.9.0.61"
		}},
		{name: "a router, such as a VPN's", more: model.Spoof{Addresses: "192.168.7.0/24"}, prepare: func(s *segment) (*nettest.Host, string) {
			in := behindEve(s)
			s.ben.Route("192.168.7.0/24", evesAddr)
			return in, inner
		}},
		{name: "a router that masquerades, such as Docker in Docker", passes: true, prepare: func(s *segment) (*nettest.Host, string) {
			in := behindEve(s)
			s.eve.Feed("table ip n { chain p { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }", "nft", "-f", "-")
			return in, inner
		}},
	}
}

// caller sends datagrams to ben, and hears whether they arrive.
type caller struct {
	*segment
	out net.Conn
	in  net.PacketConn
}

// newCaller is one of a host, from one of its addresses to one of ben's, of the zone "eth0" where
// they need one.
func newCaller(s *segment, from *nettest.Host, local, to string) *caller {
	s.Helper()
	c := &caller{segment: s, in: s.ben.ListenPacket("udp", net.JoinHostPort(map[bool]string{true: "::", false: "0.0.0.0"}[strings.Contains(to, ":")], "0"))}
	port := c.in.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	from.In(func() {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			s.Fatal(err)
		}
		at := func(text string, port uint16) *net.UDPAddr { // the names of other namespaces' links may be remembered
			a := netip.MustParseAddr(text)
			if a.Zone() != "" {
				a = a.WithZone(strconv.Itoa(link.Index))
			}
			return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port))
		}
		if c.out, err = net.DialUDP("udp", at(local, 0), at(to, port)); err != nil {
			s.Fatal(err)
		}
	})
	s.Cleanup(func() { c.out.Close() })
	return c
}

// call sends a datagram and reports whether it arrives soon.
func (c *caller) call() bool {
	c.Helper()
	c.number++
	text, buf := fmt.Sprint("setup ", c.number), make([]byte, 64)
	if _, err := c.out.Write([]byte(text)); err != nil && !errors.Is(err, unix.EHOSTUNREACH) { // of one before, whose neighbour was not found
		c.Fatal(err)
	}
	end := time.Now().Add(100 * time.Millisecond)
	if err := c.in.SetReadDeadline(end); err != nil {
		c.Fatal(err)
	}
	for time.Now().Before(end) {
		if n, _, err := c.in.ReadFrom(buf); err == nil && string(buf[:n]) == text {
			return true
		}
	}
	return false
}

// heard waits until a datagram arrives.
func (c *caller) heard(when string) {
	c.Helper()
	nettest.Eventually(c, 10*time.Second, func() error {
		if c.call() {
			return nil
		}
		return fmt.Errorf("%s: nothing arrives; %d were refused", when, c.refused())
	})
}

// What containers do by themselves is refused where senders are checked, passes where they are only
// watched, and with the option that docs/policy.md names.
func TestSpoofSetups(t *testing.T) {
	for _, row := range setups() {
		t.Run(row.name, func(t *testing.T) {
			s := newSegment(t)
			from, local := row.prepare(s)
			c := newCaller(s, from, local, cmp.Or(row.to, bensAddr))
			c.heard("not checked")
			checked := spoof.Set{Ports: []spoof.Port{evesPort(model.Spoof{})}}
			s.apply(nil, checked)
			if row.passes {
				c.heard("checked")
				return
			}
			for range 3 { // it has been heard, so that all neighbours are known
				before := s.refused()
				if c.call() {
					t.Fatal("checked: it arrives")
				}
				if s.refused() == before {
					t.Fatal("checked: it does not arrive, and was not refused")
				}
			}
			audited := spoof.Set{Ports: []spoof.Port{evesPort(model.Spoof{})}}
			audited.Ports[0].Audited = true
			s.apply(&checked, audited)
			before := s.refused()
			c.heard("only watched")
			if s.refused() == before {
				t.Error("only watched: it was not counted")
			}
			s.apply(&audited, spoof.Set{Ports: []spoof.Port{evesPort(row.more)}})
			c.heard(fmt.Sprintf("with %+v", row.more))
		})
	}
}
