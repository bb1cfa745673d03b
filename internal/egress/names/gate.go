package names

import (
	"net/netip"
	"sync"
)

// gate counts what clients do at a time.
type gate struct {
	each, all int

	mu    sync.Mutex
	total int
	of    map[netip.Addr]int
}

// enter reports whether a client may do one thing more; who may must leave.
func (g *gate) enter(client netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.all || g.of[client] >= g.each {
		return false
	}
	if g.of == nil {
		g.of = map[netip.Addr]int{}
	}
	g.total++
	g.of[client]++
	return true
}

func (g *gate) leave(client netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.of[client]--; g.of[client] == 0 {
		delete(g.of, client)
	}
}
