package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Local reports whether the kernel takes what is sent to an address for the host itself, or for
// everybody on a link: whether its route is of the type local, broadcast, anycast or multicast
// (rtnetlink(7)). It asks for that one route, so it costs the same however many links and
// addresses there are, and what has changed a moment ago counts.
//
// Errors: what the kernel says. That there is no way to the address is no error.
func (a *Applier) Local(addr netip.Addr) (bool, error) {
	addr = addr.Unmap()
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Dst_len: uint8(addr.BitLen())}}
	if addr.Is4() {
		header.Family = unix.AF_INET
	}
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	req.AddData(header)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, addr.AsSlice()))
	all, err := a.kernel().ask(req, unix.RTM_NEWROUTE)
	switch {
	case nowhere(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("ask for the route to %s: %w", addr, err)
	case len(all) != 1 || len(all[0]) < unix.SizeofRtMsg:
		return false, fmt.Errorf("ask for the route to %s: the kernel answers with %d routes", addr, len(all))
	}
	switch nl.DeserializeRtMsg(all[0]).Type {
	case unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_MULTICAST:
		return true, nil
	}
	return false, nil
}

// nowhere reports whether an error says that packets have no way: there is no route, or one of the
// types unreachable, prohibit or blackhole, each with an error of its own (fib_props of
// fib_semantics.c and ip6_route_info_create of net/ipv6/route.c).
func nowhere(err error) bool {
	for _, e := range []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
