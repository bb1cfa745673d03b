package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// laterWithin is how long one look for flows that went may take.
const laterWithin = 20 * time.Second

// sockets are those that requests to the kernel use; nil: each one of its own, in the
// namespace of the calling thread.
type sockets map[int]*nl.SocketHandle

// later is what went, whose flows are looked for behind answers: to go through its table of
// flows takes the kernel 10 ms if that is empty (nf_conntrack_buckets, 262144 of them on
// hosts with more than 4 GiB), and more with many flows. Rules let none of them begin any
// more. One goroutine looks at a time, for all that has come together.
type later struct {
	mu        sync.Mutex
	next, now change
	local     map[model.Family]map[netip.Addr]bool // the addresses of the host when next came
	done      chan struct{}                        // closed when the goroutine ends; nil: there is none
	err       error                                // what it has ended with; the change is in next again then
}

// and returns what went in either change.
func (c change) and(o change) change {
	return change{gone: slices.Concat(c.gone, o.gone), left: slices.Concat(c.left, o.left)}
}

// canWait reports whether all that a difference is about went, and is in nobody's way.
func (c change) canWait(have *Set, want Set) bool {
	if have == nil || have.Unsure || len(c.limits)+len(c.egress) > 0 || c.inTheWay(c, have, want) {
		return false
	}
	went := change{gone: c.gone, left: c.left}
	for _, f := range model.Families() {
		if match := went.filter(f); !match.empty() {
			return true
		}
	}
	return false
}

// inTheWay reports whether flows of what went before must be gone first: where rules may have
// been missing, where a port comes, whose socket would answer those that began before, and
// where an address is another endpoint's.
func (c change) inTheWay(went change, have *Set, want Set) bool {
	if len(went.gone)+len(went.left) == 0 {
		return false
	}
	if have == nil || have.Unsure {
		return true
	}
	for _, f := range model.Families() {
		if len(relevant(f, c.came, model.TCP, model.UDP, model.SCTP)) > 0 {
			return true
		}
	}
	return slices.ContainsFunc(want.Endpoints, func(e Endpoint) bool {
		return slices.Contains(went.left, e.V4) || slices.Contains(went.left, e.V6)
	})
}

// planLater plans to look for flows behind the answer.
func (a *Applier) planLater(c change) plan.Step {
	return plan.Step{Kind: "flows", Do: func(ctx context.Context) error {
		l := &a.later
		l.mu.Lock()
		defer l.mu.Unlock()
		l.next = l.next.and(c)
		return l.start(ctx, a)
	}}
}

// start begins the goroutine, if there is none and something to be looked for. The caller
// holds l.mu.
func (l *later) start(ctx context.Context, a *Applier) error {
	if len(l.next.gone)+len(l.next.left) == 0 {
		return nil
	}
	l.local = map[model.Family]map[netip.Addr]bool{}
	for _, f := range model.Families() {
		if match := l.next.filter(f); match.empty() {
			continue
		}
		var err error
		if l.local[f], err = localAddresses(ctx, f); err != nil {
			return fmt.Errorf("conntrack: %s: addresses of the host: %w", f, err)
		}
	}
	if l.done != nil {
		return nil
	}
	// Opened here, for a socket belongs to the namespace of the thread that opens it.
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("conntrack: open a socket: %w", err)
	}
	l.done, l.err = make(chan struct{}), nil
	fault.Passed("conntrack: something is looked for later")
	go l.run(a, socket)
	return nil
}

// run looks for flows until nothing is left to be looked for, or that fails.
func (l *later) run(a *Applier, socket *nl.NetlinkSocket) {
	defer fault.Passed("conntrack: what was looked for later is gone")
	defer socket.Close()
	on := sockets{unix.NETLINK_NETFILTER: {Socket: socket}}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.err == nil && len(l.next.gone)+len(l.next.left) > 0 {
		local := l.local
		l.now, l.next = l.next, change{}
		l.mu.Unlock()
		told, err := l.now.forget(on, local)
		if len(told) > 0 && a.Forgot != nil {
			a.Forgot(told)
		}
		l.mu.Lock()
		if err != nil {
			l.next, l.err = l.now.and(l.next), err
		}
		l.now = change{}
	}
	close(l.done)
	l.done = nil
	if l.err != nil && a.Failed != nil {
		a.Failed(l.err)
	}
}

// forget deletes the flows of what went, and says which these were.
func (c change) forget(on sockets, local map[model.Family]map[netip.Addr]bool) (told []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), laterWithin)
	defer cancel()
	number, err := tracked(on)
	if err != nil {
		return nil, fmt.Errorf("conntrack: count flows: %w", err)
	}
	var errs []error
	for _, f := range model.Families() {
		match := c.filter(f)
		if match.empty() {
			continue
		}
		match.local = local[f]
		stale, err := listAll(ctx, on, f, match.queries(number), match.stale)
		if err == nil && len(stale) > 0 {
			err = forget(ctx, on, f, stale)
			told = append(told, words(stale)...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("conntrack: %s: %w", f, err))
		}
	}
	return told, errors.Join(errs...)
}

// await waits until nothing of what is looked for later is needed any more.
func (l *later) await(ctx context.Context, a *Applier, needed func(went change) bool) error {
	for waited := false; ; waited = true {
		l.mu.Lock()
		done, err := l.done, l.err
		if went := l.now.and(l.next); len(went.gone)+len(went.left) == 0 || !needed(went) {
			l.mu.Unlock()
			return nil
		}
		if done == nil && waited {
			l.mu.Unlock()
			return err
		}
		if done == nil {
			err = l.start(ctx, a)
			done = l.done
		}
		l.mu.Unlock()
		if done == nil {
			return err
		}
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Wait returns when the flows are deleted of all that went; an error says why not. What has
// failed before is tried again.
func (a *Applier) Wait(ctx context.Context) error {
	return a.later.await(ctx, a, func(change) bool { return true })
}

// Again begins to look once more for what has failed, and returns. What fails, also to begin,
// is told to Failed.
func (a *Applier) Again(ctx context.Context) {
	l := &a.later
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.start(ctx, a); err != nil && a.Failed != nil {
		a.Failed(err)
	}
}
