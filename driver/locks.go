package driver

import "sync"

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
