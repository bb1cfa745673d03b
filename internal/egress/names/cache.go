package names

import (
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// What the cache holds at most.
const (
	maxCached      = 4096
	maxCachedBytes = 8 << 20
)

// key is a question to the resolvers.
type key struct {
	name      string // as hosts.Question returns it
	kind      dnsmessage.Type
	dnssec    bool // with signatures (DO)
	unchecked bool // not validated (CD)
}

// cache keeps results for as long as they may be used. When it is full, those whose time is
// over go, and then any.
type cache struct {
	mu    sync.Mutex
	of    map[key]result
	bytes int
}

func (c *cache) get(k key, now time.Time) (result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.of[k]
	if ok && now.Sub(r.at) >= r.ttl {
		c.drop(k)
		return result{}, false
	}
	return r, ok
}

func (c *cache) put(k key, r result) {
	if r.ttl < time.Second {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[key]result{}
	}
	c.drop(k)
	c.room(r)
	c.of[k] = r
	c.bytes += r.size
}

func (c *cache) drop(k key) {
	if r, ok := c.of[k]; ok {
		c.bytes -= r.size
		delete(c.of, k)
	}
}

func (c *cache) full(r result) bool {
	return len(c.of) >= maxCached || c.bytes+r.size > maxCachedBytes
}

// room makes room for one more. A walk over all is for a quarter of all, so that it is not
// needed each time.
func (c *cache) room(next result) {
	if !c.full(next) {
		return
	}
	for k, r := range c.of {
		if next.at.Sub(r.at) >= r.ttl {
			c.drop(k)
		}
	}
	for k := range c.of {
		if len(c.of) < maxCached*3/4 && c.bytes+next.size <= maxCachedBytes*3/4 {
			return
		}
		c.drop(k)
	}
}
