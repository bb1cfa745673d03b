package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// stage shows the steps and counts those that did not hold. To package world it is
// what a test is.
type stage struct {
	bold, green, red, plain string // terminal sequences; empty where there is no terminal

	mu       sync.Mutex
	out      io.Writer
	cleanups []func()
	steps    int
	failures []string
}

var _ world.T = (*stage)(nil)

func newStage(out *os.File) *stage {
	s := &stage{out: out}
	if info, err := out.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" {
		s.bold, s.green, s.red, s.plain = "\x1b[1m", "\x1b[32m", "\x1b[31m", "\x1b[0m"
	}
	return s
}

// play runs f in a goroutine that Fatalf can end.
func (s *stage) play(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (s *stage) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format, args...)
}

// silence ends all output: what fails from now on fails because of an interruption.
func (s *stage) silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = io.Discard
}

func (s *stage) title(format string, args ...any) {
	s.printf("\n%s%s%s\n", s.bold, fmt.Sprintf(format, args...), s.plain)
}

// command shows what is typed, and where.
func (s *stage) command(where string, argv ...string) {
	words := slices.Clone(argv)
	for i, w := range words {
		if strings.ContainsAny(w, " |*'\"") {
			words[i] = "'" + w + "'"
		}
	}
	s.printf("  %s# %s\n", where, strings.Join(words, " "))
}

// output shows what a command printed.
func (s *stage) output(text string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		s.printf("      %s\n", strings.TrimRight(line, "\n"))
	}
}

// expect says whether a step held, and what was observed.
func (s *stage) expect(held bool, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.steps++
	if !held {
		s.failures = append(s.failures, what)
	}
	s.mu.Unlock()
	if held {
		s.printf("    %s✓%s %s\n", s.green, s.plain, what)
	} else {
		s.printf("    %s✗ did not hold:%s %s\n", s.red, s.plain, what)
	}
}

// close undoes everything, the latest first.
func (s *stage) close() {
	for {
		s.mu.Lock()
		n := len(s.cleanups)
		if n == 0 {
			s.mu.Unlock()
			return
		}
		last := s.cleanups[n-1]
		s.cleanups = s.cleanups[:n-1]
		s.mu.Unlock()
		last()
	}
}

// verdict says how it went and gives the exit code.
func (s *stage) verdict(took time.Duration) int {
	s.mu.Lock()
	steps, failures := s.steps, s.failures
	s.mu.Unlock()
	if len(failures) > 0 || steps == 0 {
		s.printf("\n%s%d of %d steps did not hold:%s\n", s.red, len(failures), steps, s.plain)
		for _, f := range failures {
			s.printf("  %s\n", f)
		}
		return 1
	}
	s.printf("\n%sAll %d steps held%s, in %.1f s. The engine, its containers, the LAN and mybr are gone again.\n",
		s.green, steps, s.plain, took.Seconds())
	return 0
}

// What follows makes a world.T of the stage.

func (s *stage) Helper()      {}
func (s *stage) Name() string { return "demo" }

func (s *stage) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.failures) > 0
}

func (s *stage) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *stage) Logf(format string, args ...any) { s.printf("%s\n", fmt.Sprintf(format, args...)) }

// Fatalf ends the story.
func (s *stage) Fatalf(format string, args ...any) {
	s.expect(false, format, args...)
	runtime.Goexit()
}

// Skipf is called where there can be no world; to a demonstration that is a failure.
func (s *stage) Skipf(format string, args ...any) { s.Fatalf(format, args...) }
