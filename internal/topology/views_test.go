package topology

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/mybr/mybr/internal/view"
)

// example is a view that the golden files show.
type example struct {
	name string
	view view.View
	host Host
	most Limits
}

var eth0 = Host{Name: "alpha", Uplinks: []Uplink{{"eth0", []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("2001:db8::2/64")}}}}

func examples() []example {
	return []example{
		{"empty", view.View{}, eth0, Usual},
		{"demo", demo(), inside(demo(), Host{Name: "alpha", Uplinks: []Uplink{{"eth0", eth0.Uplinks[0].Addresses[:1]}}}), Usual},
		{"several", several(), inside(several(), Host{Name: "alpha", Uplinks: []Uplink{eth0.Uplinks[0], {"wg0", []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}}}), Usual},
		{"fifty", fifty(), inside(fifty(), eth0), Usual},
		{"fifty-all", fifty(), inside(fifty(), eth0), All},
		{"ipv6", onlyIPv6(), inside(onlyIPv6(), eth0), Usual},
		{"modes", modes(), Host{}, Usual},
		{"wide", wide(), inside(wide(), Host{Name: "漢字ホスト", Uplinks: eth0.Uplinks}), Usual},
		{"hostile", hostile(), inside(hostile(), Host{Name: "a\x1b[2J\nb", Uplinks: eth0.Uplinks}), Usual},
		{"unnamed", unnamed(), eth0, Usual},
		{"mesh", mesh(), inside(mesh(), eth0), Usual},
		{"many-uplinks", demo(), manyUplinks(), Usual},
		{"many-networks", manyNetworks(), eth0, Usual},
	}
}

// builder makes a view as one would make the networks.
type builder struct{ view.View }

func id(n int) string {
	return fmt.Sprintf("%02x", n+0x4a) + strings.Repeat("0f1e2d3c4b5a6978", 4)[:62]
}

func (b *builder) network(name, bridge string, change func(*view.Network), subnets ...string) string {
	n := view.Network{ID: id(len(b.Networks)), Name: name, Bridge: bridge, Owned: true, ICC: true}
	for _, s := range subnets {
		p := netip.MustParsePrefix(s)
		family := "ipv4"
		if p.Addr().Is6() {
			family = "ipv6"
		}
		n.Subnets = append(n.Subnets, view.Subnet{Family: family, Prefix: p.Masked(), Gateway: p.Addr(), Address: p, Mode: "nat", Masquerade: true})
	}
	if change != nil {
		change(&n)
	}
	b.Networks = append(b.Networks, n)
	return n.ID
}

func (b *builder) endpoint(network, container string, addresses ...string) string {
	e := view.Endpoint{ID: id(100 + len(b.Endpoints)), Container: container, Network: network, MAC: "02:42:ac:12:00:02"}
	e.Veth = "veth" + e.ID[:2] + fmt.Sprintf("%05x", len(b.Endpoints)*7919)
	if container != "" {
		e.Sandbox = "/run/docker/netns/" + container
	}
	for _, a := range addresses {
		if p := netip.MustParsePrefix(a); p.Addr().Is4() {
			e.IPv4 = p
		} else {
			e.IPv6 = p
		}
	}
	b.Endpoints = append(b.Endpoints, e)
	return e.ID
}

func (b *builder) port(endpoint, proto, host, container string, count uint16, carried string) {
	p := view.Port{Proto: proto, Container: netip.MustParseAddrPort(container), Count: count, Carried: carried, Endpoint: endpoint}
	if host != "" {
		p.Host = netip.MustParseAddrPort(host)
	}
	b.Ports = append(b.Ports, p)
}

// inside names the interfaces of each container as Docker does.
func inside(v view.View, h Host) Host {
	next := make(map[string]int)
	h.Inside = make(map[string]string)
	for _, e := range v.Endpoints {
		if e.Sandbox != "" {
			h.Inside[e.ID] = fmt.Sprintf("eth%d", next[e.Sandbox])
			next[e.Sandbox]++
		}
	}
	return h
}

