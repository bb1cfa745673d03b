package egress_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/model"
)

// What is read is written in one way; what can't be read is refused by its name, with what can.
func TestParse(t *testing.T) {
	const wanted = "want an address such as 192.0.2.7, a prefix such as 10.0.0.0/8, either with :PORT behind it ([fd00::7]:PORT), host:PORT, a name such as example.com or *.example.com, or @NAME of a list"
	for _, c := range []struct{ text, want, fails string }{
		{"all", "all", ""},
		{" none ", "none", ""},
		{"192.0.2.7", "192.0.2.7", ""},
		{"192.0.2.7/32", "192.0.2.7", ""},
		{"10.0.0.0/8:443", "10.0.0.0/8:443", ""},
		{"10.0.0.0/8/tcp", "10.0.0.0/8/tcp", ""},
		{"10.0.0.0/8:80-90/tcp, 192.0.2.1/icmp", "10.0.0.0/8:80-90/tcp,192.0.2.1/icmp", ""},
		{"192.0.2.1:80-80/udp", "192.0.2.1:80/udp", ""},
		{"fd00::7", "fd00::7", ""},
		{"fd00::/8/sctp", "fd00::/8/sctp", ""},
		{"[fd00::7]", "fd00::7", ""},
		{"[fd00::7]:443,[fd00::/8]:53/udp", "[fd00::/8]:53/udp,[fd00::7]:443", ""},
		{"host:53,host:8000-8010/tcp", "host:53,host:8000-8010/tcp", ""},
		{"@apis,192.0.2.1,@office,192.0.2.1", "192.0.2.1,@apis,@office", ""},
		{"Example.COM.", "example.com", ""},
		{"*.example.com:443/tcp", "*.example.com:443/tcp", ""},
		{"_sip.example.com", "_sip.example.com", ""},

		{"", "", "there is an entry missing between commas: " + wanted},
		{"192.0.2.1,", "", "there is an entry missing between commas: " + wanted},
		{"192.0.2.1,none", "", "none: it stands alone, and not among others"},
		{"10.0.0.1/8", "", "10.0.0.1/8: it has bits behind its prefix: want 10.0.0.0/8, or 10.0.0.1"},
		{"192.0.2.256", "", "192.0.2.256: there is no such address: " + wanted},
		{"10.0.0.0/33", "", "10.0.0.0/33: there is no such address: " + wanted},
		{"10.0.0.0/", "", "10.0.0.0/: there is no such address: " + wanted},
		{"fe80::1%eth0", "", "fe80::1%eth0: there is no such address: " + wanted},
		{"::ffff:192.0.2.1", "", "::ffff:192.0.2.1: there is no such address: " + wanted},
		{"[192.0.2.1]:80", "", "[192.0.2.1]:80: brackets are for IPv6: leave them out"},
		{"[fd00::1", "", "[fd00::1: want [ADDRESS] or [PREFIX], with :PORT behind it"},
		{"192.0.2.1:0", "", "192.0.2.1:0: 0 is no port: want a number from 1 to 65535, or two with - between"},
		{"192.0.2.1:65536", "", "192.0.2.1:65536: 65536 is no port: want a number from 1 to 65535, or two with - between"},
		{"192.0.2.1:+80", "", "192.0.2.1:+80: +80 is no port: want a number from 1 to 65535, or two with - between"},
		{"192.0.2.1:", "", "192.0.2.1::  is no port: want a number from 1 to 65535, or two with - between"},
		{"192.0.2.1:90-80", "", "192.0.2.1:90-80: ports 90-80: the first is behind the last"},
		{"192.0.2.1/gre", "", "192.0.2.1/gre: gre is no protocol: want tcp, udp, sctp or icmp"},
		{"192.0.2.1:8/icmp", "", "192.0.2.1:8/icmp: ICMP has no ports: leave out :8, or /icmp"},
		{"host", "", "host: want host:PORT: of the host itself only ports can be listed"},
		{"host/icmp", "", "host/icmp: want host:PORT: of the host itself only ports can be listed"},
		{"@a b", "", "a b is no name of a list: want 1 to 63 of letters, digits, dots, _ and -"},
		{"@office:443", "", "@office:443: ports and protocols are said in the list itself: want @NAME alone"},
		{"localhost", "", "localhost: it is no address, and no name with a domain: " + wanted},
		{"example.123", "", "example.123: it is no address, and no name with a domain: " + wanted},
		{"a.*.example.com", "", "a.*.example.com: * stands at the beginning of a name alone: want *.example.com"},
		{"bücher.example", "", "bücher.example: names are written in ASCII: want other letters as xn--… (IDNA)"},
		{"-a.example", "", "-a.example: -a is no part of a name: want 1 to 63 of letters, digits and -"},
		{strings.Repeat("a", 64) + ".example", "", strings.Repeat("a", 64) + ".example: " + strings.Repeat("a", 64) + " is no part of a name: want 1 to 63 of letters, digits and -"},
		{strings.Repeat("a.", 130) + "example", "", strings.Repeat("a.", 40) + "…: a name has at most 253 characters (RFC 1035)"},
	} {
		got, failed := "", ""
		if l, err := egress.Parse(c.text); err != nil {
			failed = err.Error()
		} else {
			got = l.String()
		}
		if got != c.want || failed != c.fails {
			t.Errorf("%q: %q, %s\nwant %q, %s", c.text, got, failed, c.want, c.fails)
		}
	}
	var many []string
	for i := range 1001 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String())
	}
	if _, err := egress.Parse(strings.Join(many, ",")); err == nil || err.Error() != "there are more than 1000 entries" {
		t.Errorf("%d entries: %v", len(many), err)
	}
	if _, err := egress.Parse(strings.Join(many[1:], ",")); err != nil {
		t.Error(err)
	}
}

