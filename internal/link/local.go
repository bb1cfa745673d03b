package link

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// Inward reports whether an address is none of another host's: whether the kernel takes what is
// sent there for the host itself, or for everybody on a link, its route being of the type local,
// broadcast, anycast or multicast (rtnetlink(7)), or sends it to a container on one of Docker's own
// bridges, as far as those have the names that Docker gives them. Docker keeps what other bridges
// send from there, but not what the host does.
//
// It asks for that one route, and the link that it leaves by, so it costs the same however many
// links and addresses there are, and what has changed a moment ago counts.
//
// Errors: what the kernel says. That there is no way to the address is no error.
func (a *Applier) Inward(addr netip.Addr) (bool, error) {
	r, err := a.way(addr)
	if err != nil || r.local() || !r.direct || r.link == 0 {
		return r.local(), err
	}
	switch l, err := a.kernel().getLink("", r.link); {
	case errors.Is(err, model.ErrNotFound):
		return false, nil // it has just gone, and the way with it
	case err != nil:
		return false, fmt.Errorf("look where the route to %s leads: %w", addr, err)
	default:
		return l.kind == kindBridge && ofDocker(l.name), nil
	}
}

// ofDocker reports whether Docker gives bridges such a name: docker0, docker_gwbridge, and br- with
// the first twelve digits of a network's ID. mybr does the latter, too.
func ofDocker(bridge string) bool {
	id, named := strings.CutPrefix(bridge, "br-")
	named = named && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
	return named || bridge == "docker0" || bridge == "docker_gwbridge"
}

// way is how the kernel would send to an address. The zero value is not at all.
type way struct {
	kind   uint8 // RTN_UNICAST and so on
	link   int   // the index of the one that it leaves by
	direct bool  // by no router
}

func (r way) local() bool {
	switch r.kind {
	case unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_MULTICAST:
		return true
	}
	return false
}

func (a *Applier) way(addr netip.Addr) (r way, err error) {
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
		return r, nil
	case err != nil:
		return r, fmt.Errorf("ask for the route to %s: %w", addr, err)
	case len(all) != 1 || len(all[0]) < unix.SizeofRtMsg:
		return r, fmt.Errorf("ask for the route to %s: the kernel answers with %d routes", addr, len(all))
	}
	r.kind, r.direct = nl.DeserializeRtMsg(all[0]).Type, true
	err = attributes(all[0][unix.SizeofRtMsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.RTA_OIF:
			r.link = int(number(value))
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			r.direct = false
		}
	})
	if err != nil {
		return way{}, fmt.Errorf("read the route to %s: %w", addr, err)
	}
	return r, nil
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