// demo is the world of `make demo`.
func demo() view.View {
	var b builder
	n := b.network("demo", "mybr0", nil, "172.18.0.1/16")
	web := b.endpoint(n, "web", "172.18.0.2/16")
	b.endpoint(n, "box", "172.18.0.3/16")
	b.port(web, "tcp", "0.0.0.0:8080", "172.18.0.2:80", 1, view.ByNAT)
	b.port(web, "tcp", "[::]:8080", "172.18.0.2:80", 1, view.ByProcess)
	return b.View
}

func several() view.View {
	var b builder
	front := b.network("front", "br-4a0f1e2d3c4b", nil, "172.18.0.1/16", "fd12:3456:789a:1::1/64")
	back := b.network("shop_back", "br-4b0f1e2d3c4b", func(n *view.Network) { n.MTU = 1450 }, "172.19.0.1/16")
	vault := b.network("vault", "br-4c0f1e2d3c4b", func(n *view.Network) { n.Internal, n.ICC = true, false }, "172.20.0.1/16")
	proxy := b.endpoint(front, "proxy", "172.18.0.2/16", "fd12:3456:789a:1::2/64")
	b.endpoint(front, "web1", "172.18.0.3/16", "fd12:3456:789a:1::3/64")
	b.endpoint(back, "web1", "172.19.0.3/16")
	b.endpoint(front, "web2", "172.18.0.4/16", "fd12:3456:789a:1::4/64")
	b.endpoint(back, "web2", "172.19.0.4/16")
	db := b.endpoint(back, "db", "172.19.0.5/16")
	b.endpoint(vault, "db", "172.20.0.2/16")
	b.endpoint(vault, "backup", "172.20.0.3/16")
	b.endpoint(vault, "", "172.20.0.4/16")
	for _, host := range []string{"0.0.0.0", "[::]"} {
		to := map[string]string{"0.0.0.0": "172.18.0.2", "[::]": "[fd12:3456:789a:1::2]"}[host]
		b.port(proxy, "tcp", host+":80", to+":8080", 1, view.ByNAT)
		b.port(proxy, "tcp", host+":443", to+":8443", 1, view.ByNAT)
		b.port(proxy, "udp", host+":443", to+":8443", 1, view.ByNAT)
		b.port(proxy, "tcp", host+":9000", to+":9000", 100, view.ByNAT)
	}
	b.port(db, "tcp", "127.0.0.1:5432", "172.19.0.5:5432", 1, view.ByProcess)
	return b.View
}

func fifty() view.View {
	var b builder
	n := b.network("load", "mybr0", nil, "172.18.0.1/16")
	other := b.network("monitoring", "mybr1", nil, "172.19.0.1/24")
	for i := range 50 {
		e := b.endpoint(n, fmt.Sprintf("worker-%02d", i+1), fmt.Sprintf("172.18.0.%d/16", i+2))
		b.port(e, "tcp", fmt.Sprintf("0.0.0.0:%d", 8000+i), fmt.Sprintf("172.18.0.%d:80", i+2), 1, view.ByNAT)
	}
	b.endpoint(other, "worker-33", "172.19.0.2/24")
	b.endpoint(other, "prometheus", "172.19.0.3/24")
	return b.View
}

func onlyIPv6() view.View {
	var b builder
	n := b.network("six", "mybr6", nil, "2001:db8:1234:5678:9abc:def0:1234:1/112")
	e := b.endpoint(n, "web", "2001:db8:1234:5678:9abc:def0:1234:5678/112")
	b.endpoint(n, "quiet", "2001:db8:1234:5678:9abc:def0:1234:2/112")
	b.port(e, "tcp", "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:8000", "[2001:db8:1234:5678:9abc:def0:1234:5678]:80", 1000, view.ByNAT)
	return b.View
}

