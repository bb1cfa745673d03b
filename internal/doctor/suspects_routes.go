package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/view"
)

// ip is a command line of ip(8) for an address family.
func ip(ipv6 bool, words ...string) []string {
	if ipv6 {
		return append([]string{"ip", "-6"}, words...)
	}
	return append([]string{"ip"}, words...)
}

// links are those that are down.
func (s scene) links() (all []cause) {
	for _, space := range s.both() {
		for i, l := range space.Links {
			ours := slices.Contains([]string{"lo", s.one.query.In, s.one.port.Bridge, s.endpoint().Veth}, l.Name)
			if l.Up || space == s.host && !ours {
				continue
			}
			all = append(all, cause{sure: space == s.host || s.inner() == &space.Links[i], what: fmt.Sprintf("the link %s%s is down", l.Name, s.of(space)), mend: s.in(space, "ip", "link", "set", l.Name, "up"),
				change: func(w *explain.World) {
					e := edit(w, space.Name)
					e.Links = slices.Clone(e.Links)
					e.Links[i].Up, e.Links[i].Running = true, true
					for _, a := range l.Addrs {
						e.Routes = connected(e.Routes, a, l.Index)
					}
				}})
		}
	}
	return all
}

// connected are routes, and those that the kernel makes for an address.
func connected(routes []explain.Route, a netip.Prefix, link int) []explain.Route {
	return append(slices.Clone(routes),
		explain.Route{Table: unix.RT_TABLE_MAIN, Dst: a.Masked(), Kind: explain.Unicast, Link: link, Src: a.Addr()},
		explain.Route{Table: unix.RT_TABLE_LOCAL, Dst: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), Kind: explain.Local, Link: link, Src: a.Addr()})
}

// endpoint is that of the port.
func (s scene) endpoint() view.Endpoint {
	for _, e := range s.view.Endpoints {
		if e.ID == s.one.port.Endpoint {
			return e
		}
	}
	return view.Endpoint{}
}

// inner is the link of the container that is the other end of the host's.
func (s scene) inner() *explain.Link {
	for i, l := range s.box.Links {
		for _, veth := range s.host.Links {
			if veth.Name == s.endpoint().Veth && veth.Index == l.Peer && veth.Peer == l.Index {
				return &s.box.Links[i]
			}
		}
	}
	return nil
}

// addresses are the container's address and default route, if they are not there.
func (s scene) addresses() (all []cause) {
	if s.box == nil || s.inner() == nil {
		return nil
	}
	six, l := s.one.port.Container.Addr().Is6(), s.inner()
	own := s.endpoint().IPv4
	if six {
		own = s.endpoint().IPv6
	}
	if own.IsValid() && !slices.ContainsFunc(l.Addrs, func(a netip.Prefix) bool { return a.Addr() == own.Addr() }) {
		index := slices.IndexFunc(s.box.Links, func(o explain.Link) bool { return o.Index == l.Index })
		all = append(all, cause{what: fmt.Sprintf("%s%s has not the address %s", l.Name, s.of(s.box), own), mend: s.in(s.box, ip(six, "address", "add", own.String(), "dev", l.Name)...),
			change: func(w *explain.World) {
				e := edit(w, s.box.Name)
				e.Links = slices.Clone(e.Links)
				e.Links[index].Addrs = append(slices.Clone(l.Addrs), own)
				e.Routes = connected(e.Routes, own, l.Index)
			}})
	}
	gateway := s.gateway(six)
	if !gateway.IsValid() || slices.ContainsFunc(s.box.Routes, func(r explain.Route) bool {
		return r.Dst == everything(six) && r.Table == unix.RT_TABLE_MAIN && !r.Dead && r.Kind == explain.Unicast
	}) {
		return all
	}
	return append(all, cause{sure: s.one.query.In != "", what: fmt.Sprintf("%s has no default route", s.container(s.one.port)), mend: s.in(s.box, ip(six, "route", "add", "default", "via", gateway.String(), "dev", l.Name)...),
		change: func(w *explain.World) {
			e := edit(w, s.box.Name)
			e.Routes = append(slices.Clone(e.Routes), explain.Route{Table: unix.RT_TABLE_MAIN, Dst: everything(six), Kind: explain.Unicast, Via: gateway, Link: l.Index})
		}})
}

// gateway is that of the port's network.
func (s scene) gateway(ipv6 bool) netip.Addr {
	for _, n := range s.view.Networks {
		for _, sub := range n.Subnets {
			if n.ID == s.one.port.Network && sub.Prefix.Addr().Is6() == ipv6 {
				return sub.Gateway
			}
		}
	}
	return netip.Addr{}
}

