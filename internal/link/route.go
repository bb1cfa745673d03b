package link

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// LinkRoutes returns the unicast routes of all tables that lead to one link, of both
// families, without default routes.
func (a *Applier) LinkRoutes() ([]model.HostRoute, error) {
	k := a.kernel()
	links, err := k.dumpLinks()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.index] = l.name
	}
	msgs, err := k.dump(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, &nl.RtMsg{})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var routes []model.HostRoute
	for _, m := range msgs {
		dst, out, err := parseRoute(m)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		if name := names[out]; dst.IsValid() && dst.Bits() > 0 && name != "" {
			routes = append(routes, model.HostRoute{Prefix: dst.Masked(), Link: name})
		}
	}
	return routes, nil
}

// parseRoute returns the destination of a unicast IP route and the index of its link; the
// zero value for any other route and for one without a destination, and index 0 for one
// that leads to several links.
func parseRoute(m []byte) (dst netip.Prefix, out int, err error) {
	header := nl.DeserializeRtMsg(m)
	ip := header.Family == unix.AF_INET || header.Family == unix.AF_INET6
	if !ip || header.Type != unix.RTN_UNICAST || header.Flags&unix.RTM_F_CLONED != 0 {
		return netip.Prefix{}, 0, nil
	}
	attrs, err := nl.ParseRouteAttr(m[header.Len():])
	if err != nil {
		return netip.Prefix{}, 0, err
	}
	for _, a := range attrs {
		switch {
		case a.Attr.Type == unix.RTA_DST:
			addr, _ := netip.AddrFromSlice(a.Value)
			dst = netip.PrefixFrom(addr, int(header.Dst_len))
		case a.Attr.Type == unix.RTA_OIF && len(a.Value) == 4:
			out = int(binary.NativeEndian.Uint32(a.Value))
		}
	}
	return dst, out, nil
}
