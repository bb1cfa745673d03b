package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/view"
)

func networkChecks() []Check {
	return []Check{
		{Name: "bridges", look: lookBridges,
			Sees:  "whether another link has the name of a network's bridge",
			Means: "mybr can't make the bridge, and the network has none.",
			Mends: "deletes that link; mybr then makes the bridge"},
		{Name: "mtu", look: lookMTU,
			Sees:  "the MTU of the bridges against that of the uplinks, which is smaller in tunnels",
			Means: "What is larger than the uplink takes is answered with ICMP only, which many firewalls drop: connections begin well and then hang.",
			Mends: "fits the segment size of TCP to the uplink, until the next boot. Better, for all protocols and for good: make the network with `-o com.docker.network.driver.mtu=`. If it is the uplink's MTU that is wrong, set that instead"},
		{Name: "routes", look: lookRoutes,
			Sees:  "whether routes of others, such as a VPN's, lead to addresses of the networks",
			Means: "Packets to these containers take the other route.",
			Mends: "deletes the route. If it is needed, make the network in another subnet instead"},
		{Name: "dns", look: lookDNS,
			Sees:  "whether a name server of the host has an address of a network's subnet",
			Means: "The host, and every container, asks for names on the bridge, where nobody answers.",
			Mends: "adds a route to that name server by the uplink"},
		{Name: "host-ports", look: lookHostPorts,
			Sees:  "whether another program listens on a host port that is published",
			Means: "The port leads to that program, or nowhere, but not to the container.",
			Mends: "stops the program; mybr takes the port a moment later"},
	}
}

func lookBridges(l *look) {
	nets, err := l.networks()
	h, err2 := l.hostFacts()
	if err := firstOf(err, err2); err != nil {
		l.unknown(err)
		return
	}
	for _, n := range nets {
		link := h.byName(n.Bridge)
		if link != nil && n.Owned && (link.kind != "bridge" || link.alias == "") {
			l.found(Fault, command("ip", "link", "delete", n.Bridge), "%s, the bridge of network %s, is a link of another program (%s)", n.Bridge, short(n.ID), link.kind)
		}
	}
	if len(l.Seen) == 0 {
		l.saw("%s, and no other link has the name of one", count(len(nets), "bridge"))
	}
}

func lookMTU(l *look) {
	nets, err := l.networks()
	h, err2 := l.hostFacts()
	sets, err3 := l.filters()
	if err := firstOf(err, err2, err3); err != nil {
		l.unknown(err)
		return
	}
	for _, n := range nets {
		for _, ipv6 := range []bool{false, true} {
			if _, has := subnet(n, ipv6); !has || n.Internal {
				continue
			}
			for _, up := range h.outside(ipv6) {
				l.fits(n, h, sets, up, ipv6)
			}
		}
	}
	if len(l.Seen) == 0 {
		l.saw("no bridge has a greater MTU than the uplinks, save where the size of segments is fitted")
	}
}

// fits compares the MTU of a network with an uplink's.
func (l *look) fits(n view.Network, h *host, sets []*ruleset, up string, ipv6 bool) {
	bridge, uplink := h.byName(n.Bridge), h.byName(up)
	if bridge == nil || uplink == nil || uplink.mtu >= bridge.mtu || up == n.Bridge {
		return
	}
	p := packet{in: n.Bridge, out: up}
	for _, set := range sets {
		if set.ipv6 == ipv6 && slices.ContainsFunc(set.clamps, func(r rule) bool { return r.match(p) != no }) {
			return
		}
	}
	name := map[bool]string{false: "iptables", true: "ip6tables"}[ipv6]
	l.found(Warning, command(name, "-w", "-t", "mangle", "-A", "FORWARD", "-o", up, "-p", "tcp", "-m", "tcp", "--tcp-flags", "SYN,RST", "SYN", "-j", "TCPMSS", "--clamp-mss-to-pmtu"),
		"%s has MTU %d, and the uplink %s %d. If that should have %d, too: ip link set %s mtu %d", n.Bridge, bridge.mtu, up, uplink.mtu, bridge.mtu, quote(up), bridge.mtu)
}

func lookRoutes(l *look) {
	nets, err := l.networks()
	h, err2 := l.hostFacts()
	servers, err3 := l.nameServers()
	if err := firstOf(err, err2, err3); err != nil {
		l.unknown(err)
		return
	}
	for _, n := range nets {
		for _, s := range n.Subnets {
			for _, r := range h.routes {
				single := r.to.IsSingleIP() && slices.Contains(servers, r.to.Addr()) // see the check dns
				if r.link == n.Bridge || r.to.Bits() == 0 || !r.to.Overlaps(s.Prefix) || single || r.to.Addr().IsLinkLocalUnicast() {
					continue
				}
				l.overlaps(n, s.Prefix, r)
			}
		}
	}
	if len(l.Seen) == 0 {
		l.saw("no route of others leads to addresses of %s", count(len(nets), "network"))
	}
}