func modes() view.View {
	var b builder
	routed := b.network("routed", "mybr0", func(n *view.Network) { n.Subnets[1].Mode = "routed"; n.Trusted = []string{"eth1"} }, "172.18.0.1/16", "2001:db8:1::1/64")
	b.network("isolated", "mybr1", func(n *view.Network) {
		n.Internal = true
		n.Subnets[0].Mode, n.Subnets[0].Address, n.Subnets[0].Gateway = "isolated", netip.Prefix{}, netip.Addr{}
	}, "172.19.0.1/24")
	b.network("open", "mybr2", func(n *view.Network) { n.Subnets[0].Mode = "nat-unprotected"; n.Owned = false }, "172.20.0.1/24")
	b.network("fixed", "mybr3", func(n *view.Network) {
		n.Subnets[0].SNAT = netip.MustParseAddr("192.0.2.7")
		n.Subnets[0].Gateway = netip.MustParseAddr("172.21.0.254")
	}, "172.21.0.1/24")
	b.network("plain", "mybr4", func(n *view.Network) { n.Subnets[0].Masquerade = false }, "172.22.0.1/24")
	b.network("bare", "mybr5", func(n *view.Network) { n.Subnets[0].Address = netip.Prefix{} }, "172.23.0.1/24")
	e := b.endpoint(routed, "web", "172.18.0.2/16", "2001:db8:1::2/64")
	b.port(e, "tcp", "", "[2001:db8:1::2]:80", 1, view.Directly)
	b.port(e, "tcp", "0.0.0.0:80", "172.18.0.2:80", 1, view.ByNAT)
	return b.View
}

func wide() view.View {
	var b builder
	n := b.network("表側のネットワーク", "br-4a0f1e2d3c4b", nil, "172.18.0.1/16")
	back := b.network("뒤쪽", "br-4b0f1e2d3c4b", nil, "172.19.0.1/16")
	e := b.endpoint(n, "网页服务器", "172.18.0.2/16")
	b.endpoint(n, "naïve-é", "172.18.0.3/16")
	b.endpoint(n, "🐳👩‍🚀", "172.18.0.4/16")
	b.endpoint(back, "网页服务器", "172.19.0.2/16")
	b.port(e, "tcp", "0.0.0.0:8080", "172.18.0.2:80", 1, view.ByNAT)
	return b.View
}

func hostile() view.View {
	var b builder
	n := b.network("</text><script>alert(1)</script>", "br\"--[[\\\n\x1b]0;x\x07", nil, "172.18.0.1/16")
	e := b.endpoint(n, "\x1b[31mred\u202e\"; } digraph { \"", "172.18.0.2/16")
	b.endpoint(n, "a & b < c > d ' e \" f \\N \\G", "172.18.0.3/16")
	b.endpoint(n, strings.Repeat("very-long-", 20), "172.18.0.4/16")
	b.endpoint(n, "\xff\xfe\u0301\u0300", "172.18.0.5/16")
	b.Endpoints[0].Veth = "veth<b>\t"
	b.port(e, "<tcp>", "0.0.0.0:8080", "172.18.0.2:80", 1, "by magic")
	return b.View
}

func unnamed() view.View {
	v := several()
	for i := range v.Networks {
		v.Networks[i].Name = ""
	}
	for i := range v.Endpoints {
		v.Endpoints[i].Container = ""
	}
	return v
}

// mesh has more lines side by side than there is room for.
func mesh() view.View {
	var b builder
	var networks []string
	for i := range 4 {
		networks = append(networks, b.network(fmt.Sprintf("net%d", i), fmt.Sprintf("mybr%d", i), nil, fmt.Sprintf("10.0.%d.1/24", i)))
	}
	for c := range 5 {
		for i, n := range networks {
			b.endpoint(n, fmt.Sprintf("node%d", c), fmt.Sprintf("10.0.%d.%d/24", i, c+2))
		}
	}
	return b.View
}

func manyNetworks() view.View {
	var b builder
	for i := range 40 {
		n := b.network(fmt.Sprintf("project%02d_default", i), "", nil, fmt.Sprintf("10.1.%d.1/24", i))
		b.Networks[i].Bridge = "br-" + n[:12]
		for c := range i % 5 {
			b.endpoint(n, fmt.Sprintf("project%02d-c%d", i, c), fmt.Sprintf("10.1.%d.%d/24", i, c+2))
		}
	}
	return b.View
}

func manyUplinks() Host {
	var h Host
	for i := range 9 {
		u := Uplink{Name: fmt.Sprintf("eth0.%d", i+100)}
		for k := range i {
			u.Addresses = append(u.Addresses, netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", 10*i+k)))
		}
		h.Uplinks = append(h.Uplinks, u)
	}
	return h
}