// Whatever is read is written so that it is read again as the same.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"all", "10.0.0.0/8:80-90/tcp,[fd00::/8]:53/udp", "host:53,@office", "*.example.com:443", "[::]:1", "::/0/icmp"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := egress.Parse(text)
		if err != nil {
			return
		}
		again, err := egress.Parse(l.String())
		if err != nil || again.String() != l.String() || !slices.Equal(again.Entries, l.Entries) || again.All != l.All {
			t.Errorf("%q is %q, and then %q: %v", text, l, again, err)
		}
	})
}

func TestKept(t *testing.T) {
	l, err := egress.ParseKept("apis", "192.0.2.7,10.0.0.0/8", "[fd00::7]:443", "host:53/udp")
	if err != nil || len(l.Prefixes) != 2 || !slices.Equal(l.Egress, []string{"[fd00::7]:443", "host:53/udp"}) {
		t.Errorf("have %+v, %v", l, err)
	}
	for text, want := range map[string]string{
		"@other":     "list apis: @other: a list can't name another one",
		"all":        "list apis: all: it stands alone, and not among others",
		"10.0.0.1/8": "list apis: 10.0.0.1/8: it has bits behind its prefix: want 10.0.0.0/8, or 10.0.0.1",
	} {
		if _, err := egress.ParseKept("apis", text); err == nil || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	lists := model.Lists{"apis": l}
	got := egress.Recorded("@apis,@gone,192.0.2.9,*.example.com", lists)
	if got != "10.0.0.0/8,192.0.2.7,192.0.2.9,[fd00::7]:443,host:53/udp" {
		t.Errorf("allowed: %s", got)
	}
	for text, want := range map[string]egress.Allowed{"": "", "all": "", "none": egress.Nothing, "@gone": egress.Nothing, "what is this": egress.Nothing} {
		if got := egress.Recorded(text, lists); got != want {
			t.Errorf("%q allows %q, want %q", text, got, want)
		}
	}
}

// Lists that are named together may have more entries than each of them may.
func TestSumOfLists(t *testing.T) {
	lists := model.Lists{}
	for i, name := range []string{"a", "b"} {
		kept := model.List{Name: name}
		for j := range 600 {
			kept.Prefixes = append(kept.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(j >> 8), byte(j)}), 32))
		}
		lists[name] = kept
	}
	sum := egress.Recorded("@a,@b", lists)
	if s := sum.Services(model.IPv4); len(s) != 1 || len(s[0].To) != 1200 {
		t.Errorf("two lists of 600 addresses are %d services", len(s))
	}
	for _, to := range []string{"10.0.0.0:80", "10.1.2.87:80"} {
		if !sum.Has(egress.Packet{Proto: model.TCP, To: netip.MustParseAddrPort(to)}) {
			t.Errorf("%s is listed, and not allowed", to)
		}
	}
}