// routes are those of others that lead packets, or answers, elsewhere.
func (s scene) routes() (all []cause) {
	ends := []netip.Addr{s.one.port.Container.Addr(), s.one.query.Src, s.one.query.Dst, s.gateway(s.one.query.Dst.Is6())}
	for _, space := range s.both() {
		for i, r := range space.Routes {
			l := slices.IndexFunc(space.Links, func(l explain.Link) bool { return l.Index == r.Link })
			name := ""
			if l >= 0 {
				name = space.Links[l].Name
			}
			leads := slices.ContainsFunc(ends, func(a netip.Addr) bool { return a.IsValid() && r.Dst.Contains(a) })
			refuses := slices.Contains([]string{explain.Blackhole, explain.Unreachable, explain.Prohibit, explain.Throw}, r.Kind)
			strays := r.Kind == explain.Unicast && r.Dst.Bits() > 0 && name != s.one.port.Bridge &&
				!(name == s.one.query.In && r.Dst.Contains(s.one.query.Src)) // the uplink's own network
			if !leads || !refuses && !strays {
				continue
			}
			all = append(all, cause{what: "the route " + routeText(r, name) + s.of(space), mend: s.in(space, deleteRoute(r, name)...),
				change: func(w *explain.World) { edit(w, space.Name).Routes = slices.Delete(slices.Clone(space.Routes), i, i+1) }})
		}
	}
	return all
}

// deleteRoute is the command that deletes a route.
func deleteRoute(r explain.Route, link string) []string {
	words := []string{"route", "delete"}
	if r.Kind != explain.Unicast {
		words = append(words, r.Kind)
	}
	words = append(words, r.Dst.String())
	if r.Kind == explain.Unicast && link != "" {
		words = append(words, "dev", link)
	}
	if r.Table != unix.RT_TABLE_MAIN {
		words = append(words, "table", number(r.Table))
	}
	return ip(r.Dst.Addr().Is6(), words...)
}

// routeText is a route as the check routes has it.
func routeText(r explain.Route, link string) string {
	text := r.Dst.String()
	if r.Kind != explain.Unicast {
		text = r.Kind + " " + text
	} else if link != "" {
		text += " by " + link
	}
	if r.Table != unix.RT_TABLE_MAIN {
		text += " in table " + number(r.Table)
	}
	return text
}

// policies are the rules of ip-rule(8) that are not the kernel's own.
func (s scene) policies() (all []cause) {
	for _, space := range s.both() {
		for i, p := range space.Policies {
			if p.Six != s.one.query.Dst.Is6() || p.Kind == "" && slices.Contains([]int{unix.RT_TABLE_MAIN, unix.RT_TABLE_LOCAL, unix.RT_TABLE_DEFAULT}, p.Table) {
				continue
			}
			words := strings.Join(policyWords(p), " ")
			what := fmt.Sprintf("ip rule %d (%s)%s", p.Priority, words, s.of(space))
			if p.Kind == "" {
				all = append(all, s.around(space, i, what)...)
			}
			all = append(all, cause{what: what, mend: s.in(space, ip(p.Six, append([]string{"rule", "delete", "priority", number(p.Priority)}, policyWords(p)...)...)...),
				change: func(w *explain.World) {
					edit(w, space.Name).Policies = slices.Delete(slices.Clone(space.Policies), i, i+1)
				}})
		}
	}
	return all
}

// around has what goes to the network, or to the network of the uplink, take the main table's
// routes, and leaves it to the rule what becomes of the rest.
func (s scene) around(space *explain.Space, i int, what string) (all []cause) {
	p := space.Policies[i]
	if p.Priority == 0 {
		return nil
	}
	for _, to := range s.networksAround() {
		rule := explain.Policy{Six: p.Six, Priority: p.Priority - 1, Dst: to, Table: unix.RT_TABLE_MAIN, Suppress: -1}
		all = append(all, cause{what: what, mend: s.in(space, ip(p.Six, append([]string{"rule", "add", "priority", number(rule.Priority)}, policyWords(rule)...)...)...),
			change: func(w *explain.World) {
				edit(w, space.Name).Policies = slices.Insert(slices.Clone(space.Policies), i, rule)
			}})
	}
	return all
}

// networksAround are the subnets of the port's network and of the uplink.
func (s scene) networksAround() (all []netip.Prefix) {
	for _, l := range s.host.Links {
		for _, a := range l.Addrs {
			if (l.Name == s.one.port.Bridge || l.Name == s.one.query.In) && a.Addr().Is6() == s.one.query.Dst.Is6() && !a.Addr().IsLinkLocalUnicast() {
				all = append(all, a.Masked())
			}
		}
	}
	return all
}

// policyWords are a rule of ip-rule(8), without its priority.
func policyWords(p explain.Policy) (words []string) {
	add := func(yes bool, some ...string) {
		if yes {
			words = append(words, some...)
		}
	}
	add(p.Invert, "not")
	add(p.Src.IsValid(), "from", p.Src.String())
	add(p.Dst.IsValid(), "to", p.Dst.String())
	add(p.In != "", "iif", p.In)
	add(p.Out != "", "oif", p.Out)
	add(p.Mask != 0, "fwmark", fmt.Sprintf("%#x/%#x", p.Mark, p.Mask))
	add(p.Kind != "", p.Kind)
	add(p.Kind == "", "lookup", number(p.Table))
	add(p.Kind == "" && p.Suppress >= 0, "suppress_prefixlength", number(p.Suppress))
	return words
}
