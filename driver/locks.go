package driver

import (
	"slices"
	"sync"
)

// The locks are taken in this order: a network's (of calls about the network to write, of
// calls about its endpoints to read), an endpoint's, and those of sandboxes, which guard
// the ports, addresses and membership of their endpoints. Whoever changes an endpoint's
// record in the store holds the lock of its sandbox (model.Endpoint.PortOwner). Several
// sandboxes are locked at once, sorted (lockAll). Any other lock that is taken meanwhile is
// tried only (tryLock).

// beginNetwork waits for its turn with a network.
func (d *Driver) beginNetwork(id string) (end func()) { return d.networks.lock(id) }

// beginEndpoint waits for its turn with an endpoint; the network stays meanwhile.
func (d *Driver) beginEndpoint(networkID, id string) (end func()) {
	unlockNetwork := d.networks.rlock(networkID)
	unlock := d.endpoints.lock(id)
	return func() {
		unlock()
		unlockNetwork()
	}
}

// locks is one lock for each key, kept only while somebody holds it or waits for it.
type locks struct {
	mu    sync.Mutex
	byKey map[string]*keyLock
}

type keyLock struct {
	sync.RWMutex
	users int // who holds it or waits for it; guarded by locks.mu
}

// lock waits until nobody else has the key.
func (l *locks) lock(key string) (unlock func()) {
	k := l.use(key)
	k.Lock()
	return func() { k.Unlock(); l.leave(key) }
}

// lockAll waits until nobody else has any of the keys.
func (l *locks) lockAll(keys ...string) (unlock func()) {
	slices.Sort(keys)
	var all []func()
	for _, key := range slices.Compact(keys) {
		all = append(all, l.lock(key))
	}
	return func() {
		for _, unlock := range all {
			unlock()
		}
	}
}

// rlock waits until nobody has the key but other readers.
func (l *locks) rlock(key string) (unlock func()) {
	k := l.use(key)
	k.RLock()
	return func() { k.RUnlock(); l.leave(key) }
}

// tryLock takes the key if nobody else has it.
func (l *locks) tryLock(key string) (unlock func(), ok bool) {
	k := l.use(key)
	if !k.TryLock() {
		l.leave(key)
		return nil, false
	}
	return func() { k.Unlock(); l.leave(key) }, true
}

func (l *locks) use(key string) *keyLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey == nil {
		l.byKey = make(map[string]*keyLock)
	}
	k := l.byKey[key]
	if k == nil {
		k = &keyLock{}
		l.byKey[key] = k
	}
	k.users++
	return k
}

func (l *locks) leave(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.byKey[key]; k.users > 1 {
		k.users--
	} else {
		delete(l.byKey, key)
	}
}
