package names

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestResolvConf(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "[127.0.0.1] 5s 2 false"},
		{"# nothing\nsearch example\n", "[127.0.0.1] 5s 2 false"},
		{"nameserver 192.0.2.1\n  nameserver\t2001:db8::1 # a comment\nnameserver fe80::1%eth0\nnameserver 192.0.2.4\n", "[192.0.2.1 2001:db8::1 fe80::1%eth0] 5s 2 false"},
		{"nameserver nonsense\nnameserver 192.0.2.1\noptions timeout:1 attempts:3 use-vc rotate\n", "[192.0.2.1] 1s 3 true"},
		{"options timeout:999 attempts:999\n", "[127.0.0.1] 30s 5 false"},
		{"options timeout:0 attempts:x timeout\n", "[127.0.0.1] 5s 2 false"},
	} {
		r := parseResolvConf([]byte(c.text))
		if got := fmt.Sprint(r.servers, r.timeout, r.attempts, r.stream); got != c.want {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
}

// server is a resolver of the host at an address of the loopback: what answer returns is sent,
// each as a datagram, or as one message on a connection.
func server(t *testing.T, ip string, port uint16, answer func(query []byte, stream bool) [][]byte) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(ip), port).String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		l.Close()
		t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 65535)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, a := range answer(buf[:n], false) {
				_, _ = c.WriteTo(a, from)
			}
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err == nil {
				q := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, q); err == nil {
					for _, a := range answer(q, true) {
						_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
					}
				}
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); c.Close(); <-done; <-done })
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

func host(t *testing.T, port uint16, text string) *Resolver {
	h := NewHost(resolvers(t, text))
	h.port = port
	return NewResolver(h, nil)
}

func wantAddress(t *testing.T, r *Resolver, name, want string) {
	t.Helper()
	found, err := r.resolve(t.Context(), key{name: name, kind: dnsmessage.TypeA})
	if err != nil {
		t.Fatal(err)
	}
	_, a, _ := found.usable(r.refused)
	if len(a) != 1 || a[0].String() != want {
		t.Errorf("%s has %v, want %s", name, a, want)
	}
}

func TestHostIsAskedByDatagramThenByStream(t *testing.T) {
	var stream atomic.Int32
	port := server(t, "127.0.0.1", 0, func(q []byte, s bool) [][]byte {
		a := world1.answer(q)
		if !s {
			a[2] |= 2 // truncated
			return [][]byte{a}
		}
		stream.Add(1)
		return [][]byte{a}
	})
	wantAddress(t, host(t, port, "nameserver 127.0.0.1\n"), "six.example", "192.0.2.6")
	if stream.Load() != 1 {
		t.Errorf("%d queries by TCP", stream.Load())
	}
	wantAddress(t, host(t, port, "nameserver 127.0.0.1\noptions use-vc\n"), "six.example", "192.0.2.6")
}

// Others may send answers, too: those with another identifier, to another question, and
// garbage are not the one.
func TestForgedAnswersArePassedOver(t *testing.T) {
	forged := zone{"six.example.": {addr("six.example.", "203.0.113.66", 60)}, "five.example.": {addr("five.example.", "203.0.113.66", 60)}}
	port := server(t, "127.0.0.1", 0, func(q []byte, _ bool) [][]byte {
		other := forged.answer(q)
		other[0]++
		five := question("five.example.", dnsmessage.TypeA, 0)
		copy(five, q[:2])
		noResponse := forged.answer(q)
		noResponse[2] &^= 0x80
		return [][]byte{{}, {1, 2, 3}, other, forged.answer(five), noResponse, world1.answer(q)}
	})
	wantAddress(t, host(t, port, "nameserver 127.0.0.1\n"), "six.example", "192.0.2.6")
}

func TestNextServerIsAsked(t *testing.T) {
	good := func(q []byte, _ bool) [][]byte { return [][]byte{world1.answer(q)} }
	for _, c := range []struct {
		what  string
		first func(q []byte, _ bool) [][]byte
	}{
		{"it is silent", func([]byte, bool) [][]byte { return nil }},
		{"it fails", func(q []byte, _ bool) [][]byte { a := zone{}.answer(q); a[3] = a[3]&^0xf | 2; return [][]byte{a} }},
		{"it refuses", func(q []byte, _ bool) [][]byte { a := zone{}.answer(q); a[3] = a[3]&^0xf | 5; return [][]byte{a} }},
	} {
		t.Run(c.what, func(t *testing.T) {
			port := server(t, "127.0.0.1", 0, c.first)
			server(t, "127.0.0.2", port, good)
			wantAddress(t, host(t, port, "nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions timeout:1\n"), "six.example", "192.0.2.6")
		})
	}
}

func TestAllServersRefuse(t *testing.T) {
	port := server(t, "127.0.0.1", 0, func(q []byte, _ bool) [][]byte { a := zone{}.answer(q); a[3] = a[3]&^0xf | 5; return [][]byte{a} })
	_, err := host(t, port, "nameserver 127.0.0.1\n").Lookup(t.Context(), "six.example")
	if err == nil || err.Error() != "look up six.example: the resolver answers REFUSED" {
		t.Errorf("%v", err)
	}
}

func TestHostErrorsNameTheServer(t *testing.T) {
	port := server(t, "127.0.0.1", 0, func([]byte, bool) [][]byte { return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := host(t, port, "nameserver 127.0.0.1\n").Lookup(ctx, "six.example"); err == nil || !strings.Contains(err.Error(), "resolver 127.0.0.1: context deadline exceeded") {
		t.Errorf("%v", err)
	}
}

func TestFileIsReadAgain(t *testing.T) {
	h := NewHost(resolvers(t, "nameserver 192.0.2.1\n"))
	want := func(want string) {
		t.Helper()
		if c, err := h.read(); err != nil || fmt.Sprint(c.servers) != want {
			t.Errorf("%v, %v, want %s", c.servers, err, want)
		}
	}
	want("[192.0.2.1]")
	if err := os.WriteFile(h.path, []byte("nameserver 192.0.2.22\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want("[192.0.2.22]")
	if err := os.Remove(h.path); err != nil {
		t.Fatal(err)
	}
	want("[127.0.0.1]")
	if err := os.Symlink("gone.conf", h.path); err != nil {
		t.Fatal(err)
	}
	if c, err := h.read(); err == nil {
		t.Errorf("a link that leads to no file names %v", c.servers)
	}
	if err := os.Remove(h.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := h.read(); err == nil {
		t.Error("a folder is read")
	}
}
