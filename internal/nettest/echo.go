package nettest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Answer is what an echo server says about its client.
type Answer struct {
	Server string         // Name of the host that the server runs on
	Client netip.AddrPort // where the request came from, as the server saw it
}

// Listen opens a TCP listener in the namespace, closed when the test ends.
func (h *Host) Listen(network, address string) net.Listener {
	h.t.Helper()
	var l net.Listener
	h.In(func() {
		var err error
		if l, err = net.Listen(network, address); err != nil {
			h.t.Fatalf("%s: %v", h.Name, err)
		}
	})
	h.t.Cleanup(func() { l.Close() })
	return l
}

// ListenPacket opens a UDP socket in the namespace, closed when the test ends.
func (h *Host) ListenPacket(network, address string) net.PacketConn {
	h.t.Helper()
	var c net.PacketConn
	h.In(func() {
		var err error
		if c, err = net.ListenPacket(network, address); err != nil {
			h.t.Fatalf("%s: %v", h.Name, err)
		}
	})
	h.t.Cleanup(func() { c.Close() })
	return c
}

// Dial opens a connection from inside the namespace. The caller closes it.
func (h *Host) Dial(network, address string, timeout time.Duration) (c net.Conn, err error) {
	h.t.Helper()
	h.In(func() { c, err = net.DialTimeout(network, address, timeout) })
	return c, err
}

// Echo starts an echo server on an address such as "0.0.0.0:80" or "[::]:0", for
// networks tcp*, udp*, and returns where it listens. It greets each TCP connection,
// and begins each UDP answer, with a line "SERVER CLIENT", and then sends back what it gets.
func (h *Host) Echo(network, address string) netip.AddrPort {
	h.t.Helper()
	if strings.HasPrefix(network, "udp") {
		c := h.ListenPacket(network, address)
		done := make(chan struct{})
		go func() { defer close(done); h.echoUDP(c) }()
		h.t.Cleanup(func() { c.Close(); <-done })
		return netip.MustParseAddrPort(c.LocalAddr().String())
	}
	l := h.Listen(network, address)
	done := make(chan struct{})
	go func() { defer close(done); h.echoTCP(l) }()
	h.t.Cleanup(func() { l.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}

// echoTCP serves until the listener is closed, and then ends the connections that are open:
// of a client whose last packets were dropped, the server doesn't hear that it has gone.
func (h *Host) echoTCP(l net.Listener) {
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	var served sync.WaitGroup
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		mu.Lock()
		open[c] = true
		mu.Unlock()
		served.Go(func() {
			// Not for ever: a client that stays away must not hold the goroutine.
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			fmt.Fprintf(c, "%s %s\n", h.Name, c.RemoteAddr())
			_, _ = io.Copy(c, c)
			c.Close()
			mu.Lock()
			defer mu.Unlock()
			delete(open, c)
		})
	}
	mu.Lock()
	for c := range open {
		c.Close()
	}
	mu.Unlock()
	served.Wait()
}

func (h *Host) echoUDP(c net.PacketConn) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(append(fmt.Appendf(nil, "%s %s\n", h.Name, from), buf[:n]...), from)
	}
}

// Ask sends a few bytes to an echo server from inside the namespace and returns what
// it said. An error says that no server answered in time, or not properly.
func (h *Host) Ask(network, address string, timeout time.Duration) (Answer, error) {
	h.t.Helper()
	c, err := h.Dial(network, address, timeout)
	if err != nil {
		return Answer{}, fmt.Errorf("from %s: %w", h.Name, err)
	}
	defer c.Close()
	a, err := AskOn(c, timeout)
	if err != nil {
		return Answer{}, fmt.Errorf("from %s to %s %s: %w", h.Name, network, address, err)
	}
	return a, nil
}

// AskOn is Ask on a fresh TCP connection or any UDP socket that the caller has.
func AskOn(c net.Conn, timeout time.Duration) (Answer, error) {
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return Answer{}, err
	}
	request := []byte("hello")
	if _, err := c.Write(request); err != nil {
		return Answer{}, err
	}
	r := bufio.NewReaderSize(c, 64<<10)
	line, err := r.ReadString('\n')
	if err != nil {
		return Answer{}, err
	}
	echo := make([]byte, len(request))
	if _, err := io.ReadFull(r, echo); err != nil {
		return Answer{}, err
	}
	server, client, _ := strings.Cut(strings.TrimSpace(line), " ")
	from, err := netip.ParseAddrPort(client)
	if err != nil || !bytes.Equal(echo, request) {
		return Answer{}, fmt.Errorf("answer %q %q", line, echo)
	}
	return Answer{Server: server, Client: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}, nil
}
