package relay

import (
	"bufio"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
)

// Clients that do nothing but stay can't use up what the process needs: one port gets
// half, the next half of the rest, and what is given back can be had again.
func TestTCPClientsAreBounded(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	var warnings atomic.Int32
	budget := NewBudget(10*perConnection*4/3, func(string, ...any) { warnings.Add(1) })
	r := start(t, Config{Budget: budget})
	serve(t, r, "tcp", 8080, 80)
	serve(t, r, "tcp", 8081, 80)
	crowd := func(port int) (served []net.Conn) {
		for range 20 {
			c, err := host.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), patience)
			if err != nil {
				continue // reset
			}
			t.Cleanup(func() { c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
				served = append(served, c)
			}
		}
		return served
	}
	first := crowd(8080)
	if len(first) != 5 {
		t.Errorf("the first port relays %d connections, want 5", len(first))
	}
	if n := len(crowd(8081)); n != 3 {
		t.Errorf("the second port relays %d connections, want 3", n)
	}
	if n := warnings.Load(); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
	for _, c := range first {
		c.Close()
	}
	nettest.Eventually(t, patience, func() error {
		_, err := host.Ask("tcp", "127.0.0.1:8080", time.Second)
		return err
	})
}

// However many clients there are, or source addresses are forged, each is answered, and
// those that were silent longest are dropped.
func TestUDPClientsAreBounded(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("udp4", "0.0.0.0:53")
	r := start(t, Config{Budget: NewBudget(13, t.Logf)}) // a quarter, 3, is for the process
	serve(t, r, "udp", 5353, 53)
	serve(t, r, "udp", 5354, 53)
	before := openSockets(t)
	for _, port := range []int{5353, 5354} {
		for i := range 50 {
			c := client(t, host, fmt.Sprintf("127.0.0.1:%d", port))
			if _, echo, err := say(c, "hello"); err != nil || echo != "hello" {
				t.Fatalf("client %d of port %d: %q, %v", i, port, echo, err)
			}
			c.Close()
		}
	}
	nettest.Eventually(t, patience, func() error {
		if n := openSockets(t) - before; n > 10 {
			return fmt.Errorf("100 clients have left %d sockets, want at most 10", n)
		}
		return nil
	})
}

// What sockets hold is not there for clients, and the other way round.
func TestBudgetIsSharedByPortsAndClients(t *testing.T) {
	b := NewBudget(40, t.Logf) // 10 are the process's own
	a := &account{budget: b}
	for range 20 {
		if err := b.Hold(); err != nil {
			t.Fatal(err)
		}
	}
	if a.take(11) || !a.take(5) || a.take(1) { // half of what is left, as for every first port
		t.Errorf("clients have %d of 10", a.own)
	}
	for range 5 {
		if err := b.Hold(); err != nil {
			t.Error(err)
		}
	}
	want := &LimitError{Limit: 40, Reserve: 10, Held: 25, Relayed: 5}
	if err := b.Hold(); err == nil || *err.(*LimitError) != *want {
		t.Errorf("%#v", err)
	}
	a.give(5)
	b.Release()
	if err := b.Hold(); err != nil {
		t.Error(err)
	}
}

func TestBudgetReadsTheLimitOfTheProcess(t *testing.T) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		t.Fatal(err)
	}
	if b := NewBudget(0, t.Logf); uint64(b.limit) != min(r.Cur, math.MaxInt32) || b.reserve != min(256, b.limit/4) {
		t.Errorf("%+v for %d", b, r.Cur)
	}
}
