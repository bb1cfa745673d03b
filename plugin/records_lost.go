package plugin

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/rebuild"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/store"
)

// copyPath is where the copy of the records is: on a file system in memory, which a reboot
// clears, as it does the endpoints. The disk's failures don't reach it.
func copyPath(c Config) string { return filepath.Join(c.RunDir, "records.db") }

// rebuildLost makes records again of what the host still has, if some may have been lost. It
// is for the start, before anything is removed that no record says.
func rebuildLost(c Config, records *store.Store) error {
	lost := false
	err := records.View(func(tx *store.Tx) error { lost = tx.Lost(); return nil })
	if err != nil || !lost {
		return err
	}
	links, err := (&link.Applier{}).Links()
	if err != nil {
		return fmt.Errorf("look for what the host has of lost records: %w", err)
	}
	found := rebuild.Find(links, records.Snapshot())
	_, err = records.Update(func(tx *store.Tx) error {
		var errs []error
		for _, n := range found.Networks {
			errs = append(errs, tx.PutNetwork(n))
		}
		for _, e := range found.Endpoints {
			errs = append(errs, tx.PutEndpoint(e))
		}
		for _, f := range found.Forwarding {
			errs = append(errs, tx.SetTurnedOn(reconcile.ForwardingSetting(f == model.IPv6)))
		}
		return errors.Join(append(errs, tx.SetFound())...)
	})
	if err != nil {
		return fmt.Errorf("record what the host has of lost records: %w", err)
	}
	c.logRebuilt(found)
	return nil
}

func (c Config) logRebuilt(found rebuild.Found) {
	for _, f := range found.Forwarding {
		c.Log.Warnf("%s forwarding was turned on by mybr: what no rule accepts is not forwarded", f)
	}
	if len(found.Networks)+len(found.Endpoints) == 0 {
		return
	}
	c.Log.Warnf("records were lost: %d networks and %d endpoints are rebuilt from what the host has", len(found.Networks), len(found.Endpoints))
	for _, note := range found.Notes {
		c.Log.Warn(note)
	}
}
