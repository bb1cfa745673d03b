package explain

import (
	"net/netip"
	"strings"
	"testing"
)

// oneBridge is a host with a container on a bridge, by an IPv6 subnet of link-local addresses.
func oneBridge() *World {
	link := func(index int, name, kind string, addrs ...string) Link {
		return Link{Index: index, Name: name, Kind: kind, Up: true, Running: true, Addrs: prefixes(addrs...)}
	}
	host := &Space{Name: "host", Links: []Link{link(1, "lo", "device", "::1/128"), link(2, "br0", "bridge", "fe80::1/64"), link(3, "veth3", "veth")}}
	host.Links[2].Master, host.Links[2].Peer = 2, 2
	web := &Space{Name: "web", Links: []Link{link(1, "lo", "device", "::1/128"), link(2, "eth0", "veth", "fe80::2/64")},
		Sockets: []Socket{{Proto: TCP, Addr: netip.IPv6Unspecified(), Port: 80}, {Proto: UDP, Addr: netip.IPv6Unspecified(), Port: 80}}}
	web.Links[1].Peer = 3
	host.Peers, web.Peers = map[int]string{0: "web"}, map[int]string{0: "host"}
	for _, s := range []*Space{host, web} {
		s.Policies = []Policy{{Six: true, Table: 255, Suppress: -1}, {Six: true, Table: 254, Suppress: -1}}
		for _, l := range s.Links[1:] {
			for _, a := range l.Addrs {
				s.Routes = append(s.Routes, Route{Table: 255, Dst: netip.PrefixFrom(a.Addr(), 128), Kind: Local, Link: l.Index},
					Route{Table: 254, Dst: a.Masked(), Kind: Unicast, Link: l.Index})
			}
		}
	}
	return &World{Spaces: []*Space{host, web}}
}

// A link-local address is one on each link (RFC 4007): the kernel refuses to connect to one
// without a link, but sends single packets by the routes.
func TestLinkLocal(t *testing.T) {
	for _, c := range []struct{ proto, dst, want, reason string }{
		{TCP, "fe80::2%br0", Delivered, ""},
		{TCP, "fe80::2", NoRoute, "a link-local address is one on each link"},
		{UDP, "fe80::2%br0", Delivered, ""},
		{UDP, "fe80::2", Unknown, "a link-local address is one on each link"},
		{ICMP, "fe80::2", Delivered, ""},
	} {
		q := Query{From: "host", Proto: c.proto, Dst: netip.MustParseAddr(c.dst)}
		if c.proto != ICMP {
			q.Dport = 80
		}
		if r := Predict(oneBridge(), q); r.Verdict != c.want || !strings.Contains(r.Reason, c.reason) || len(r.Steps) == 0 {
			t.Errorf("%s %s: %s (%s), want %s", c.proto, c.dst, r.Verdict, r.Reason, c.want)
		}
	}
}
