package parity

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/vishvananda/netlink"
)

func ctx() context.Context { return context.Background() }

// linkSysctls is the settings that are facts of each link, below net/FAMILY/conf/LINK.
func linkSysctls(link string) (paths []string) {
	for _, s := range []string{
		"ipv4/forwarding", "ipv4/rp_filter", "ipv4/proxy_arp", "ipv4/arp_ignore", "ipv4/arp_announce", "ipv4/route_localnet",
		"ipv6/disable_ipv6", "ipv6/accept_ra", "ipv6/accept_dad", "ipv6/forwarding", "ipv6/proxy_ndp",
	} {
		family, name, _ := strings.Cut(s, "/")
		paths = append(paths, "net/"+family+"/conf/"+link+"/"+name)
	}
	return paths
}

// inside looks at a container's network: links with addresses, MTU and settings, routes
// of both families, /etc/hosts and /etc/resolv.conf.
func (s *stage) inside(container string) {
	s.insideBy(container, func(link string) string { return link })
}

// insideJoined is inside for a container that was started with several networks: the
// engine joins them in any order, so links are called by their networks, and the lines of
// /etc/hosts are sorted.
func (s *stage) insideJoined(container string) {
	names := map[string]string{}
	if p := s.place(container); p != nil {
		addrs := p.Addrs()
		for network, n := range s.inspect(container).NetworkSettings.Networks {
			for _, a := range addrs {
				if text := a.Prefix.Addr().String(); text == n.IPAddress || text == n.GlobalIPv6Address {
					names[a.Dev] = "link of " + network
				}
			}
		}
	}
	s.insideBy(container, func(link string) string { return cmp.Or(names[link], link) })
}

func (s *stage) insideBy(container string, called func(link string) string) {
	p, at := s.place(container), "inside "+container+": "
	if p == nil {
		s.fact(at+"links", container+" doesn't run")
		return
	}
	addrs := p.Addrs()
	var names []string
	var renamed bool
	for _, l := range p.Links() {
		if l.Kind != "device" && l.Kind != "veth" { // tunnels that the kernel makes in each namespace
			continue
		}
		names = append(names, called(l.Name))
		s.link(at, l, called(l.Name), addrs)
		s.sysctls(at, p, l.Name, called(l.Name))
		renamed = renamed || called(l.Name) != l.Name
	}
	slices.Sort(names)
	s.fact(at+"links", strings.Join(names, " "))
	s.routes(at, p.Routes(), called)
	for _, file := range []string{"hosts", "resolv.conf"} {
		lines := s.file(container, "/etc/"+file)
		if renamed {
			lines = sorted(lines, "; ")
		}
		s.fact(at+"/etc/"+file, lines)
	}
}

func sorted(text, separator string) string {
	parts := strings.Split(text, separator)
	slices.Sort(parts)
	return strings.Join(parts, separator)
}

// file is a container's file without comments, lines joined.
func (s *stage) file(container, path string) string {
	var info struct{ State struct{ Pid int } }
	s.w.API("/containers/"+container+"/json", &info)
	text, err := os.ReadFile(s.w.Path(fmt.Sprintf("/proc/%d/root%s", info.State.Pid, path)))
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.Join(strings.Fields(line), " "); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return normal(strings.Join(lines, "; "))
}

// link adds what is to be seen of a link, which the facts call name.
func (s *stage) link(at string, l report.Link, name string, all []report.Address) {
	state := "down"
	if l.Up {
		state = "up"
		if !l.Running {
			state = "up, no carrier"
		}
	}
	var addrs []string
	for _, a := range all {
		if a.Dev == l.Name {
			addrs = append(addrs, addressText(a))
		}
	}
	slices.Sort(addrs)
	s.fact(at+name, fmt.Sprintf("%s, MTU %d", state, l.MTU))
	s.fact(at+name+" addresses", strings.Join(addrs, "; "))
	if l.MAC != "" {
		s.fact(at+name+" MAC", normalMAC(l.MAC, l.Addrs, s.given))
	}
}

// addressText leaves out of a link-local address whether it is tentative, which is so for
// a second or two, and of one that the kernel makes of the MAC whether it ever was: that is
// a scenario of its own.
func addressText(a report.Address) string {
	words := []string{normal(a.Prefix.String()), a.Scope}
	local := a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast()
	for _, f := range a.Flags {
		if !local || f != "tentative" && !(f == "nodad" && strings.Contains(words[0], "EUI64")) {
			words = append(words, f)
		}
	}
	if a.Dynamic && !local {
		words = append(words, "dynamic")
	}
	return strings.Join(words, " ")
}

func (s *stage) sysctls(at string, p *world.Place, link, name string) {
	for path, value := range p.Sysctls(linkSysctls(link)...) {
		s.fact(at+strings.Replace(path, "/"+link+"/", "/"+name+"/", 1), value)
	}
}

