package explain

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/view"
)

// hostWithShop is hostWithTwo, where shop is on an internal network, on front, and on another one
// by which its default route leads.
func hostWithShop() (*World, view.View) {
	w, v := hostWithTwo()
	id := strings.Repeat("c", 64)
	v.Networks = append([]view.Network{{ID: id, Name: "closed", Bridge: "br-c", Internal: true}}, v.Networks...)
	v.Networks[2].Name = "back"
	shop := func(id, network, address string) view.Endpoint {
		return view.Endpoint{ID: id, Container: "shop", Network: network, IPv4: netip.MustParsePrefix(address), Sandbox: "/s9"}
	}
	v.Endpoints = append([]view.Endpoint{shop("e8eee", id, "172.21.0.2/16"), shop("e8fff", v.Networks[1].ID, "172.18.0.9/16"), shop("e9aaa", v.Networks[2].ID, "172.19.0.9/16")}, v.Endpoints...)
	w.Spaces = append(w.Spaces, &Space{Name: "shop", Links: []Link{
		{Index: 1, Name: "eth0", Kind: "veth", Up: true, Addrs: prefixes("172.21.0.2/16")},
		{Index: 2, Name: "eth1", Kind: "veth", Up: true, Addrs: prefixes("172.18.0.9/16")},
		{Index: 3, Name: "eth2", Kind: "veth", Up: true, Addrs: prefixes("172.19.0.9/16")},
	}, Routes: []Route{{Table: tableMain, Dst: netip.MustParsePrefix("0.0.0.0/0"), Kind: Unicast, Via: netip.MustParseAddr("172.19.0.1"), Link: 3}}})
	return w, v
}

// Of several addresses the one that is meant is asked about, and that is said.
func TestChoice(t *testing.T) {
	w, v := hostWithShop()
	for _, c := range []struct {
		src, dst string
		six      bool
		want     string
		notes    string
	}{
		{"lan", "shop", false, "172.19.0.9", "shop: 172.19.0.9 on back is asked about; it is also 172.18.0.9 on front, 172.21.0.2 on closed"},
		{"db", "shop", false, "172.19.0.9", "shop: 172.19.0.9 on back is asked about; it is also 172.18.0.9 on front, 172.21.0.2 on closed"},
		{"lan", "shop", true, "172.19.0.9", "shop: by IPv4: it has no address of IPv6; shop: 172.19.0.9 on back is asked about; it is also 172.18.0.9 on front, 172.21.0.2 on closed"},
		{"lan", "db", true, "fd00:19::3", ""},
		{"lan", "172.18.0.9", false, "172.18.0.9", ""},
		{"shop", "web", false, "172.18.0.2", "web: 172.18.0.2 on front is asked about; it is also 172.19.0.2 on back"},
		{"lan", "host", true, "2001:db8::2", ""},
	} {
		q, err := Asked{Src: c.src, Dst: c.dst, Proto: ICMP, Six: c.six}.Query(w, v)
		if err != nil || q.Dst.String() != c.want || strings.Join(q.Notes, "; ") != c.notes {
			t.Errorf("%s %s %v: %s %q %v", c.src, c.dst, c.six, q.Dst, q.Notes, err)
		}
	}
	w.Spaces[len(w.Spaces)-1].Routes = nil
	if q, err := (Asked{Src: "lan", Dst: "shop", Proto: ICMP}).Query(w, v); err != nil || q.Dst.String() != "172.18.0.9" {
		t.Errorf("without a default route: %s %v", q.Dst, err)
	}
	w.Spaces[0].Links[1].Addrs = prefixes("192.0.2.2/24", "fe80::2/64")
	w.Spaces[0].Links[3].Addrs = prefixes("172.19.0.1/16")
	q, err := Asked{Src: "lan", Dst: "host", Proto: ICMP, Six: true}.Query(w, v)
	if err != nil || q.Dst.String() != "192.0.2.2" || strings.Join(q.Notes, "") != "host: by IPv4: the host has no global IPv6 address on a link that leads outside" {
		t.Errorf("%s %q %v", q.Dst, q.Notes, err)
	}
	if r := Predict(w, q); strings.Join(r.Notes, "") != strings.Join(q.Notes, "") {
		t.Errorf("%+v", r)
	}
}

// Who is beyond the uplink comes in by it, whatever routes lead to where.
func TestLANComesByTheUplink(t *testing.T) {
	w, v := hostWithTwo()
	w.Spaces[0].Routes = append(w.Spaces[0].Routes, Route{Table: tableMain, Dst: netip.MustParsePrefix("192.0.2.0/28"), Kind: Unicast, Link: 3})
	for _, src := range []string{"lan", "192.0.2.7", "198.51.100.7"} {
		if q, err := (Asked{Src: src, Dst: "web", Proto: ICMP}).Query(w, v); err != nil || q.In != "eth0" {
			t.Errorf("%s: by %q, %v", src, q.In, err)
		}
	}
}

