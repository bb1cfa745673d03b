package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/mybr/mybr/integration/bench"
	"github.com/mybr/mybr/integration/world"
)

// session is one run. To package world it is what a test is.
type session struct {
	out     io.Writer // what happens, for who waits
	opts    options
	engines map[string]*subject // by engine and driver
	backend []string            // of mybr's

	record *bench.Record // of the row that is measured

	workTells bool // a process's time has in it what the kernel does for its packets

	mu       sync.Mutex
	cleanups []func()
	failed   string // why the row can't be measured
}

// options is what the command line says.
type options struct {
	quick  bool
	rounds float64 // of each row's own number
	dir    string  // of the records
}

var _ world.T = (*session)(nil)

// play measures one row: it returns what went wrong, and then all worlds are gone.
func (s *session) play(row bench.Row, measure func(*session)) error {
	s.failed = ""
	done := make(chan struct{})
	go func() { // which Fatalf can end
		defer close(done)
		measure(s)
	}()
	<-done
	if s.failed != "" {
		s.close()
		return fmt.Errorf("%s: %s", row.ID, s.failed)
	}
	return nil
}

// close takes all worlds down.
func (s *session) close() {
	for {
		s.mu.Lock()
		n := len(s.cleanups)
		if n == 0 {
			s.engines = nil
			s.mu.Unlock()
			return
		}
		last := s.cleanups[n-1]
		s.cleanups = s.cleanups[:n-1]
		s.mu.Unlock()
		last()
	}
}

func (s *session) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

// must ends the row if there is an error.
func (s *session) must(err error) {
	if err != nil {
		s.Fatalf("%v", err)
	}
}

// rounds has each subject do the same in turn, as often as said; the order is turned
// around each time, so that none always comes after the same one.
func (s *session) rounds(full, quick int, subjects []*subject, do func(*subject)) {
	n := max(3, int(float64(full)*s.opts.rounds))
	if s.opts.quick {
		n = quick
	}
	for round := range n {
		for i := range subjects {
			if round%2 == 1 {
				i = len(subjects) - 1 - i
			}
			do(subjects[i])
		}
	}
}

// took notes how long something takes.
func (s *session) took(key bench.Key, do func() error) {
	began := time.Now()
	err := do()
	spent := time.Since(began)
	s.must(err)
	s.record.Add(key, bench.Nanoseconds, float64(spent.Nanoseconds()))
}

// fail notes what can't be done at all: the row goes on without it.
func (s *session) fail(key bench.Key, err error) {
	if slices.ContainsFunc(s.record.Failures, func(f bench.Failure) bool { return f.Key == key }) {
		return
	}
	s.printf("# %s: %v\n", key, err)
	s.record.Failures = append(s.record.Failures, bench.Failure{Key: key, Err: err.Error()})
}

// What follows makes a world.T of the session.

func (s *session) Helper()      {}
func (s *session) Name() string { return "bench" }

func (s *session) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed != ""
}

func (s *session) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *session) Logf(format string, args ...any) { s.printf(format+"\n", args...) }

// Fatalf ends the row.
func (s *session) Fatalf(format string, args ...any) {
	s.mu.Lock()
	if s.failed == "" {
		s.failed = fmt.Sprintf(format, args...)
	}
	s.mu.Unlock()
	runtime.Goexit()
}

// Skipf ends the row: what can't be measured here is no result.
func (s *session) Skipf(format string, args ...any) { s.Fatalf(format, args...) }
