package link

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Learned returns the names of links that the kernel has given a default route or an
// address as a router on them advertised (RFC 4861, RFC 4862), sorted.
func (a *Applier) Learned() ([]string, error) {
	learned, err := learnedRoutes()
	if err != nil {
		return nil, err
	}
	addresses, err := dumpAddresses()
	if err != nil {
		return nil, err
	}
	for index, of := range addresses {
		if slices.ContainsFunc(of, address.learned) {
			learned[index] = true
		}
	}
	if len(learned) == 0 {
		return nil, nil
	}
	links, err := dumpLinks()
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, l := range links {
		if learned[l.index] {
			names[l.name] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// learnedRoutes returns the links of default routes that were advertised, by index.
func learnedRoutes() (map[int]bool, error) {
	msgs, err := dump(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6}})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	learned := map[int]bool{}
	for _, m := range msgs {
		header := nl.DeserializeRtMsg(m)
		if header.Protocol != unix.RTPROT_RA || header.Dst_len != 0 {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[header.Len():])
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.RTA_OIF {
				learned[int(binary.NativeEndian.Uint32(a.Value))] = true
			}
		}
	}
	return learned, nil
}

// learned reports whether an address was made from an advertised prefix. Kernels before
// 5.18 don't say where an address has come from, but these alone pass in time there,
// save what a DHCPv6 client has got.
func (a address) learned() bool {
	const fromAdvertisement = 2 // IFAPROT_KERNEL_RA of linux/if_addr.h
	switch {
	case !a.Addr().Is6() || a.Addr().IsLinkLocalUnicast():
		return false
	case a.origin == 0:
		return a.flags&unix.IFA_F_PERMANENT == 0
	}
	return a.origin == fromAdvertisement
}
