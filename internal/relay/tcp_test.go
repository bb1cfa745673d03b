package relay

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
)

// Streams are spliced where there are pipes to be had, and copied where there are none.
func TestTCPStreamIsWholeAndEndsHalfByHalf(t *testing.T) {
	host, container := withContainer(t)
	l := container.Listen("tcp4", "0.0.0.0:80")
	for _, pipes := range []int{maxPipes, 1, 0} {
		t.Run(fmt.Sprint(pipes, " pipes"), func(t *testing.T) {
			r := start(t, Config{})
			r.pipes.most = pipes
			serve(t, r, "tcp", 8080, 80)
			wantWholeStream(t, host, l)
			idle(t, r)
			r.pipes.mu.Lock()
			defer r.pipes.mu.Unlock()
			if n := r.pipes.made; n > min(pipes, keptPipes) || (n > 0) != (pipes > 0) {
				t.Errorf("%d of %d pipes were made and kept", n, pipes)
			}
		})
	}
}

func wantWholeStream(t *testing.T, host *nettest.Host, l net.Listener) {
	t.Helper()
	const size = 32 << 20
	sum := make(chan [32]byte, 1)
	go func() { // reads to the end and only then answers, which needs the other half open
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		h := sha256.New()
		_, _ = io.Copy(h, c)
		sum <- [32]byte(h.Sum(nil))
		_, _ = io.CopyN(c, rand.NewChaCha8([32]byte{2}), size)
	}()
	c, err := host.Dial("tcp", "127.0.0.1:8080", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := io.CopyN(c, rand.NewChaCha8([32]byte{1}), size); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := <-sum; got != sumOf(1, size) {
		t.Error("the container got something else")
	}
	h := sha256.New()
	n, err := io.Copy(h, c)
	if err != nil || n != size || [32]byte(h.Sum(nil)) != sumOf(2, size) {
		t.Errorf("the client got %d bytes, or other ones: %v", n, err)
	}
}

func sumOf(seed byte, size int64) [32]byte {
	h := sha256.New()
	_, _ = io.CopyN(h, rand.NewChaCha8([32]byte{seed}), size)
	return [32]byte(h.Sum(nil))
}

func TestTCPClientIsResetWhenTheContainerRefuses(t *testing.T) {
	host, _ := withContainer(t)
	r := start(t, Config{})
	serve(t, r, "tcp", 8080, 80)
	wantReset(t, host, "127.0.0.1:8080")
}

// wantReset connects and expects that the connection is reset, be it that soon that
// connect(2) says so.
func wantReset(t *testing.T, host *nettest.Host, address string) {
	t.Helper()
	c, err := host.Dial("tcp", address, patience)
	if err == nil {
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}

func TestTCPClientIsResetWhenTheContainerIsSilent(t *testing.T) {
	host, container := withContainer(t)
	container.Run("ip", "link", "set", "eth0", "down")
	r := start(t, Config{DialTimeout: 100 * time.Millisecond})
	serve(t, r, "tcp", 8080, 80)
	wantReset(t, host, "127.0.0.1:8080")
}

func TestHundredsOfConnectionsAtOnce(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	r := start(t, Config{})
	serve(t, r, "tcp", 8080, 80)
	var open []net.Conn
	for i := range 300 {
		c, err := host.Dial("tcp", "127.0.0.1:8080", patience)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		defer c.Close()
		if _, err := fmt.Fprintf(c, "%5d", i); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range open {
		_ = c.SetDeadline(time.Now().Add(patience))
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(c)
		if want := fmt.Sprintf("%5d", i); err != nil || !bytes.HasSuffix(all, []byte(want)) {
			t.Fatalf("%q %v, want %s", all, err, want)
		}
	}
}
