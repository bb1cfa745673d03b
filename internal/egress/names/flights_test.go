package names

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// waiting is how many wait for an answer to a question, when there are so many.
func waiting(t *testing.T, r *Resolver, k key, want int) {
	t.Helper()
	deadline := time.Now().Add(enough)
	for {
		r.flights.mu.Lock()
		n := 0
		if x := r.flights.of[k]; x != nil {
			n = x.waiting
		}
		r.flights.mu.Unlock()
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want %d", n, want)
		}
		time.Sleep(time.Millisecond)
	}
}

// Equal questions at the same time are one to the resolvers, and each other one is its own.
func TestEqualQuestionsAreAskedOnce(t *testing.T) {
	up := &fake{zone: world1, held: make(chan struct{})}
	r := NewResolver(up, nil)
	keys := []key{
		{name: "six.example", kind: dnsmessage.TypeA},
		{name: "six.example", kind: dnsmessage.TypeAAAA},
		{name: "six.example", kind: dnsmessage.TypeA, dnssec: true},
		{name: "six.example", kind: dnsmessage.TypeA, unchecked: true},
	}
	const each = 50
	var all sync.WaitGroup
	for _, k := range keys {
		for range each {
			all.Go(func() {
				if found, err := r.resolve(t.Context(), k); err != nil || len(found.answers) != 1 {
					t.Errorf("%v: %v, %v", k, found, err)
				}
			})
		}
		waiting(t, r, k, each)
	}
	close(up.held)
	all.Wait()
	if n := up.asked.Load(); n != int32(len(keys)) {
		t.Errorf("the resolver is asked %d times, want %d", n, len(keys))
	}
}

// An error is for those who wait for it, and for nobody behind them.
func TestAnErrorIsOfThoseWhoWait(t *testing.T) {
	broken := errors.New("broken")
	up := &fake{zone: world1, held: make(chan struct{}), err: broken}
	r := NewResolver(up, nil)
	k := key{name: "six.example", kind: dnsmessage.TypeA}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if _, err := r.resolve(t.Context(), k); !errors.Is(err, broken) {
				t.Errorf("%v", err)
			}
		})
	}
	waiting(t, r, k, 5)
	close(up.held)
	all.Wait()
	up.err = nil
	if found, err := r.resolve(t.Context(), k); err != nil || len(found.answers) != 1 {
		t.Errorf("behind it: %v, %v", found, err)
	}
	if n := up.asked.Load(); n != 2 {
		t.Errorf("the resolver is asked %d times, want 2", n)
	}
}

// Who gives up, and be it the first who has asked, takes the answer from nobody; when the last one
// does, it is not asked any more.
func TestWhoGivesUpIsAlone(t *testing.T) {
	up := &fake{zone: world1, held: make(chan struct{})}
	r := NewResolver(up, nil)
	k := key{name: "six.example", kind: dnsmessage.TypeA}
	first, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { _, err := r.resolve(first, k); gone <- err }()
	waiting(t, r, k, 1)
	second, leaveToo := context.WithCancel(t.Context())
	goneToo := make(chan error, 1)
	go func() { _, err := r.resolve(second, k); goneToo <- err }()
	waiting(t, r, k, 2)
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who gives up has %v", err)
	}
	waiting(t, r, k, 1)
	leaveToo()
	if err := <-goneToo; !errors.Is(err, context.Canceled) {
		t.Errorf("the last who gives up has %v", err)
	}
	waiting(t, r, k, 0)

	third := make(chan error, 1)
	go func() { _, err := r.resolve(t.Context(), k); third <- err }()
	waiting(t, r, k, 1)
	close(up.held)
	if err := <-third; err != nil {
		t.Errorf("who asks then has %v", err)
	}
	if n := up.asked.Load(); n != 2 {
		t.Errorf("the resolver is asked %d times, want 2: once for those who have left", n)
	}
}
