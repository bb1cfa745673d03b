package link

import (
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
	all, err := k.dumpRoutes(unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	var routes []model.HostRoute
	for _, r := range all {
		if name := names[r.out]; r.dst.IsValid() && r.dst.Bits() > 0 && name != "" {
			routes = append(routes, model.HostRoute{Prefix: r.dst.Masked(), Link: name})
		}
	}
	return routes, nil
}

// route is a unicast IP route: its destination, valid if it has one, and the index of its
// link, 0 if it leads to several. The zero value is any other route.
type route struct {
	dst      netip.Prefix
	out      int
	learned6 bool // a default route of IPv6 that a router has advertised
}

// dumpRoutes returns the routes of all tables, of one family or of all.
func (k kernel) dumpRoutes(family uint8) ([]route, error) {
	all, err := dump(k, unix.RTM_GETROUTE, unix.RTM_NEWROUTE, &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}, parseRoute)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return all, nil
}

// parseRoute reads an RTM_NEWROUTE message.
func parseRoute(m []byte) (r route, err error) {
	if len(m) < unix.SizeofRtMsg {
		return r, fmt.Errorf("a route of %d bytes", len(m))
	}
	header := nl.DeserializeRtMsg(m)
	ip := header.Family == unix.AF_INET || header.Family == unix.AF_INET6
	unicast := ip && header.Type == unix.RTN_UNICAST && header.Flags&unix.RTM_F_CLONED == 0
	r.learned6 = header.Family == unix.AF_INET6 && header.Protocol == unix.RTPROT_RA && header.Dst_len == 0
	if !unicast && !r.learned6 {
		return route{}, nil
	}
	err = attributes(m[header.Len():], func(kind uint16, value []byte) {
		switch {
		case kind == unix.RTA_DST && unicast:
			addr, _ := netip.AddrFromSlice(value)
			r.dst = netip.PrefixFrom(addr, int(header.Dst_len))
		case kind == unix.RTA_OIF:
			r.out = int(number(value))
		}
	})
	return r, err
}
