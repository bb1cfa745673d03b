package link

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// advertise sends a router advertisement (RFC 4861, section 4.2) with the prefix
// 2001:db8:5::/64.
func advertise(t *testing.T, router *nettest.Host, link string) {
	t.Helper()
	message := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0} // the checksum is the kernel's work; a default router for 1800 s
	message = append(message, 3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0,
		0x20, 0x01, 0x0d, 0xb8, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // prefix, for addresses, for 3600 s
	router.In(func() {
		l, err := kernel{}.getLink(link, 0)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		to := &unix.SockaddrInet6{ZoneId: uint32(l.index), Addr: [16]byte{0: 0xff, 1: 0x02, 15: 1}}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255)
		if err == nil {
			err = unix.Sendto(fd, message, 0, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// What the kernel has from a router is found, and not what the administrator has given
// the host; the default route is what goes as soon as the host forwards.
func TestLearned(t *testing.T) {
	h := nettest.New(t)
	router := h.Peer("router")
	h.Connect(nettest.End{Name: "eth0.5"}, router, nettest.End{Name: "r0", Addresses: []string{"fe80::5/64"}})
	h.Connect(nettest.End{Name: "eth1", Addresses: []string{"fd00:7::2/64", "192.0.2.2/24"}}, router, nettest.End{Name: "r1"})
	h.Run("ip", "-6", "route", "add", "default", "via", "fd00:7::1", "metric", "5000")
	h.Run("ip", "addr", "change", "192.0.2.2/24", "dev", "eth1", "valid_lft", "3600", "preferred_lft", "3600") // as of DHCP
	a := &Applier{}
	if links, err := a.Learned(); err != nil || len(links) != 0 {
		t.Errorf("%q, %v", links, err)
	}
	learned := func(why string) {
		t.Helper()
		if links, err := a.Learned(); err != nil || !slices.Equal(links, []string{"eth0.5"}) {
			t.Errorf("%s: %q, %v", why, links, err)
		}
	}
	nettest.Eventually(t, 5*time.Second, func() error {
		advertise(t, router, "r0")
		if !strings.Contains(h.Run("ip", "-6", "addr", "show", "dev", "eth0.5"), "2001:db8:5:") {
			return errors.New("no address yet")
		}
		return nil
	})
	learned("route and address")
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	if routes := h.Run("ip", "-6", "route", "show", "default"); strings.Contains(routes, "eth0.5") || !strings.Contains(routes, "eth1") {
		t.Errorf("default routes of a host that forwards: %s", routes)
	}
	learned("address")
	h.Run("ip", "addr", "flush", "dev", "eth0.5", "scope", "global")
	if links, err := a.Learned(); err != nil || len(links) != 0 {
		t.Errorf("%q, %v", links, err)
	}
	h.Run("ip", "-6", "route", "add", "default", "via", "fe80::5", "dev", "eth0.5", "proto", "ra")
	learned("route")
}
