package explain

import (
	"net/netip"
	"strings"
	"testing"
)

// What a list says of two ports is told of each packet between them, and of no other.
func TestNeighbours(t *testing.T) {
	n := &Lists{
		From:   map[string]string{"vethweb": "from-web", "vethdb": "from-db", "vethout": "from-none"},
		To:     map[string]map[string]string{"from-web": {"vethdb": "may-web-db"}, "from-db": {"vethweb": "may-db-web"}},
		Inside: map[string]bool{"vethweb": true, "vethdb": true, "vethout": true},
		May:    map[string][]Span{"may-web-db": {{TCP, 5432, 5433}, {UDP, 53, 53}, {ICMP, 0, 0}}},
		Routed: map[string][]RoutedBack{"vethweb": {{netip.MustParsePrefix("10.0.0.1/32"), true}, {netip.MustParsePrefix("10.0.0.0/24"), false}}},
	}
	s := &Space{Name: "host", Lists: n}
	for _, c := range []struct {
		name, from, to string
		p              Packet
		want           string // of the reason; "": it passes
	}{
		{"a listed port", "vethweb", "vethdb", Packet{Proto: TCP, Dport: 5433}, ""},
		{"another port", "vethweb", "vethdb", Packet{Proto: TCP, Dport: 5434}, "no rule lets port vethweb begin that to port vethdb"},
		{"another protocol", "vethweb", "vethdb", Packet{Proto: UDP, Dport: 5432}, "no rule lets port vethweb"},
		{"echo", "vethweb", "vethdb", Packet{Proto: ICMP}, ""},
		{"the other way", "vethdb", "vethweb", Packet{Proto: TCP, Sport: 5432, Dport: 5432}, "no rule lets port vethdb"},
		{"an answer", "vethdb", "vethweb", Packet{Proto: TCP, Sport: 5432, Dport: 40000, Reply: true}, ""},
		{"an answer from elsewhere", "vethdb", "vethweb", Packet{Proto: TCP, Sport: 5434, Dport: 40000, Reply: true}, "no rule lets port vethdb"},
		{"an error", "vethdb", "vethweb", Packet{Proto: UDP, kind: fault}, ""},
		{"a refusal", "vethdb", "vethweb", Packet{Proto: TCP, Sport: 5432, kind: reset}, ""},
		{"UDP from where it may have been asked for", "vethdb", "vethweb", Packet{Proto: UDP, Sport: 53, Dport: 40000}, "if port vethweb has asked for it"},
		{"between strangers", "vethout", "vethdb", Packet{Proto: TCP, Dport: 5432}, "no rule is about what port vethout sends to port vethdb"},
		{"to somebody else's port", "vethout", "vethother", Packet{Proto: TCP, Dport: 5432}, ""},
		{"from somebody else's port", "vethother", "vethdb", Packet{Proto: TCP, Dport: 1}, ""},
	} {
		o := (&walker{}).neighbours(s, &Link{Name: c.from}, &Link{Name: c.to}, &c.p)
		if c.want == "" && o != nil || c.want != "" && (o == nil || o.verdict == Delivered || !strings.Contains(o.reason, c.want)) {
			t.Errorf("%s: %+v, want %q", c.name, o, c.want)
		}
	}
	for dst, drops := range map[string]bool{"10.0.0.1": false, "10.0.0.2": true, "10.0.1.2": false} {
		for port, listed := range map[string]bool{"vethweb": true, "vethdb": false} {
			o := (&walker{}).routedBack(s, &Link{Name: port}, &Packet{Dst: netip.MustParseAddr(dst)})
			if (o != nil) != (drops && listed) {
				t.Errorf("%s from %s: %+v", dst, port, o)
			}
		}
	}
	if o := (&walker{}).neighbours(&Space{}, &Link{Name: "a"}, &Link{Name: "b"}, &Packet{}); o != nil {
		t.Errorf("without a list: %+v", o)
	}
}