func TestHas(t *testing.T) {
	for _, c := range []struct {
		allowed egress.Allowed
		proto   model.Proto
		to      string
		host    bool
		want    bool
	}{
		{"", 47, "192.0.2.1:0", false, true},
		{"none", model.TCP, "192.0.2.1:80", true, false},
		{"192.0.2.1", 47, "192.0.2.1:0", false, true},
		{"192.0.2.1", 47, "192.0.2.2:0", false, false},
		{"192.0.2.1:80", model.SCTP, "192.0.2.1:80", false, true},
		{"192.0.2.1:80", 47, "192.0.2.1:80", false, false},
		{"192.0.2.1:80-90/tcp", model.TCP, "192.0.2.1:90", false, true},
		{"192.0.2.1:80-90/tcp", model.TCP, "192.0.2.1:91", false, false},
		{"192.0.2.1:80-90/tcp", model.UDP, "192.0.2.1:90", false, false},
		{"192.0.2.0/24/icmp", 1, "192.0.2.1:0", false, true},
		{"192.0.2.0/24/icmp", 58, "192.0.2.1:0", false, false},
		{"fd00::/8/icmp", 58, "[fd00::1]:0", false, true},
		{"fd00::/8/icmp", 1, "[fd00::1]:0", false, false},
		{"fd00::/8", 58, "[fe80::1%7]:0", false, false},
		{"fe80::/10", 58, "[fe80::1%7]:0", false, true},
		{"host:53", model.UDP, "[fd00::1]:53", true, true},
		{"host:53", model.UDP, "192.0.2.1:53", false, false},
		{"host:53/udp", model.TCP, "192.0.2.1:53", true, false},
	} {
		if got := c.allowed.Has(egress.Packet{Proto: c.proto, To: netip.MustParseAddrPort(c.to), Host: c.host}); got != c.want {
			t.Errorf("%q: protocol %d to %s, host %t: %t", c.allowed, c.proto, c.to, c.host, got)
		}
	}
}

// Services say the same as the entries that they are made of, each taken by itself.
func TestServicesSayTheSame(t *testing.T) {
	word := rapid.Custom(func(t *rapid.T) string {
		to := rapid.SampledFrom([]string{"10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/17", "10.1.0.1", "0.0.0.0/0", "host"}).Draw(t, "to")
		port := rapid.SampledFrom([]string{"", ":1", ":2", ":1-3", ":2-2"}).Draw(t, "port")
		proto := rapid.SampledFrom([]string{"", "/tcp", "/udp"}).Draw(t, "proto")
		if to == "host" && port == "" {
			port = ":3"
		}
		return to + port + proto
	})
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(word, 1, 12).Draw(t, "words")
		whole := egress.Recorded(strings.Join(words, ","), nil)
		for range 50 {
			p := egress.Packet{Proto: rapid.SampledFrom([]model.Proto{model.TCP, model.UDP, 47}).Draw(t, "packet"), Host: rapid.Bool().Draw(t, "host"),
				To: netip.AddrPortFrom(netip.MustParseAddr(rapid.SampledFrom([]string{"10.1.0.1", "10.1.200.1", "10.2.0.1", "192.0.2.1"}).Draw(t, "at")), uint16(rapid.IntRange(1, 4).Draw(t, "number")))}
			some := slices.ContainsFunc(words, func(w string) bool { return egress.Recorded(w, nil).Has(p) })
			if got := whole.Has(p); got != some {
				t.Fatalf("%s: %+v: %t, its entries: %t", whole, p, got, some)
			}
		}
		for _, s := range whole.Services(model.IPv4) {
			for i, a := range s.To {
				if slices.ContainsFunc(s.To[i+1:], a.Overlaps) {
					t.Fatalf("%s: %v overlap", whole, s.To)
				}
			}
		}
	})
}
