package conntrack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// laterWithin is how long one look for flows that went may take.
const laterWithin = 20 * time.Second

// gather is how long the goroutine waits for more to be looked for, unless somebody waits for
// what there is. The kernel lets nothing else run on a processor while it goes through the
// table (ctnetlink_dump_table of net/netfilter/nf_conntrack_netlink.c keeps softirqs out), so
// that who asks for the next thing, as Docker does at once for each of a container's ends and
// networks, would be held up by it.
const gather = 20 * time.Millisecond

// later is what went and what came, whose flows are looked for behind answers: to go through
// its table of flows takes the kernel 5 to 10 ms if that is empty (nf_conntrack_buckets,
// 262144 of them on hosts with more than 4 GiB), and more with many flows. Rules let none of
// them begin any more. One goroutine looks at a time, for all that has come together.
type later struct {
	mu        sync.Mutex
	next, now change
	round     uint64        // how often it was begun to look; now is looked for in this one
	done      chan struct{} // closed when the goroutine ends; nil: there is none
	hurry     chan struct{} // filled by who waits for it
	err       error         // what it has ended with; the change is in next again then
	on        *kernel       // nil: not open; closed after errors
}

// and returns what is looked for behind answers of either change.
func (c change) and(o change) change {
	both := change{gone: slices.Concat(c.gone, o.gone), came: slices.Concat(c.came, o.came), left: slices.Concat(c.left, o.left), relayed: o.relayed}
	if o.none() {
		both.relayed = c.relayed
	}
	return both
}

// none reports whether nothing is looked for.
func (c change) none() bool { return len(c.gone)+len(c.came)+len(c.left) == 0 }

// canWait reports whether all that a difference is about may be looked for behind the answer.
func (c change) canWait(have *Set, want Set) bool {
	if have == nil || have.Unsure || len(c.limits)+len(c.egress)+len(c.unled)+len(c.apart)+len(c.subnets) > 0 || c.inTheWay(change{gone: c.gone, left: c.left}, have, want) {
		return false
	}
	for _, f := range model.Families() {
		if match := c.filter(f); !match.empty() {
			return true
		}
	}
	return false
}

// inTheWay reports whether flows of what went or came before must be gone first: where rules
// may have been missing, and where an address is another endpoint's.
func (c change) inTheWay(before change, have *Set, want Set) bool {
	if before.none() {
		return false
	}
	return have == nil || have.Unsure || slices.ContainsFunc(want.Endpoints, func(e Endpoint) bool {
		return slices.Contains(before.left, e.V4) || slices.Contains(before.left, e.V6)
	})
}

// sharesPort reports whether a port comes that others have had for which it is looked: its own
// flows would be taken for theirs. Who asks holds a lock: what that costs must not grow with the
// product of both.
func (c change) sharesPort(before change) bool {
	if len(c.came) == 0 || len(before.gone)+len(before.came) == 0 {
		return false
	}
	type span struct {
		proto       model.Proto
		first, last uint16
		before      bool
	}
	var all []span
	add := func(before bool, some ...model.PortBinding) {
		for _, b := range some {
			if b.Count > 0 {
				all = append(all, span{b.Proto, b.Host.Port(), b.Last(), before})
			}
		}
	}
	for _, f := range model.Families() {
		add(false, relevant(f, c.came, protos...)...)
	}
	add(true, before.gone...)
	add(true, before.came...)
	slices.SortFunc(all, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.proto, b.proto), cmp.Compare(a.first, b.first))
	})
	var furthest [2]*span // of either side, of those that begin no later
	for i := range all {
		s := &all[i]
		own, other := &furthest[0], furthest[1]
		if s.before {
			own, other = &furthest[1], furthest[0]
		}
		if other != nil && other.proto == s.proto && other.last >= s.first {
			return true
		}
		if *own == nil || (*own).proto != s.proto || (*own).last < s.last {
			*own = s
		}
	}
	return false
}

// drop has nothing looked for that began before bindings which have ended since.
func (l *later) drop(ended []model.PortBinding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(ended) == 0 || len(l.next.came) == 0 {
		return
	}
	gone := make(map[model.PortBinding]bool, len(ended))
	for _, b := range ended {
		gone[b] = true
	}
	l.next.came = slices.DeleteFunc(slices.Clone(l.next.came), func(b model.PortBinding) bool { return gone[b] })
}

