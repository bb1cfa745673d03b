package hostport

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/relay"
)

// Limit says whom a port is served for. Clients at addresses of the host are the host, and what
// comes from the network itself is a neighbour: both are served always, neighbours unless they are
// kept apart.
type Limit struct {
	Clients model.Clients
	Via     model.Interfaces // by which they come
	Carried bool             // NAT leads nothing away that comes to the port: all of it is carried
	Bridge  string           // of the network, by which neighbours have link-local addresses
	V4, V6  netip.Prefix
	Apart   bool // neighbours are not served
	// Further are prefixes beside V4 and V6 from which neighbours may send; "": none. It counts
	// with Apart alone.
	Further model.Clients
}

// admit is what a session goes by; nil: everybody is served.
func (m *Manager) admit(l Limit) relay.Admit {
	if l == (Limit{Carried: l.Carried}) {
		return nil
	}
	clients := l.Clients.Prefixes()
	var further []netip.Prefix
	if l.Apart && l.Further != "" {
		further = l.Further.Prefixes()
	}
	return func(a netip.Addr, link func() uint32) bool {
		plain := a.WithZone("")
		contains := func(p netip.Prefix) bool { return p.Contains(plain) }
		if plain.IsLoopback() {
			return true
		}
		if contains(l.V4) || contains(l.V6) || a.Zone() != "" && a.Zone() == l.Bridge || slices.ContainsFunc(further, contains) {
			switch {
			case l.Apart:
				return m.local.has(plain)
			case m.near(l, link()): // who forges a neighbour's address comes by another interface
				return true
			}
		}
		return slices.ContainsFunc(clients, contains) && (l.Via == "" || l.Via.Has(m.links.name(link()))) || m.local.has(plain)
	}
}

// near reports whether a link is the bridge of the network, as far as that can be told.
func (m *Manager) near(l Limit, link uint32) bool {
	return l.Via == "" && link == 0 || m.links.name(link) == l.Bridge
}

// addressesKnownFor is how long the host's addresses are remembered: whoever is not served can have them
// asked for with each packet.
const addressesKnownFor = time.Second

// addresses are the host's.
type addresses struct {
	mu  sync.Mutex
	all map[netip.Addr]bool
	at  time.Time // zero: never
}

// has reports whether an address is one of the host's. If that can't be told it is none.
func (l *addresses) has(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() || time.Since(l.at) > addressesKnownFor {
		l.all, l.at = map[netip.Addr]bool{}, time.Now()
		all, err := net.InterfaceAddrs()
		if err != nil {
			l.at = time.Time{}
		}
		for _, of := range all {
			if n, ok := of.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok {
					l.all[ip.Unmap()] = true
				}
			}
		}
	}
	return l.all[a]
}
