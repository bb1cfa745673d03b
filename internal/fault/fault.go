// Package fault names the places where mybr can be hit between two effects: before and
// after a store write, a step of a plan, a program that is run, an answer. Tests end or
// fail the process there; in the shipped program a point does nothing.
//
// Be aware: the hook is the one package-level variable of the project that changes, since
// it has to reach every package without being passed through all of them. Only tests set
// it (internal/layers checks that), before anything runs that has points.
package fault

import "sync/atomic"

// Hook is called at each point with its name, on the goroutine that is there. What it
// returns is what goes wrong at the point; it may also never return.
type Hook func(point string) error

var hook atomic.Pointer[Hook]

// Point is a place between two effects. Its name is "PACKAGE: WHAT", such as
// "store: before the commit", the same each time the place is passed. An error is to be
// treated as the error of the effect that comes next.
func Point(name string) error {
	if h := hook.Load(); h != nil {
		return (*h)(name)
	}
	return nil
}

// Passed is a place behind an effect, or before one that can't fail: only the end of the
// process can hit there, so what the hook returns is not looked at.
func Passed(name string) {
	if h := hook.Load(); h != nil {
		_ = (*h)(name)
	}
}

// Set has h called at each point from now on; nil: nothing is. It returns what puts back
// the hook that was there.
func Set(h Hook) (restore func()) {
	var before *Hook
	if h == nil {
		before = hook.Swap(nil)
	} else {
		before = hook.Swap(&h)
	}
	return func() { hook.Store(before) }
}
