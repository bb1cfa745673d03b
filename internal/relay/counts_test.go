package relay

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
)

// What is sent is counted, to the byte, also while a connection goes on; so are clients that
// were turned away, and containers that did not answer.
func TestCounts(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("udp4", "0.0.0.0:53")
	l := container.Listen("tcp4", "0.0.0.0:80")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				n, _ := io.Copy(io.Discard, c)
				fmt.Fprint(c, n)
			}()
		}
	}()
	r := start(t, Config{})
	serve(t, r, "tcp", 8080, 80)
	serve(t, r, "tcp", 8081, 81)
	serve(t, r, "udp", 5353, 53)

	const size = 3<<20 + 12345
	c, err := host.Dial("tcp", "127.0.0.1:8080", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, patience, func() error {
		if got := r.Counts().TCP; got.In != size || got.Begun != 1 || got.Ended != 0 {
			return fmt.Errorf("while it goes on: %+v", got)
		}
		return nil
	})
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if want := fmt.Sprint(size); err != nil || string(answer) != want {
		t.Fatalf("the container got %s bytes, want %s: %v", answer, want, err)
	}
	wantReset(t, host, "127.0.0.1:8081")
	nettest.Eventually(t, patience, func() error {
		want := Traffic{Begun: 2, Ended: 2, Unreachable: 1, In: size, Out: uint64(len(answer))}
		if got := r.Counts().TCP; got != want {
			return fmt.Errorf("TCP: %+v, want %+v", got, want)
		}
		return nil
	})

	asked, err := host.Dial("udp", "127.0.0.1:5353", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	_ = asked.SetDeadline(time.Now().Add(patience))
	said := bytes.Repeat([]byte("x"), 321)
	if _, err := asked.Write(said); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 1<<16)
	n, err := asked.Read(back)
	if err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, patience, func() error {
		if got, want := r.Counts().UDP, (Traffic{Begun: 1, In: uint64(len(said)), Out: uint64(n)}); got != want {
			return fmt.Errorf("UDP: %+v, want %+v", got, want)
		}
		return nil
	})
}

// A client for whom no descriptors are left is counted as refused, and not as begun.
func TestRefusedAreCounted(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	container.Echo("udp4", "0.0.0.0:53")
	warned := new(strings.Builder)
	r := start(t, Config{Budget: NewBudget(1, func(format string, args ...any) { fmt.Fprintf(warned, format, args...) })})
	serve(t, r, "tcp", 8080, 80)
	wantReset(t, host, "127.0.0.1:8080")
	if got, want := r.Counts().TCP, (Traffic{Refused: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// That a port is withdrawn while a connection to the container is made is no fault of the
// container's.
func TestWithdrawnIsNotUnreachable(t *testing.T) {
	host, container := withContainer(t)
	container.Run("ip", "link", "set", "eth0", "down")
	r := start(t, Config{})
	s := serve(t, r, "tcp", 8080, 80)
	c, err := host.Dial("tcp", "127.0.0.1:8080", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	nettest.Eventually(t, patience, func() error {
		if got := r.Counts().TCP; got.Begun != 1 {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	s.Stop()
	if got, want := r.Counts().TCP, (Traffic{Begun: 1, Ended: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
