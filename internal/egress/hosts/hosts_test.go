package hosts

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestName(t *testing.T) {
	long := strings.Repeat("a", 63)
	most := strings.Join([]string{long, long, long, long[:61]}, ".")
	for _, c := range []struct{ in, name, question string }{ // "" is refused
		{"example.com", "example.com", "example.com"},
		{"API.Example.COM", "api.example.com", "api.example.com"},
		{"localhost", "localhost", "localhost"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"1.example", "1.example", "1.example"},
		{"1.2.3.4a", "1.2.3.4a", "1.2.3.4a"},
		{"a--b.example", "a--b.example", "a--b.example"},
		{most, most, most},
		{"example.com.", "", "example.com"},
		{"_dmarc.example.com", "", "_dmarc.example.com"},
		{"a" + most, "", ""},
		{long + "a.example", "", ""},
		{"", "", ""}, {".", "", ""}, {"..", "", ""}, {"example..com", "", ""}, {".example.com", "", ""}, {"example.com..", "", ""},
		{"-a.example", "", ""}, {"a-.example", "", ""}, {"*.example.com", "", ""},
		{"bücher.example", "", ""}, {"\u212aube.example", "", ""}, {"exam\xc3ple", "", ""},
		{"example.com\x00.evil.example", "", ""}, {"example.com:443", "", ""}, {"user@example.com", "", ""}, {"a b", "", ""}, {"a/b", "", ""},
		{"192.0.2.1", "", ""}, {"192.0.2.1.", "", ""}, {"0x7f.1", "", ""}, {"2130706433", "", ""}, {"0x7f000001", "", ""},
		{"1.2.3.0x4", "", ""}, {"foo.0x", "", ""}, {"foo.08", "", ""}, {"::1", "", ""}, {"[::1]", "", ""}, {"fe80::1%eth0", "", ""},
	} {
		if got, err := Name(c.in); got != c.name || (err == nil) != (c.name != "") {
			t.Errorf("Name(%q) = %q, %v, want %q", c.in, got, err, c.name)
		}
		if got, err := Question(c.in); got != c.question || (err == nil) != (c.question != "") {
			t.Errorf("Question(%q) = %q, %v, want %q", c.in, got, err, c.question)
		}
	}
}

// A name is its own spelling, and is spelled in one way.
func FuzzName(f *testing.F) {
	for _, s := range []string{"example.com", "A.b", "a.", "1.2.3.4", "_a.b", "\u212a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Name(s)
		if err != nil {
			return
		}
		if again, err := Name(n); err != nil || again != n || !strings.EqualFold(n, s) {
			t.Errorf("Name(%q) = %q, and of that %q, %v", s, n, again, err)
		}
		if q, err := Question(s); err != nil || q != n {
			t.Errorf("Question(%q) = %q, %v, want %q", s, q, err, n)
		}
		if a, err := netip.ParseAddr(n); err == nil {
			t.Errorf("Name(%q) is the address %s", s, a)
		}
	})
}

func TestNever(t *testing.T) {
	for _, s := range []string{
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "169.254.169.254", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "fe80::1", "fec0::1", "ff02::1",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "::ffff:0:127.0.0.1", "2001:db8::1%eth0",
	} {
		if !Never(netip.MustParseAddr(s)) {
			t.Errorf("%s can be reached", s)
		}
	}
	for _, s := range []string{"192.0.2.1", "10.0.0.1", "192.168.1.1", "2001:db8::1", "fd00::1", "::ffff:192.0.2.1", "64:ff9b::c000:201", "2002:c000:201::1"} {
		if Never(netip.MustParseAddr(s)) {
			t.Errorf("%s can't be reached", s)
		}
	}
	if !Never(netip.Addr{}) {
		t.Error("no address can be reached")
	}
}

// When serving has ended the port is free: who serves it next must not find it in use.
func TestPortIsFreeBehindAccept(t *testing.T) {
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	for range 300 {
		l, err := net.ListenTCP("tcp", at)
		if err != nil {
			t.Fatalf("it is still in use: %v", err)
		}
		at = l.Addr().(*net.TCPAddr)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Millisecond, cancel)
		if err := Accept(ctx, l, &Gate{Each: 1, All: 1}, func(context.Context, netip.Addr, *net.TCPConn) {}); err != nil {
			t.Fatal(err)
		}
	}
}