func (l *look) overlaps(n view.Network, s netip.Prefix, r route) {
	if r.to.Bits() < s.Bits() {
		l.found(Note, nil, "the route %s by %s is wider than the subnet %s of %s: hosts there that have an address of the subnet can't be reached from here", r.to, r.link, s, n.Bridge)
		return
	}
	words := []string{"ip", "route", "delete", r.to.String(), "dev", r.link}
	if r.to.Addr().Is6() {
		words = slices.Insert(words, 1, "-6")
	}
	if r.table != unix.RT_TABLE_MAIN {
		words = append(words, "table", strconv.Itoa(r.table))
	}
	l.found(Warning, command(words...), "the route %s by %s leads to addresses of the subnet %s of %s", r.to, r.link, s, n.Bridge)
}

// nameServers are those of the host. Behind systemd-resolved, which resolv.conf names alone,
// they are in a file of its own (systemd-resolved(8)).
func (e Env) nameServers() (all []netip.Addr, err error) {
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		text, err := e.read(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			if len(f) < 2 || f[0] != "nameserver" {
				continue
			}
			if addr, err := netip.ParseAddr(f[1]); err == nil && !addr.IsLoopback() && !slices.Contains(all, addr) {
				all = append(all, addr)
			}
		}
	}
	return all, nil
}

func lookDNS(l *look) {
	nets, err := l.networks()
	h, err2 := l.hostFacts()
	servers, err3 := l.nameServers()
	if err := firstOf(err, err2, err3); err != nil {
		l.unknown(err)
		return
	}
	v, _ := l.records() // without it, the addresses of containers are not known
	for _, n := range nets {
		for _, s := range n.Subnets {
			for _, server := range servers {
				byContainer := slices.ContainsFunc(v.Endpoints, func(e view.Endpoint) bool { return e.IPv4.Addr() == server || e.IPv6.Addr() == server })
				if !s.Prefix.Contains(server) || byContainer {
					continue
				}
				if r, ok := h.routeTo(server); ok && r.link == n.Bridge {
					l.found(Fault, h.around(server), "the name server %s is in the subnet %s of %s", server, s.Prefix, n.Bridge)
				}
			}
		}
	}
	if len(l.Seen) == 0 {
		l.saw("%s, none of them in a network's subnet", count(len(servers), "name server"))
	}
}

// around is the command that adds a route to an address by the default gateway; nil if there is
// none.
func (h *host) around(addr netip.Addr) []string {
	for _, r := range h.routes {
		if r.to != everything(addr.Is6()) || r.table != unix.RT_TABLE_MAIN {
			continue
		}
		words := []string{"ip", "route", "add", netip.PrefixFrom(addr, addr.BitLen()).String()}
		if addr.Is6() {
			words = slices.Insert(words, 1, "-6")
		}
		if r.via.IsValid() {
			words = append(words, "via", r.via.String())
		}
		return command(append(words, "dev", r.link)...)
	}
	return nil
}

func lookHostPorts(l *look) {
	p, ok := l.needs()
	if !ok {
		return
	}
	v, err := l.records()
	sockets, err2 := l.listening()
	holders, err3 := l.holders()
	if err := firstOf(err, err2, err3); err != nil {
		l.unknown(err)
		return
	}
	byPort, own := map[string][]socket{}, l.pid(p)
	for _, s := range sockets {
		byPort[fmt.Sprint(s.proto, s.at.Port())] = append(byPort[fmt.Sprint(s.proto, s.at.Port())], s)
	}
	for _, port := range v.Ports {
		if !port.Host.IsValid() {
			continue
		}
		for i := range max(1, int(port.Count)) {
			at := netip.AddrPortFrom(port.Host.Addr(), port.Host.Port()+uint16(i))
			if s, taken := takenBy(byPort[fmt.Sprint(port.Proto, at.Port())], at, func(s socket) bool { return holders.byInode[s.inode] == own }); taken {
				pid := holders.byInode[s.inode]
				if pid == 0 {
					l.found(Fault, nil, "%s %s is published by endpoint %s, and a program that can't be seen listens on %s", port.Proto, at, short(port.Endpoint), s.at)
					continue
				}
				l.found(Fault, l.stop(strconv.Itoa(pid)), "%s %s is published by endpoint %s, and %s listens on %s", port.Proto, at, short(port.Endpoint), l.named(pid), s.at)
			}
		}
	}
	if len(l.Seen) == 0 {
		l.saw("mybr has the host ports of %s", count(len(v.Ports), "port binding"))
	}
}

// takenBy is the socket of another program that has a port; false if mybr has it, or nobody.
func takenBy(sockets []socket, at netip.AddrPort, own func(socket) bool) (by socket, taken bool) {
	for _, s := range sockets {
		a, b := s.at.Addr(), at.Addr()
		switch {
		case own(s) && a == b:
			return socket{}, false
		case own(s):
		case a == b, a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified()), a == netip.IPv6Unspecified():
			by, taken = s, true
		}
	}
	return by, taken
}
