package byname

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/egress/hosts"
	"github.com/mybr/mybr/internal/plan"
)

// Client is a container whose list has host names, on one of its networks.
type Client struct {
	Network  string // Docker's ID
	Endpoint string // likewise
	Bridge   string // of the network
	Link     string // the host's end of the veth pair
	V4, V6   netip.Addr
	Names    egress.Named
	// Unlisted is what becomes of names that are not listed: Refuse, or Audit where the list only
	// watches.
	Unlisted hosts.Verdict
}

// CompareClients is the order of a Set's clients.
func CompareClients(a, b *Client) int { return cmp.Compare(a.Endpoint, b.Endpoint) }

// Set is what the records want of the process. Equal records have equal ones.
type Set struct {
	Listen  bool           // some network or container has names, clients or not
	Clients []Client       // sorted, see CompareClients
	Own     []netip.Prefix // the subnets of all networks: no name leads there; sorted
}

// Same reports whether two sets are deeply equal.
func (s Set) Same(o Set) bool {
	return s.Listen == o.Listen && plan.SameList(s.Clients, o.Clients) && plan.SameList(s.Own, o.Own)
}

// clients is who may reach what, for all goroutines. The zero value has nobody.
type clients struct {
	mu    sync.RWMutex
	set   Set
	at    map[netip.Addr]*client
	lists map[egress.Named]*counted // each list once, however many clients have it
}

type client struct {
	Client
	list *list
}

type counted struct {
	list
	clients int
}

// change makes the clients those of a set, and says whether some may reach less than before: one
// has gone, or its record is another one. What has not changed costs a walk along the list, at
// most.
func (c *clients) change(want Set) (less bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone, came := plan.Differing(c.set.Clients, want.Clients, CompareClients)
	c.set = want
	for _, x := range gone {
		c.take(x)
	}
	for _, x := range came {
		c.put(x)
	}
	return len(gone) > 0
}

func (c *clients) take(x Client) {
	for _, a := range [...]netip.Addr{x.V4, x.V6} {
		if at := c.at[a]; at != nil && at.Endpoint == x.Endpoint {
			delete(c.at, a)
		}
	}
	l := c.lists[x.Names]
	if l.clients--; l.clients == 0 {
		delete(c.lists, x.Names)
	}
}

func (c *clients) put(x Client) {
	if c.at == nil {
		c.at, c.lists = map[netip.Addr]*client{}, map[egress.Named]*counted{}
	}
	l := c.lists[x.Names]
	if l == nil {
		l = &counted{list: newList(x.Names)}
		c.lists[x.Names] = l
	}
	l.clients++
	known := &client{x, &l.list}
	for _, a := range [...]netip.Addr{x.V4, x.V6} {
		if a.IsValid() {
			c.at[a] = known
		}
	}
}

// find is the client with an address; nil: nobody has it that has names. What it returns does not
// change.
func (c *clients) find(a netip.Addr) *client {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.at[a]
}

// own reports whether an address is of one of the networks, of which no two overlap.
func (c *clients) own(a netip.Addr) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, at := slices.BinarySearchFunc(c.set.Own, a, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return at || i > 0 && c.set.Own[i-1].Contains(a)
}

// Allowed implements hosts.Policy.
func (c *clients) Allowed(from netip.Addr, name string, port uint16) hosts.Verdict {
	x := c.find(from)
	switch {
	case x == nil:
		return hosts.Refuse
	case x.list.has(name, port):
		return hosts.Allow
	}
	return x.Unlisted
}