// routes adds the routes of both families, whose links are called something.
func (s *stage) routes(at string, all []report.Route, called func(link string) string) {
	var v4, v6 []string
	for _, r := range all {
		text := r.Dst.String()
		if r.Dst.Bits() == 0 {
			text = "default"
		}
		if r.Via.IsValid() {
			text += " via " + r.Via.String()
		}
		text += " dev " + called(r.Dev)
		if r.Src.IsValid() {
			text += " src " + r.Src.String()
		}
		if r.Dst.Addr().Is4() {
			v4 = append(v4, normal(text))
		} else {
			v6 = append(v6, normal(text))
		}
	}
	slices.Sort(v4)
	slices.Sort(v6)
	s.fact(at+"routes", strings.Join(v4, "; "))
	s.fact(at+"IPv6 routes", strings.Join(v6, "; "))
}

// neighs adds the neighbours that a place has found or not found, to be asked after a
// reach.
func (s *stage) neighs(place string) {
	p := s.place(place)
	if p == nil {
		s.fact("neighbours of "+place, place+" doesn't run")
		return
	}
	var found []string
	for _, n := range p.Neighs() {
		if n.Addr.IsMulticast() || n.Addr.IsLoopback() || n.State == netlink.NUD_NOARP {
			continue
		}
		state := "found"
		if n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) != 0 {
			state = "not found"
		}
		found = append(found, normal(n.Addr.String())+" "+state)
	}
	slices.Sort(found)
	s.fact("neighbours of "+place, strings.Join(slices.Compact(found), "; "))
}

// bridge is the name of a network's link on the host.
func (s *stage) bridge(network string) string {
	var info struct {
		ID      string
		Options map[string]string
	}
	if !s.w.API("/networks/"+network, &info) {
		return ""
	}
	if name := info.Options["com.docker.network.bridge.name"]; name != "" {
		return name
	}
	return "br-" + info.ID[:12]
}

var linkLocals = netip.MustParsePrefix("fe80::/64")

// linkOf finds a place's link; on the host a network's name stands for its bridge.
func (s *stage) linkOf(place, link string) (*world.Place, report.Link, error) {
	p := s.place(place)
	if p == nil {
		return nil, report.Link{}, fmt.Errorf("%s doesn't run", place)
	}
	names := []string{link}
	if place == "host" {
		names = append(names, s.bridge(link))
	}
	for _, l := range p.Links() {
		if slices.Contains(names, l.Name) {
			return p, l, nil
		}
	}
	return p, report.Link{}, fmt.Errorf("%s has no link %s", place, link)
}

// host looks at a network's bridge on the host: its link, addresses, settings, routes,
// and what is plugged in.
func (s *stage) host(network string) {
	at, bridge := "host of "+network+": ", s.bridge(network)
	links := s.w.Host.Links()
	i := slices.IndexFunc(links, func(l report.Link) bool { return l.Name == bridge })
	if i < 0 {
		s.fact(at+"bridge", "none")
		return
	}
	s.fact(at+"bridge", normal(bridge)+", a "+links[i].Kind)
	addrs, routes := s.w.Host.Addrs(), s.w.Host.Routes()
	addrs = slices.DeleteFunc(addrs, func(a report.Address) bool { return a.Dev != bridge })
	routes = slices.DeleteFunc(routes, func(r report.Route) bool { return r.Dev != bridge })
	if !links[i].Running { // the kernel gives it the address that it makes of the MAC when the first port is up
		addrs = slices.DeleteFunc(addrs, func(a report.Address) bool { return strings.Contains(normal(a.Prefix.String()), "EUI64") })
		if !slices.ContainsFunc(addrs, func(a report.Address) bool { return a.Prefix.Masked() == linkLocals }) {
			routes = slices.DeleteFunc(routes, func(r report.Route) bool { return r.Dst == linkLocals })
		}
	}
	s.link(at, links[i], "bridge", addrs)
	s.sysctls(at, s.w.Host, bridge, "bridge")
	s.routes(at, routes, func(link string) string { return link })
	var ports []string
	for _, l := range links {
		if l.Master == links[i].Index {
			ports = append(ports, fmt.Sprintf("%s MTU %d up %v", normal(l.Name), l.MTU, l.Up))
		}
	}
	slices.Sort(ports)
	s.fact(at+"ports", strings.Join(ports, "; "))
}

// resolve asks the names in a container.
func (s *stage) resolve(container string, names ...string) {
	r := s.w.DockerTry(append([]string{"exec", container, "/guest", "lookup"}, names...)...)
	lines := strings.Split(strings.TrimSpace(r.Out), "\n")
	for i, name := range names {
		value := "exit code " + fmt.Sprint(r.Code)
		var found report.Lookup
		if i < len(lines) && json.Unmarshal([]byte(lines[i]), &found) == nil {
			value = strings.Join(found.Addrs, " ")
			if found.Err != "" {
				value = found.Err[strings.LastIndex(found.Err, ": ")+2:]
				// The LAN has no resolver: Docker's says so, or takes longer to than the guest waits.
				if value == "server misbehaving" || value == "i/o timeout" {
					value = "no answer"
				}
			}
		}
		s.fact("DNS in "+container+": "+name, value)
	}
}

// forwarding adds the host's settings that a driver changes for all.
func (s *stage) forwarding() {
	for path, value := range s.w.Host.Sysctls("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding",
		"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables") {
		s.fact("host: "+path, value)
	}
}
