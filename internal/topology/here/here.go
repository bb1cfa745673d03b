// Package here reads what a drawing of this host needs beside mybr's records: the interfaces
// that lead outside, and how the interfaces in containers are called.
//
// Be aware: it reads the network namespace of the calling thread. To look into those of
// containers it needs CAP_SYS_ADMIN (setns(2)); without it, names are missing. It changes
// nothing.
package here

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/dump"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/topology"
	"github.com/mybr/mybr/internal/view"
)

// Read returns what could be read, and an error that says what could not.
func Read(v view.View) (topology.Host, error) {
	var h topology.Host
	var errs [3]error
	h.Name, errs[0] = os.Hostname()
	h.Uplinks, errs[1] = Uplinks(v)
	h.Inside, errs[2] = inside(v.Endpoints)
	return h, errors.Join(errs[:]...)
}

// Uplinks returns the interfaces that lead outside: those with a default route, then those
// that have an address which is more than link-local. Bridges and their ports, and interfaces
// that lead nowhere (dummy), are uplinks only if there is a default route. It looks into no
// other namespace.
func Uplinks(v view.View) ([]topology.Uplink, error) {
	own := make(map[string]bool)
	for _, n := range v.Networks {
		own[n.Bridge] = true
	}
	links, err := again(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	addresses, err := again(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	routes, err := again(defaultRoutes)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	leads := ledTo(routes)
	of := byLink(addresses)
	var first, then []topology.Uplink
	for _, l := range links {
		a := l.Attrs()
		u := topology.Uplink{Name: a.Name, Addresses: of[a.Index]}
		switch {
		case a.Flags&net.FlagUp == 0 || a.Flags&net.FlagLoopback != 0 || own[a.Name]:
		case leads[a.Index]:
			first = append(first, u)
		case len(u.Addresses) > 0 && a.MasterIndex == 0 && l.Type() != "bridge" && l.Type() != "dummy":
			then = append(then, u)
		}
	}
	byName := func(a, b topology.Uplink) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(first, byName)
	slices.SortFunc(then, byName)
	return append(first, then...), nil
}

// defaultRoutes lists them alone: a router can have a million others, and the status page asks
// every few seconds.
func defaultRoutes() (found []netlink.Route, err error) {
	err = netlink.RouteListFilteredIter(netlink.FAMILY_ALL, &netlink.Route{}, 0, func(r netlink.Route) bool {
		ones := 0
		if r.Dst != nil {
			ones, _ = r.Dst.Mask.Size()
		}
		if ones == 0 {
			found = append(found, r)
		}
		return true
	})
	return found, err
}

// ledTo has the indexes of the links that routes lead to.
func ledTo(routes []netlink.Route) map[int]bool {
	found := make(map[int]bool)
	for _, r := range routes {
		found[r.LinkIndex] = true
		for _, hop := range r.MultiPath {
			found[hop.LinkIndex] = true
		}
	}
	return found
}

// byLink has the addresses that others can reach, IPv4 first.
func byLink(list []netlink.Addr) map[int][]netip.Prefix {
	of := make(map[int][]netip.Prefix)
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); !ok || ip.IsLinkLocalUnicast() {
			continue
		}
		ones, _ := a.Mask.Size()
		of[a.LinkIndex] = append(of[a.LinkIndex], netip.PrefixFrom(ip, ones))
	}
	for _, prefixes := range of {
		slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
		})
	}
	return of
}

// inside finds the names of the interfaces in containers by their MACs. Containers that have
// ended meanwhile have none.
func inside(endpoints []view.Endpoint) (map[string]string, error) {
	names := make(map[string]string)
	in := make(map[string][]netlink.Link)
	failed, first := 0, error(nil)
	for _, e := range endpoints {
		if e.Sandbox == "" {
			continue
		}
		links, known := in[e.Sandbox]
		if !known {
			var err error
			if links, err = linksIn(e.Sandbox); err != nil && !errors.Is(err, os.ErrNotExist) {
				failed++
				first = cmp.Or(first, err)
			}
			in[e.Sandbox] = links
		}
		for _, l := range links {
			if l.Attrs().HardwareAddr.String() == e.MAC && l.Attrs().Flags&net.FlagLoopback == 0 {
				names[e.ID] = l.Attrs().Name
			}
		}
	}
	if failed > 0 {
		return names, fmt.Errorf("look into network namespaces: %d failed, the first: %w", failed, first)
	}
	return names, nil
}

// linksIn lists the links of a network namespace.
func linksIn(path string) ([]netlink.Link, error) {
	name := model.Quoted(path, 200)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	ns := netns.NsHandle(fd)
	defer ns.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if fs.Type != unix.NSFS_MAGIC {
		return nil, fmt.Errorf("%s is not a namespace", name)
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("enter %s: %w", name, err)
	}
	defer handle.Close()
	links, err := again(handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links in %s: %w", name, err)
	}
	return links, nil
}

// again is dump.Whole, but takes a list that never stands still as it is: it is for a drawing.
func again[T any](list func() (T, error)) (T, error) {
	found, err := dump.Whole(list)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return found, err
}
