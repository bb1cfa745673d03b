package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
)

// One socket has both families: each client is led to the target of its own, answered from
// the address that it had asked, and what changes for one family is nothing to the other.
func TestOneSocketServesBothFamilies(t *testing.T) {
	host, container := withContainer(t)
	for _, port := range []int{80, 81} {
		for _, network := range []string{"tcp4", "udp4"} {
			container.Echo(network, fmt.Sprint("0.0.0.0:", port))
		}
	}
	r := start(t, Config{})
	where := netip.MustParseAddrPort("[::]:8080")
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			s := relayed(t, r, network, where, listen(t, network, where), Targets{V4: at(80)})
			v4 := dialed(t, host, network, "127.0.0.1:8080")
			wantSaid(t, v4, true)
			wantSaid(t, dialed(t, host, network, "[::1]:8080"), false)
			s.Serve(Targets{V4: at(80), V6: at(81)})
			wantSaid(t, v4, true)
			v6 := dialed(t, host, network, "[::1]:8080")
			wantSaid(t, v6, true)
			s.Serve(Targets{V6: at(81)})
			wantSaid(t, v6, true)
			wantSaid(t, v4, false)
			s.Serve(Targets{V4: at(81), V6: at(81)})
			wantSaid(t, dialed(t, host, network, "127.0.0.1:8080"), true)
		})
	}
}

// dialed is a connection; nil if it was reset at once.
func dialed(t *testing.T, host *nettest.Host, network, address string) net.Conn {
	t.Helper()
	c, err := host.Dial(network, address, patience)
	if errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wantSaid says something, and expects an answer or none.
func wantSaid(t *testing.T, c net.Conn, want bool) {
	t.Helper()
	if err := ask(c, want); (err == nil) != want {
		t.Errorf("%v, want an answer: %v", err, want)
	}
}

func ask(c net.Conn, patient bool) error {
	if c == nil {
		return syscall.ECONNRESET
	}
	wait := patience
	if !patient {
		wait = 200 * time.Millisecond
	}
	_ = c.SetDeadline(time.Now().Add(wait))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1<<16))
	for err == nil && !patient { // what came before is still there to be read
		_, err = c.Read(make([]byte, 1<<16))
	}
	return err
}
