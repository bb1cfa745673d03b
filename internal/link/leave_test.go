package link

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/nettest"
)

// deletions holds up, or fails, what is asked of the kernel in order to destroy links.
type deletions struct {
	begun chan struct{} // gets one for each deletion
	hold  chan struct{} // each deletion waits for its end

	mu   sync.Mutex
	seen int
	fail func(nth int) error
}

func holdDeletions(t *testing.T) *deletions {
	d := &deletions{begun: make(chan struct{}, 100), hold: make(chan struct{}), fail: func(int) error { return nil }}
	t.Cleanup(fault.Set(func(point string) error {
		if point != "link: before deleting a link" {
			return nil
		}
		d.mu.Lock()
		d.seen++
		err := d.fail(d.seen)
		d.mu.Unlock()
		d.begun <- struct{}{}
		<-d.hold
		return err
	}))
	return d
}

func (d *deletions) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen
}

// do plans and does, and does not wait.
func do(t *testing.T, a *Applier, have *Set, want Set) {
	t.Helper()
	p, err := a.Plan(t.Context(), have, want)
	if err := errors.Join(err, p.Do(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// What is removed is out of service when its plan is done, and the kernel destroys it behind
// that. Nobody sees it any more but what is to have its name.
func TestLeaving(t *testing.T) {
	h := nettest.New(t)
	a := &Applier{}
	br, other := bridge(1), bridge(2)
	v, w := veth(1, br), veth(2, other)
	all := set([]Bridge{br, other}, v, w)
	do(t, a, nil, all)
	d := holdDeletions(t)
	rest := set([]Bridge{other}, w)
	do(t, a, &all, rest)
	links := ipLinks(t, h)
	for _, name := range []string{v.Host, br.Name} {
		l, there := links[name]
		if !there || slices.Contains(l.Flags, "UP") || l.Master != "" || len(l.Addresses) > 0 || l.Alias == "" {
			t.Errorf("%s is there: %t, %+v", name, there, l)
		}
	}
	a.leaving.within = time.Millisecond
	for _, have := range []*Set{nil, &all} {
		if p, err := a.Plan(t.Context(), have, rest); err != nil || len(p) > 0 {
			t.Errorf("still to change: %q, %v", p.Changes(), err)
		}
	}
	if seen, err := a.Links(); err != nil || len(seen) != 5 { // with lo, br, its pair's end, and the end of what leaves
		t.Errorf("%d links are seen: %+v, %v", len(seen), seen, err)
	}

	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := a.Wait(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), br.Name+", "+v.Host) {
		t.Errorf("waiting ends with %v", err)
	}
	third := veth(3, other)
	again := set([]Bridge{br, other}, v, w, third)
	p, err := a.Plan(t.Context(), &rest, again)
	if failed := blamed(t, err); len(failed) != 2 || !errors.Is(failed[br.Name], errLeaving) || !errors.Is(failed[v.Host], errLeaving) {
		t.Errorf("what is to have the names fails with %v", err)
	}
	if got := p.Changes(); len(got) != 1 || !strings.Contains(got[0], third.Host) {
		t.Errorf("the others: %q", got)
	}

	a.leaving.within = 0
	close(d.hold)
	do(t, a, &rest, again)
	matches(t, again)
	apply(t, &again, Set{})
	if links := ipLinks(t, h); len(links) != 1 {
		t.Errorf("left: %v", links)
	}
}

// Links that leave while the kernel destroys another one are destroyed with one request;
// one by one where it does not take that.
func TestLeavingTogether(t *testing.T) {
	for name, c := range map[string]struct {
		fail     error
		requests int
	}{"together": {nil, 2}, "one by one": {errors.New("operation not supported"), 2 + 5}} {
		t.Run(name, func(t *testing.T) {
			h := nettest.New(t)
			a := &Applier{Left: func(err error) { t.Error(err) }}
			br := bridge(1)
			have := set([]Bridge{br}, veth(1, br), veth(2, br), veth(3, br), veth(4, br), veth(5, br))
			do(t, a, nil, have)
			d := holdDeletions(t)
			d.fail = func(nth int) error {
				if nth == 2 {
					return c.fail
				}
				return nil
			}
			one := set(have.Bridges, values(have.Veths[1:])...)
			do(t, a, &have, one)
			<-d.begun
			do(t, a, &one, Set{})
			close(d.hold)
			if err := a.Wait(t.Context()); err != nil || d.count() != c.requests {
				t.Errorf("%d requests, want %d, %v", d.count(), c.requests, err)
			}
			if links := ipLinks(t, h); len(links) != 1 {
				t.Errorf("left: %v", links)
			}
		})
	}
}

// What the kernel does not destroy is told of, and a look at everything finds it.
func TestLeavingRefused(t *testing.T) {
	h := nettest.New(t)
	told := make(chan error, 1)
	a := &Applier{Left: func(err error) { told <- err }}
	br := bridge(1)
	v := veth(1, br)
	have, want := set([]Bridge{br}, v), set([]Bridge{br})
	do(t, a, nil, have)
	d := holdDeletions(t)
	refused := errors.New("device or resource busy")
	d.fail = func(int) error { return refused }
	close(d.hold)
	do(t, a, &have, want)
	if err := <-told; !errors.Is(err, refused) || !strings.Contains(err.Error(), v.Host) {
		t.Errorf("told %v", err)
	}
	d.mu.Lock()
	d.fail = func(int) error { return nil }
	d.mu.Unlock()
	p, err := a.Plan(t.Context(), nil, want)
	if err != nil || len(p) != 1 || p[0].Subject != v.Host {
		t.Errorf("found: %q, %v", p.Changes(), err)
	}
	apply(t, nil, want)
	if links := ipLinks(t, h); len(links) != 2 {
		t.Errorf("left: %v", links)
	}
}

// A bridge that could not be given its IPv6 address, as the kernel has no IPv6 where the MTU
// is below 1280 (RFC 8200, section 5), is removed all the same.
func TestLeavesWithoutIPv6(t *testing.T) {
	h := nettest.New(t)
	a := &Applier{}
	br := bridge(1)
	br.MTU = 1000
	if !br.V6.IsValid() {
		t.Fatal("the test shows nothing: the bridge has no IPv6")
	}
	all := set([]Bridge{br})
	if err := a.Apply(t.Context(), nil, all); err == nil {
		t.Fatal("the kernel takes the address: the test shows nothing")
	}
	if err := a.Apply(t.Context(), &all, Set{}); err != nil {
		t.Errorf("remove it: %v", err)
	}
	if links := ipLinks(t, h); len(links) != 1 {
		t.Errorf("left: %v", links)
	}
}
