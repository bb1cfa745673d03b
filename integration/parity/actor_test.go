package parity

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/mybr/mybr/integration/world"
)

var _ world.T = (*actor)(nil)

// actor answers for what happens in a world during one play: a failure ends the play,
// not the test, which sees both drivers' before it judges.
type actor struct {
	name     string
	mu       sync.Mutex
	messages []string
	failed   bool
	skipped  bool
	cleanups []func()
}

func (a *actor) Helper()      {}
func (a *actor) Name() string { return a.name }

func (a *actor) Failed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

func (a *actor) Cleanup(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cleanups = append(a.cleanups, f)
}

func (a *actor) Logf(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.messages = append(a.messages, fmt.Sprintf(format, args...))
}

func (a *actor) Fatalf(format string, args ...any) {
	a.Logf(format, args...)
	a.mu.Lock()
	a.failed = true
	a.mu.Unlock()
	runtime.Goexit()
}

func (a *actor) Skipf(format string, args ...any) {
	a.Logf(format, args...)
	a.mu.Lock()
	a.skipped = true
	a.mu.Unlock()
	runtime.Goexit()
}

// do calls f, which may end by Fatalf, and tells whether it came to its end.
func (a *actor) do(f func()) (whole bool) {
	done := make(chan bool, 1)
	go func() {
		ok := false
		defer func() { done <- ok }()
		f()
		ok = true
	}()
	return <-done
}

// end calls what Cleanup was given, the last first.
func (a *actor) end() {
	a.mu.Lock()
	calls := a.cleanups
	a.cleanups = nil
	a.mu.Unlock()
	for _, f := range slices.Backward(calls) {
		a.do(f)
	}
}
