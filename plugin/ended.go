package plugin

import (
	"context"
	"fmt"
	"slices"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/store"
)

// withEnded is what was recorded when the process before ended, and the addresses of
// endpoints that went before: that process may have ended before it deleted their flows.
func withEnded(records *store.Store) (known model.Snapshot, err error) {
	ended, err := endedIn(records)
	known = records.Snapshot()
	gone := make([]*model.Endpoint, len(ended))
	for i := range ended {
		gone[i] = &ended[i]
	}
	known.Endpoints = append(slices.Clone(known.Endpoints), gone...) // others hold what it has
	return known, err
}

func endedIn(records *store.Store) (ended []model.Endpoint, err error) {
	if err := records.Flush(); err != nil { // the last notes may be in the journal alone
		return nil, err
	}
	err = records.View(func(tx *store.Tx) (err error) {
		ended, err = tx.Ended()
		return err
	})
	return ended, err
}

// forgetEnded drops the notes of the endpoints that went, once a pass behind that has left no
// flows to be tried again: none of theirs are tracked any more. A host port that another
// program has, which may be so for ever, does not keep them.
func (h *host) forgetEnded(ctx context.Context, records *store.Store) error {
	if err := h.flows.Wait(ctx); err != nil {
		return err
	}
	ended, err := endedIn(records)
	if err != nil || len(ended) == 0 {
		return err
	}
	if err := h.reconciler.Sync(ctx); err != nil || h.reconciler.Failing(reconcile.FlowAspect) {
		return nil // the passes tell what goes wrong, and the next check comes back to this
	}
	if err := h.flows.Wait(ctx); err != nil {
		return err
	}
	if _, err := records.Update(func(tx *store.Tx) error { return tx.ForgetEnded(ended) }); err != nil {
		return fmt.Errorf("drop the notes of addresses that ended: %w", err)
	}
	return nil
}
