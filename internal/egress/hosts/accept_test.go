package hosts

import (
	"net/netip"
	"testing"
)

// Many clients that take all they get leave room for those that come behind them.
func TestGateLeavesRoom(t *testing.T) {
	client := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{172, 18, byte(i >> 8), byte(i)}) }
	for _, c := range []struct{ each, all, clients, alone, behind int }{
		{512, 8192, 16, 512, 100},
		{512, 8192, 36, 512, 1},
		{64, 1024, 16, 64, 20},
		{8, 256, 32, 8, 2},
		{21, 42, 2, 8, 4}, // RLIMIT_NOFILE is 1024
		{1, 1, 1, 1, 0},
	} {
		g := Gate{Each: c.each, All: c.all}
		fill := func(a netip.Addr) (n int) {
			for g.Enter(a) {
				n++
			}
			return n
		}
		if n := fill(client(0)); n < c.alone {
			t.Errorf("%d of %d: alone a client has %d, want %d", c.each, c.all, n, c.alone)
		}
		for i := range c.clients {
			fill(client(i))
		}
		if n := fill(client(c.clients)); n < c.behind {
			t.Errorf("%d of %d: behind %d clients another one has %d, want %d", c.each, c.all, c.clients, n, c.behind)
		}
		for a, n := range g.of {
			for range n {
				g.Leave(a)
			}
		}
		if g.total != 0 || len(g.of) != 0 {
			t.Errorf("%d are left, of %v", g.total, g.of)
		}
	}
}
