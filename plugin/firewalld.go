package plugin

import (
	"context"
	"sync"
	"time"
)

// dockerRestores is when, after firewalld has flushed the rules of all, mybr's are
// looked at again: Docker puts its own back rule by rule, which takes it longer the more
// it has, and in front of mybr's.
func dockerRestores() []time.Duration {
	return []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second}
}

// besideFirewalld asks for passes from scratch when firewalld may have undone what mybr
// did, until ctx ends.
func (h *host) besideFirewalld(ctx context.Context) {
	changes := make(chan struct{}, 1)
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		h.firewalld.Watch(ctx, func() {
			select {
			case changes <- struct{}{}:
			default: // told of already
			}
		})
	})
	again := time.NewTimer(0)
	again.Stop()
	var left []time.Duration
	for {
		select {
		case <-changes:
			left = dockerRestores()
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return
		}
		h.doubt()
		if len(left) > 0 {
			again.Reset(left[0])
			left = left[1:]
		}
	}
}
