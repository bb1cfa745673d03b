package reconcile

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/link"
)

// Who observes is told of each pass: whether it was full, how long it took and what it failed
// with; before who has asked for it goes on.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		var seen []Passed
		h.r.Observe = func(p Passed) { seen = append(seen, p) }
		h.run(t)
		<-h.r.Ready()
		if len(seen) != 1 || !seen[0].Full || seen[0].Err != nil {
			t.Fatalf("the first pass: %+v", seen)
		}

		h.set(snapshot())
		h.links.failWith(func(*link.Set, link.Set) error {
			time.Sleep(3 * time.Second) // of the bubble
			return nil
		})
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(seen) != 2 || seen[1].Full || seen[1].Err != nil || seen[1].Took != 3*time.Second {
			t.Fatalf("a difference: %+v", seen[1:])
		}

		changed := snapshot()
		changed.Networks[0].MTU = 1300
		h.set(changed)
		broken := errors.New("no such link")
		h.links.failWith(func(*link.Set, link.Set) error { return broken })
		if err := h.r.Sync(t.Context()); !errors.Is(err, broken) {
			t.Fatal(err)
		}
		if len(seen) != 3 || !seen[2].Full || !errors.Is(seen[2].Err, broken) {
			t.Fatalf("a pass that failed, and was tried from nothing: %+v", seen[2:])
		}
	})
}
