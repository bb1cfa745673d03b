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
	ready := make(chan struct{})
	compared := 0
	a := quiet(ready)
	a.snapshot = func() model.Snapshot { return model.Snapshot{} }
	a.healings = func() map[string]reconcile.Healing { return nil }
	a.diffNow = func(context.Context) ([]reconcile.Difference, error) {
		compared++
		return []reconcile.Difference{{Aspect: reconcile.LinkAspect, Changes: []string{"make bridge"}}}, nil
	}
	if s := a.status(t.Context()); s.Ready || compared != 0 || s.Unknown != notReady || s.Differences != 0 {
		t.Errorf("before: %+v, compared %d times", s, compared)
	}
	close(ready)
	if s := a.status(t.Context()); !s.Ready || compared != 1 || s.Unknown != "" || s.Differences != 1 {
		t.Errorf("after: %+v, compared %d times", s, compared)
	}
}