// planLater plans to look for flows behind the answer.
func (a *Applier) planLater(c change) plan.Step {
	return plan.Step{Kind: "flows", Do: func(ctx context.Context) error {
		for l := &a.later; ; {
			l.mu.Lock()
			if !c.sharesPort(l.now) { // it may have been begun to look for it since the plan
				l.next = l.next.and(c)
				err := l.start(a)
				l.mu.Unlock()
				return err
			}
			l.mu.Unlock()
			if err := l.await(ctx, a, func(now, _ change) bool { return c.sharesPort(now) }); err != nil {
				return fmt.Errorf("conntrack: flows of what went or came before: %w", err)
			}
		}
	}}
}

// start begins the goroutine, if there is none and something to be looked for. The caller
// holds l.mu.
func (l *later) start(a *Applier) error {
	if l.next.none() || l.done != nil {
		return nil
	}
	if l.on == nil {
		var err error
		if l.on, err = openKernel(laterWithin); err != nil {
			return fmt.Errorf("conntrack: %w", err)
		}
	}
	l.done, l.hurry, l.err = make(chan struct{}), make(chan struct{}, 1), nil
	fault.Passed("conntrack: something is looked for later")
	go l.run(a, l.on, l.hurry)
	return nil
}

// run looks for flows until nothing is left to be looked for, or that fails.
func (l *later) run(a *Applier, on *kernel, hurry <-chan struct{}) {
	defer fault.Passed("conntrack: what was looked for later is gone")
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.err == nil && !l.next.none() {
		l.mu.Unlock()
		select {
		case <-hurry:
		case <-time.After(gather):
		}
		l.mu.Lock()
		l.now, l.next = l.next, change{}
		l.round++
		l.mu.Unlock()
		told, err := l.now.forget(on)
		if len(told) > 0 && a.Forgot != nil {
			a.Forgot(told)
		}
		l.mu.Lock()
		if err != nil {
			l.next, l.err = l.now.and(l.next), err
		}
		l.now = change{}
		if round := l.round; a.Looked != nil {
			l.mu.Unlock()
			a.Looked(round)
			l.mu.Lock()
		}
	}
	close(l.done)
	l.done = nil
	if l.err != nil {
		l.on.close() // answers may be left in it
		l.on = nil
		if a.Failed != nil {
			a.Failed(l.err)
		}
	}
	if l.round++; a.Looked != nil { // of what was to be in one more round, nothing is left
		round := l.round
		l.mu.Unlock() // and it may be looked again, or closed
		a.Looked(round)
		l.mu.Lock()
	}
}

// forget deletes the flows of what went and of what began before what came, and says which
// these were.
func (c change) forget(on *kernel) (told []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), laterWithin)
	defer cancel()
	number, err := tracked(on.netfilter)
	if err != nil {
		return nil, fmt.Errorf("conntrack: count flows: %w", err)
	}
	var errs []error
	for _, f := range model.Families() {
		match := c.filter(f)
		if match.empty() {
			continue
		}
		var stale []flow
		if match.local, err = localAddresses(ctx, on.route, f); err != nil {
			err = fmt.Errorf("addresses of the host: %w", err)
		} else {
			stale, err = listAll(ctx, on.netfilter, f, match.queries(number), match.stale)
		}
		if err == nil && len(stale) > 0 {
			err = forget(ctx, on.netfilter, f, stale)
			told = append(told, words(stale)...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("conntrack: %s: %w", f, err))
		}
	}
	return told, errors.Join(errs...)
}

// await waits until nothing of what is looked for later is needed any more.
func (l *later) await(ctx context.Context, a *Applier, needed func(now, next change) bool) error {
	for waited := false; ; waited = true {
		l.mu.Lock()
		done, err := l.done, l.err
		if l.now.none() && l.next.none() || !needed(l.now, l.next) {
			l.mu.Unlock()
			return nil
		}
		if done == nil && waited {
			l.mu.Unlock()
			return err
		}
		if done == nil {
			err = l.start(a)
			done = l.done
		}
		if done != nil {
			select {
			case l.hurry <- struct{}{}:
			default: // somebody waits already
			}
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

// Wait returns when all flows are deleted that are looked for behind answers; an error says why
// not. What has failed before is tried again.
func (a *Applier) Wait(ctx context.Context) error {
	return a.later.await(ctx, a, func(_, _ change) bool { return true })
}

// Again begins to look once more for what has failed, and returns. What fails, also to begin,
// is told to Failed.
func (a *Applier) Again() {
	l := &a.later
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.start(a); err != nil && a.Failed != nil {
		a.Failed(err)
	}
}

// Looking returns the number of the round by whose end (Looked) all flows have been looked for
// that began before one of the ports that came; 0: for none is looked, or that has failed.
func (a *Applier) Looking() uint64 {
	l := &a.later
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.done == nil || l.err != nil:
		return 0
	case len(l.next.came) > 0:
		return l.round + 1
	case len(l.now.came) > 0:
		return l.round
	}
	return 0
}
