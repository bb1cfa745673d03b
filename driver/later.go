package driver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
)

// later is what could not be recorded although it must be, since nobody asks for it again: a
// removal, and the revert of a call that was refused. A disk that is full is emptied some
// time.
type later struct {
	mu  sync.Mutex
	all map[string]func(context.Context) error
}

// add has do called at the next check; another one of the key is dropped.
func (l *later) add(key string, do func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[string]func(context.Context) error{}
	}
	l.all[key] = do
}

// catchUp tries everything once more. What fails adds itself again. The caller must hold no
// locks.
func (l *later) catchUp(ctx context.Context) error {
	l.mu.Lock()
	all := l.all
	l.all = nil
	l.mu.Unlock()
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(all)) {
		errs = append(errs, all[key](ctx))
	}
	return errors.Join(errs...)
}
