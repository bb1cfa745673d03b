package event

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func text(e Event) string { return fmt.Sprint(e.Seq, " ", e.Kind, " ", e.Bridge, " ", e.Missed) }

// A reader gets what it asks for of what was, and then everything in order.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Log
		for i := range 5 {
			l.Add(Event{Kind: Changed, Bridge: fmt.Sprint("b", i)})
		}
		read := func(r *Reader, want string) {
			t.Helper()
			if e, err := r.Next(t.Context()); err != nil || text(e) != want || e.Time.IsZero() {
				t.Errorf("%s %v, want %s", text(e), err, want)
			}
		}
		all, two, none := l.Follow(100), l.Follow(2), l.Follow(0)
		for i := range 5 {
			read(all, fmt.Sprintf("%d changed b%d 0", i, i))
		}
		read(two, "3 changed b3 0")
		read(two, "4 changed b4 0")
		for _, r := range []*Reader{all, two, none} {
			go func() { read(r, "5 healed b5 0"); read(r, "6 failed  0") }()
		}
		synctest.Wait() // all wait
		l.Add(Event{Kind: Healed, Bridge: "b5"})
		l.Add(Event{Kind: Failed})
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		cancel(why)
		if _, err := none.Next(ctx); err != why {
			t.Error(err)
		}
	})
}

// A reader that is too slow is told how much it has missed, and goes on with the oldest event
// that is kept. Who adds has not waited.
func TestSlowReader(t *testing.T) {
	var l Log
	slow := l.Follow(0)
	const more = 77
	for range Kept + more {
		l.Add(Event{Kind: Changed})
	}
	for _, want := range []string{fmt.Sprintf("0 lost  %d", more), fmt.Sprintf("%d changed  0", more), fmt.Sprintf("%d changed  0", more+1)} {
		if e, err := slow.Next(t.Context()); err != nil || text(e) != want {
			t.Errorf("%s %v, want %s", text(e), err, want)
		}
	}
}

// Each of many readers sees each event once and in order, or is told that it was lost.
func TestManyReaders(t *testing.T) {
	var l Log
	var readers sync.WaitGroup
	const events = 20_000
	for range 8 {
		r := l.Follow(0)
		readers.Go(func() {
			for next := uint64(0); next < events; {
				e, err := r.Next(t.Context())
				if err != nil || e.Seq != next {
					t.Errorf("%+v %v, want %d", e, err, next)
					return
				}
				next += max(1, e.Missed)
			}
		})
	}
	for range events {
		l.Add(Event{Kind: Changed})
	}
	readers.Wait()
}

// What is kept has an end, whatever is added, and what is added stays the caller's.
func TestBounds(t *testing.T) {
	var l Log
	lines := make([]string, 3*maxLines)
	for i := range lines {
		lines[i] = strings.Repeat("x", 2*maxText)
	}
	l.Add(Event{Changes: lines, Ports: lines[:2], Error: lines[0], By: lines[0]})
	e, err := l.Follow(1).Next(t.Context())
	if err != nil || len(e.Changes) != maxLines || e.More != 2*maxLines || len(e.Ports) != 2 {
		t.Errorf("%d lines, %d more, %v", len(e.Changes), e.More, err)
	}
	for _, s := range append(e.Changes, e.Error, e.By) {
		if len(s) > maxText+len("…") {
			t.Fatalf("%d bytes", len(s))
		}
	}
	if len(lines[0]) != 2*maxText {
		t.Error("the caller's list was changed")
	}
}

func TestEscape(t *testing.T) {
	e := Event{Addresses: []string{""}, Ports: []string{""}, Changes: []string{""}}
	e.Escape(func(s string) string { return s + "!" })
	for _, f := range reflect.VisibleFields(reflect.TypeOf(e)) {
		v := reflect.ValueOf(e).FieldByIndex(f.Index)
		if v.Kind() == reflect.String && v.String() != "!" || v.Kind() == reflect.Slice && v.Index(0).String() != "!" {
			t.Errorf("%s: %v", f.Name, v)
		}
	}
}
