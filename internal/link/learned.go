package link

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Learned returns the names of links that the kernel has given a default route or an
// address as a router on them advertised (RFC 4861, RFC 4862), sorted.
func (a *Applier) Learned() ([]string, error) {
	k := a.kernel()
	learned, err := k.learnedRoutes()
	if err != nil {
		return nil, err
	}
	addresses, err := k.dumpAddresses(0)
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
	links, err := k.dumpLinks()
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

// forwarding is the setting with which a host forwards IPv6 (ip-sysctl.rst).
const forwarding = "net/ipv6/conf/all/forwarding"

// BeforeSetting is to be called before a setting of the whole host is given a value. It
// warns when IPv6 forwarding is turned on and the host is about to lose what routers have
// told it: a host that forwards ignores them, unless accept_ra is 2 (ip-sysctl.rst), and
// drops the default routes that it has from them. Whether it should go on listening to
// them is the administrator's to say.
func (a *Applier) BeforeSetting(path, want string) {
	if path != forwarding || want != "1" || a.Settings == nil || a.Warn == nil {
		return
	}
	links, err := a.Learned()
	if err != nil {
		a.Warn("IPv6 forwarding is being turned on, and where the host has its routes from can't be told: %v", err)
		return
	}
	var losing, remedy []string
	for _, link := range links {
		if value, err := a.Settings.Get(conf(link, acceptRA)); err == nil && value == "1" {
			losing = append(losing, link)
			remedy = append(remedy, conf(link, acceptRA)+"=2")
		}
	}
	if len(losing) > 0 {
		a.Warn("IPv6 forwarding is being turned on, with which the kernel ignores router advertisements: the host loses the IPv6 default route or address that it has from them on %s; keep them with `sysctl -w %s`",
			strings.Join(losing, ", "), strings.Join(remedy, " "))
	}
}

// learnedRoutes returns the links of default routes that were advertised, by index.
func (k kernel) learnedRoutes() (map[int]bool, error) {
	routes, err := k.dumpRoutes(unix.AF_INET6)
	if err != nil {
		return nil, err
	}
	learned := map[int]bool{}
	for _, r := range routes {
		if r.learned6 && r.out != 0 {
			learned[r.out] = true
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
