package explain

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/view"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]struct {
		dst, proto string
		port       uint16
	}{
		"web":               {"web", ICMP, 0},
		"web:80":            {"web", TCP, 80},
		"web:80/tcp":        {"web", TCP, 80},
		"lan:53/udp":        {"lan", UDP, 53},
		"host/icmp":         {"host", ICMP, 0},
		"192.0.2.9:7000":    {"192.0.2.9", TCP, 7000},
		"fd00::2":           {"fd00::2", ICMP, 0},
		"[fd00::2]":         {"fd00::2", ICMP, 0},
		"[fd00::2]:80/sctp": {"fd00::2", SCTP, 80},
		"[fe80::1%eth0]:80": {"fe80::1%eth0", TCP, 80},
	} {
		dst, proto, port, err := ParseTarget(text)
		if err != nil || dst != want.dst || proto != want.proto || port != want.port {
			t.Errorf("%s: %q %q %d %v", text, dst, proto, port, err)
		}
	}
	for text, want := range map[string]string{
		"":            "want a place",
		":80":         "want a place",
		"web:0":       `port "0" of "web:0": want a number from 1 to 65535`,
		"web:http":    `port "http" of "web:http"`,
		"web:65536":   "want a number",
		"web:80/quic": `protocol "quic" of "web:80/quic": want tcp, udp, sctp or icmp`,
		"web/tcp":     "tcp needs a port",
		"web:80/icmp": "icmp has no ports",
		"web:80/":     `protocol ""`,
	} {
		if _, _, _, err := ParseTarget(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// hostWithTwo is a host with an uplink, a container on two networks and one on the second.
func hostWithTwo() (*World, view.View) {
	host := &Space{Name: "host", Links: []Link{
		{Index: 1, Name: "lo", Kind: "device", Up: true, Addrs: prefixes("127.0.0.1/8", "::1/128")},
		{Index: 2, Name: "eth0", Kind: "device", Up: true, Addrs: prefixes("192.0.2.2/24", "2001:db8::2/64")},
		{Index: 3, Name: "br-a", Kind: "bridge", Up: true, Addrs: prefixes("172.18.0.1/16")},
		{Index: 4, Name: "br-b", Kind: "bridge", Up: true, Addrs: prefixes("172.19.0.1/16", "fd00:19::1/64")},
	}, Routes: []Route{
		{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Kind: Unicast, Via: netip.MustParseAddr("192.0.2.1"), Link: 2},
		{Table: 254, Dst: netip.MustParsePrefix("2001:db8::/64"), Kind: Unicast, Link: 2},
	}, Policies: []Policy{{Table: 254, Suppress: -1}, {Six: true, Table: 254, Suppress: -1}}}
	space := func(name string, addrs ...string) *Space {
		return &Space{Name: name, Links: []Link{{Index: 9, Name: "eth0", Kind: "veth", Up: true, Addrs: prefixes(addrs...)}}}
	}
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	return &World{Spaces: []*Space{host, space("web", "172.18.0.2/16", "172.19.0.2/16"), space("db", "172.19.0.3/16", "fd00:19::3/64"), space("old", "172.17.0.2/16")}},
		view.View{
			Networks: []view.Network{{ID: a, Name: "front", Bridge: "br-a"}, {ID: b, Bridge: "br-b"}},
			Endpoints: []view.Endpoint{
				{ID: "e1aaa", Container: "web", Network: a, Bridge: "br-a", IPv4: netip.MustParsePrefix("172.18.0.2/16"), Sandbox: "/s1"},
				{ID: "e2bbb", Container: "web", Network: b, Bridge: "br-b", IPv4: netip.MustParsePrefix("172.19.0.2/16"), Sandbox: "/s1"},
				{ID: "e2bcc", Container: "db", Network: b, Bridge: "br-b", IPv4: netip.MustParsePrefix("172.19.0.3/16"), IPv6: netip.MustParsePrefix("fd00:19::3/64"), Sandbox: "/s2"},
				{ID: "e3ddd", Network: b, Bridge: "br-b", IPv4: netip.MustParsePrefix("172.19.0.4/16")},
			},
		}
}

func prefixes(all ...string) (out []netip.Prefix) {
	for _, p := range all {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestQuery(t *testing.T) {
	w, v := hostWithTwo()
	for _, c := range []struct {
		src, dst string
		six      bool
		want     string // FROM IN SRC DST, or what the error contains
	}{
		{"db", "web", false, "db - - 172.19.0.2"},
		{"host", "web", false, "host - - 172.18.0.2"},
		{"web", "db", true, "web - - fd00:19::3"},
		{"db", "host", false, "db - - 172.19.0.1"},
		{"db", "host", true, "db - - fd00:19::1"},
		{"172.19.0.3", "host", false, "db - 172.19.0.3 172.19.0.1"},
		{"lan", "host", false, "- eth0 192.0.2.1 192.0.2.2"},
		{"lan", "host", true, "- eth0 2001:db8::1 2001:db8::2"},
		{"lan", "web", false, "- eth0 192.0.2.1 172.18.0.2"},
		{"198.51.100.7", "web", false, "- eth0 198.51.100.7 172.18.0.2"},
		{"web", "lan", false, "web - - 192.0.2.1"},
		{"172.17.0.2", "db", false, "old - 172.17.0.2 172.19.0.3"},
		{"front", "db", false, "web - - 172.19.0.3"},
		{"br-a", "db", false, "web - - 172.19.0.3"},
		{"bbbb", "lan", false, "web - - 192.0.2.1"},
		{"e2bc", "lan", false, "db - - 192.0.2.1"},
		{"e2b", "lan", false, `source "e2b": no container, network or address is called so`},
		{"nobody", "web", false, `source "nobody"`},
		{"web", "nobody", false, `destination "nobody"`},
		{"172.19.0.4", "web", false, `source "172.19.0.4": no container has joined its endpoint`},
		{"172.19.0.3", "2001:db8::9", false, "two address families"},
	} {
		q, err := Asked{Src: c.src, Dst: c.dst, Proto: ICMP, Six: c.six}.Query(w, v)
		src := "-"
		if q.Src.IsValid() {
			src = q.Src.String()
		}
		dash := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		have := strings.Join([]string{dash(q.From), dash(q.In), src, q.Dst.String()}, " ")
		if err != nil {
			have = err.Error()
		}
		if have != c.want && (err == nil || !strings.Contains(have, c.want)) {
			t.Errorf("%s %s %v: %s, want %s", c.src, c.dst, c.six, have, c.want)
		}
	}
	v.Endpoints[0].ID = "e2bcd"
	if _, err := (Asked{Src: "e2bc", Dst: "lan", Proto: ICMP}).Query(w, v); err == nil || !strings.Contains(err.Error(), "several IDs begin so") {
		t.Error(err)
	}
}

// Without Docker's names a sandbox on several networks is still one place, whichever of its
// endpoints it is named after.
func TestQueryWithoutNames(t *testing.T) {
	for _, called := range []int{0, 1} {
		w, v := hostWithTwo()
		for i := range v.Endpoints {
			v.Endpoints[i].Container = ""
		}
		w.Spaces[1].Name, w.Spaces[2].Name = SpaceName(v.Endpoints[called]), SpaceName(v.Endpoints[2])
		for _, src := range []string{"e1aa", "e2bb", "172.18.0.2", "172.19.0.2", "front"} {
			q, err := Asked{Src: src, Dst: "172.19.0.3", Proto: ICMP}.Query(w, v)
			if err != nil || q.From != w.Spaces[1].Name {
				t.Errorf("%s, named after endpoint %d: from %q, %v", src, called, q.From, err)
			}
		}
	}
}

// Names of containers and networks that mean something else, too.
func TestQueryOfNamesThatAreTaken(t *testing.T) {
	w, v := hostWithTwo()
	v.Endpoints[2].Container, w.Spaces[2].Name = HostWord, "container host"
	v.Networks[0].Name, v.Endpoints[2].ID = "beef", "beef01"
	for src, want := range map[string]string{"host": "host", "172.19.0.3": "container host", "beef01": "container host", "beef": "web"} {
		q, err := Asked{Src: src, Dst: "172.19.0.2", Proto: ICMP}.Query(w, v)
		if err != nil || q.From != want {
			t.Errorf("%s: from %q, want %q, %v", src, q.From, want, err)
		}
	}
}

// A pair whose other end isn't found may lead to a namespace that could not be read.
func TestUnread(t *testing.T) {
	w, _ := hostWithTwo()
	q := Query{From: "host", Dst: netip.MustParseAddr("192.0.2.1"), Proto: ICMP}
	w.Spaces[0].Routes = append(w.Spaces[0].Routes, Route{Table: 255, Dst: netip.MustParsePrefix("192.0.2.2/32"), Kind: Local, Link: 2})
	w.Spaces[0].Policies = append([]Policy{{Table: 255, Suppress: -1}}, w.Spaces[0].Policies...)
	w.Unread = []string{"read namespace pid 7 (x): it is broken"}
	if r := Predict(w, q); r.Verdict != Leaves || !r.Beyond {
		t.Errorf("by a link that is no pair: %+v", r)
	}
	w.Spaces[0].Links[1].Kind, w.Spaces[0].Links[1].Peer = "veth", 77
	if r := Predict(w, q); r.Verdict != Unknown || !strings.Contains(r.Reason, "it is broken") {
		t.Errorf("by a pair: %+v", r)
	}
	w.Unread = nil
	if r := Predict(w, q); r.Verdict != Leaves || !r.Beyond {
		t.Errorf("by a pair, where all could be read: %+v", r)
	}
}