// Where a published port is not found it is said where it is.
func TestPublishedElsewhere(t *testing.T) {
	w, _ := hostWithTwo()
	w.Spaces[0].Routes = append(w.Spaces[0].Routes, Route{Table: tableLocal, Dst: netip.MustParsePrefix("192.0.2.2/32"), Kind: Local, Link: 2})
	w.Spaces[0].Policies = append([]Policy{{Table: tableLocal, Suppress: -1}}, w.Spaces[0].Policies...)
	relay := func(listen string) Relay {
		return Relay{Proto: TCP, Listen: netip.MustParseAddrPort(listen), To: netip.MustParseAddrPort("172.18.0.2:80"), Process: "mybr"}
	}
	for _, c := range []struct {
		relays []Relay
		want   string
	}{
		{nil, "nobody in host listens on tcp port 8443 at 192.0.2.2"},
		{[]Relay{relay("127.0.0.1:8443"), relay("[::1]:8443"), relay("192.0.2.2:80")}, "nobody in host listens on tcp port 8443 at 192.0.2.2; mybr publishes it at 127.0.0.1 and ::1 alone"},
		{[]Relay{relay("[::]:8443")}, "nobody in host listens on tcp port 8443 at 192.0.2.2; mybr publishes it at :: alone"},
		{[]Relay{relay("0.0.0.0:8443")}, "nobody in host listens on tcp port 8443 at 192.0.2.2; mybr publishes it there, and does not hold it: it may not run"},
	} {
		w.Relays = c.relays
		r := Predict(w, Query{In: "eth0", Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.2"), Proto: TCP, Dport: 8443})
		if r.Verdict != Refused && r.Verdict != Dropped || !strings.HasSuffix(r.Reason, c.want) {
			t.Errorf("%s: %s", r.Verdict, r.Reason)
		}
	}
}

// What the process takes of a port with interfaces of its own: from them, from the container's
// network, and what the host sends.
func TestRelayByInterface(t *testing.T) {
	addr := netip.MustParseAddr
	host := &Space{Name: "host", Links: []Link{{Name: "eth0", Index: 2, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}}}
	for _, c := range []struct {
		via, link, src string
		verdict        string
		reason         string
	}{
		{"eth1,wg0", "eth0", "192.0.2.9", Dropped, "mybr, which holds tcp 0.0.0.0:80, takes nothing from outside that comes by eth0, only by eth1,wg0 (mybr.publish.interface)"},
		{"differs by port", "eth0", "192.0.2.9", Unknown, "mybr holds tcp 0.0.0.0:80, of which some ports are reached by other interfaces than others"},
		{"eth1,wg0", "wg0", "192.0.2.9", "", ""},
		{"eth1", "mybr0", "172.18.0.3", "", ""},
		{"eth1", "lo", "192.0.2.1", "", ""},
		{"eth1", "lo", "127.0.0.1", "", ""},
		{"", "eth0", "192.0.2.9", "", ""},
	} {
		k := &walker{w: &World{Spaces: []*Space{host}}, relays: mostRelays} // no leg is followed
		o := k.relay(host, &Link{Name: c.link}, Packet{Proto: TCP, Src: addr(c.src)}, "tcp 0.0.0.0:80", &Relay{Process: "mybr", Via: c.via, Network: "mybr0"})
		if c.reason == "" {
			c.verdict, c.reason = Dropped, "processes lead it round in a circle"
		}
		if o.verdict != c.verdict || o.reason != c.reason {
			t.Errorf("%+v: %s, %s", c, o.verdict, o.reason)
		}
	}
}

// What the process takes of a port with clients of its own: from them, whatever list has them, from the
// container's network, and what the host sends.
func TestRelayClients(t *testing.T) {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	host := &Space{Name: "host", Links: []Link{{Name: "eth0", Index: 2, Addrs: []netip.Prefix{prefix("198.51.100.1/24")}}}}
	v := view.View{Lists: []view.List{{Name: "office", Prefixes: []netip.Prefix{prefix("192.0.2.0/24")}}}}
	const nobody = "mybr, which holds tcp 0.0.0.0:80, takes nothing from 203.0.113.9, only from "
	for _, c := range []struct {
		from, link, src string
		verdict         string
		reason          string
	}{
		{"", "eth0", "203.0.113.9", "", ""},
		{"10.0.0.0/8,@office", "eth0", "192.0.2.9", "", ""},
		{"10.0.0.0/8,@office", "eth0", "10.1.2.3", "", ""},
		{"10.0.0.0/8,@office", "eth0", "203.0.113.9", Dropped, nobody + "10.0.0.0/8,@office (mybr.publish.from)"},
		{"@gone", "eth0", "203.0.113.9", Dropped, nobody + "@gone (mybr.publish.from)"},
		{"none", "eth0", "203.0.113.9", Dropped, nobody + "none (mybr.publish.from)"},
		{"none", "mybr0", "172.18.0.3", "", ""},
		{"none", "lo", "127.0.0.1", "", ""},
		{"none", "eth0", "198.51.100.1", "", ""},
		{view.ByPort, "eth0", "203.0.113.9", Unknown, "mybr holds tcp 0.0.0.0:80, of which some ports have other clients than others"},
	} {
		v.Ports = []view.Port{{Proto: TCP, Host: netip.MustParseAddrPort("0.0.0.0:80"), Container: netip.MustParseAddrPort("172.18.0.2:80"), Count: 1, Bridge: "mybr0", From: c.from}}
		relay := RelaysOf(v)[0]
		k := &walker{w: &World{Spaces: []*Space{host}}, relays: mostRelays} // no leg is followed
		o := k.relay(host, &Link{Name: c.link}, Packet{Proto: TCP, Src: addr(c.src)}, "tcp 0.0.0.0:80", &relay)
		if c.reason == "" {
			c.verdict, c.reason = Dropped, "processes lead it round in a circle"
		}
		if o.verdict != c.verdict || o.reason != c.reason {
			t.Errorf("%+v: %s, %s", c, o.verdict, o.reason)
		}
	}
}

// What is sent to a port that the process holds and can't carry is lost, and an option of
// its container opens it: that of the network would open others' ports past the host's firewall; at other addresses of the host it is not known who takes it.
func TestClosedPort(t *testing.T) {
	host := &Space{Name: "host", Links: []Link{{Name: "eth0", Index: 2, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}}}
	v := view.View{Ports: []view.Port{{Proto: SCTP, Host: netip.MustParseAddrPort("0.0.0.0:5000"), Container: netip.MustParseAddrPort("172.18.0.2:5000"), Count: 2, Bridge: "mybr0", Endpoint: "0123456789abcdef", Carried: view.Closed}}}
	for dst, verdict := range map[string]string{"192.0.2.1:5000": Dropped, "192.0.2.1:5001": Dropped, "192.0.2.1:5002": Unknown, "[2001:db8::1]:5000": Unknown} {
		to := netip.MustParseAddrPort(dst)
		k := &walker{w: &World{Spaces: []*Space{host}, Relays: RelaysOf(v)}}
		o := k.deliver(host, &host.Links[0], Packet{Proto: SCTP, Src: netip.MustParseAddr("192.0.2.9"), Dst: to.Addr(), Dport: to.Port()})
		if o.verdict != verdict {
			t.Errorf("%s: %s, %s", dst, o.verdict, o.reason)
		}
		if dropped := verdict == Dropped; dropped && (!strings.Contains(o.reason, "mybr.publish.policy=host") || !slices.Equal(o.mend, []string{"mybr endpoint set 0123456789abcdef mybr.publish.policy=open"})) {
			t.Errorf("%s: %s, mend %q", dst, o.reason, o.mend)
		}
	}
}

// A socket that holds a port of both families leads clients to where the port of theirs does.
func TestRelayOfBothFamilies(t *testing.T) {
	relay := func(listen, to string) Relay {
		return Relay{Proto: TCP, Listen: netip.MustParseAddrPort(listen), To: netip.MustParseAddrPort(to)}
	}
	w := &World{Spaces: []*Space{{Name: "host"}}, Relays: []Relay{relay("[::]:80", "[fd00::2]:80"), relay("0.0.0.0:80", "172.18.0.2:80")}}
	both := &Socket{Proto: TCP, Addr: netip.IPv6Unspecified(), Port: 80}
	for dst, want := range map[string]string{"127.0.0.1": "172.18.0.2:80", "::1": "[fd00::2]:80"} {
		if r := w.relay(w.Spaces[0], both, &Packet{Proto: TCP, Dst: netip.MustParseAddr(dst)}); r == nil || r.To.String() != want {
			t.Errorf("%s: %+v, want %s", dst, r, want)
		}
	}
	w.Relays = w.Relays[:1]
	if r := w.relay(w.Spaces[0], both, &Packet{Proto: TCP, Dst: netip.MustParseAddr("127.0.0.1")}); r == nil {
		t.Error("with the port of IPv6 alone nothing is carried on")
	}
}
