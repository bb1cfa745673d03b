package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
)

// connected returns the two ends of a relayed connection, whose reads end in time.
func connected(t *testing.T, host *nettest.Host, l net.Listener) (client, server *net.TCPConn) {
	t.Helper()
	c, err := host.Dial("tcp", "127.0.0.1:8080", patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, end := range []net.Conn{c, s} {
		_ = end.SetDeadline(time.Now().Add(patience))
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// idle waits until nothing is relayed any more.
func idle(t *testing.T, r *Relay) {
	t.Helper()
	nettest.Eventually(t, patience, func() error {
		b := r.cfg.Budget
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.relayed > 0 {
			return fmt.Errorf("%d descriptors are still in use", b.relayed)
		}
		return nil
	})
}

// Whichever end hangs up, and however, the other one sees the same, and nothing is left.
func TestTCPHangUpsArePassedOn(t *testing.T) {
	host, container := withContainer(t)
	l := container.Listen("tcp4", "0.0.0.0:80")
	r := start(t, Config{})
	serve(t, r, "tcp", 8080, 80)
	ends := map[string]func(client, server *net.TCPConn) (one, other *net.TCPConn){
		"client":    func(c, s *net.TCPConn) (*net.TCPConn, *net.TCPConn) { return c, s },
		"container": func(c, s *net.TCPConn) (*net.TCPConn, *net.TCPConn) { return s, c },
	}
	for name, order := range ends {
		t.Run(name+" closes one half", func(t *testing.T) {
			one, other := order(connected(t, host, l))
			if _, err := one.Write([]byte("last words")); err != nil {
				t.Fatal(err)
			}
			if err := one.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(other); string(got) != "last words" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
			answer := bytes.Repeat([]byte("x"), 1<<20) // the other half is still open
			go func() {
				_, _ = other.Write(answer)
				_ = other.CloseWrite()
			}()
			if got, err := io.ReadAll(one); len(got) != len(answer) || err != nil {
				t.Errorf("%d bytes of %d, %v", len(got), len(answer), err)
			}
			idle(t, r)
		})
		t.Run(name+" resets", func(t *testing.T) {
			one, other := order(connected(t, host, l))
			_ = one.SetLinger(0)
			one.Close()
			if n, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%d, %v, want a reset", n, err)
			}
			idle(t, r)
		})
		t.Run(name+" closes while it is sent to", func(t *testing.T) {
			one, other := order(connected(t, host, l))
			if _, err := other.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := one.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			one.Close()
			_, err := io.Copy(other, endless{})
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("%v, want a reset", err)
			}
			idle(t, r)
		})
	}
}

// endless is a stream without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A container that has gone, with its interface, in the middle of a stream holds nothing
// up: the session can be stopped, and its client is told.
func TestStopWhileTheContainerHasVanished(t *testing.T) {
	host, container := withContainer(t)
	l := container.Listen("tcp4", "0.0.0.0:80")
	r := start(t, Config{})
	s := serve(t, r, "tcp", 8080, 80)
	client, server := connected(t, host, l)
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	host.Run("ip", "link", "del", "vh0")
	_ = client.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := io.Copy(client, endless{}); !isTimeout(err) { // more than all buffers take
		t.Fatalf("%v, want a stream that stands still", err)
	}
	s.Stop()
	if n, err := client.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("%d, %v, want a connection that has ended", n, err)
	}
	idle(t, r)
}

// A session that was stopped can be followed by another one on the same socket.
func TestAnotherSessionOnTheSameSocket(t *testing.T) {
	host, container := withContainer(t)
	for _, network := range []string{"tcp4", "udp4"} {
		container.Echo(network, "0.0.0.0:80")
	}
	r := start(t, Config{})
	where := netip.MustParseAddrPort("127.0.0.1:8080")
	l, c := listen(t, "tcp", where), listen(t, "udp", where)
	for range 3 {
		udp, err := r.UDP(c, where, Targets{V4: at(80)})
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := r.TCP(l, where, Targets{V4: at(80)})
		if err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"tcp", "udp"} {
			if answer, err := host.Ask(network, "127.0.0.1:8080", patience); err != nil || answer.Server != "container" {
				t.Errorf("%s: %v %v", network, answer, err)
			}
		}
		udp.Stop()
		tcp.Stop()
	}
	idle(t, r)
}
