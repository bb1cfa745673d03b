package names

import (
	"net/netip"
	"sync"
	"time"
)

// What is remembered for the names of addresses: not less than this, for programs look for
// the name of an address behind their connection to it; and of so many addresses.
const (
	leastGiven = time.Minute
	mostGiven  = 16384
)

type givenTo struct{ client, address netip.Addr }

type givenName struct {
	name  string
	until time.Time
}

// given is which name each client was last answered an address for.
type given struct {
	mu sync.Mutex
	of map[givenTo]givenName
}

func (g *given) note(client netip.Addr, name string, addresses []netip.Addr, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil {
		g.of = map[givenTo]givenName{}
	}
	for _, a := range addresses {
		for k := range g.of { // any: it is a convenience
			if len(g.of) < mostGiven {
				break
			}
			delete(g.of, k)
		}
		g.of[givenTo{client, a}] = givenName{name, until}
	}
}

// find is the name, and how long it is known; "": there is none.
func (g *given) find(client, address netip.Addr, now time.Time) (string, time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := givenTo{client, address}
	n, ok := g.of[k]
	if ok && !now.Before(n.until) {
		delete(g.of, k)
		return "", 0
	}
	return n.name, n.until.Sub(now)
}

// Given is the name for which a client was last answered an address, while that may be used and for a
// minute at least; "": there is none.
func (s *Server) Given(client, address netip.Addr) string {
	name, _ := s.given.find(client, address, s.cfg.Resolver.now())
	return name
}
