package plugin

import (
	"context"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
)

// Who asks whether mybr is ready does not delay that: the host is compared with the records
// only when the first pass has ended.
func TestStatusBeforeTheFirstPass(t *testing.T) {
	ready, passed := make(chan struct{}), make(chan struct{})
	compared := 0
	a := quiet(ready)
	a.compares = passed
	a.snapshot = func() model.Snapshot { return model.Snapshot{} }
	a.healings = func() map[string]reconcile.Healing { return nil }
	a.diffNow = func(context.Context) ([]reconcile.Difference, error) {
		compared++
		return []reconcile.Difference{{Aspect: reconcile.LinkAspect, Changes: []string{"make bridge"}}}, nil
	}
	see := func(when string, times int, ready bool, unknown string) {
		t.Helper()
		compared = 0
		if s := a.status(t.Context()); s.Ready != ready || compared != times || s.Unknown != unknown || s.Differences != times {
			t.Errorf("%s: %+v, compared %d times", when, s, compared)
		}
		compared = 0
		if h := a.health(t.Context(), &comparison{}); h.Ready != ready || compared != times || h.Unknown != unknown || len(h.Differences) != times {
			t.Errorf("%s, the page: %+v, compared %d times", when, h, compared)
		}
	}
	see("before", 0, false, notReady)
	close(passed)
	see("before the first check has ended", 1, false, "")
	close(ready)
	see("after", 1, true, "")
}
