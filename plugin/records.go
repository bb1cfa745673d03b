package plugin

import (
	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/store"
)

// driverRecords is a store as the network driver sees it.
type driverRecords struct{ *store.Store }

// View is driver.Records.View.
func (r driverRecords) View(fn func(driver.Tx) error) error {
	return r.Store.View(func(tx *store.Tx) error { return fn(tx) })
}

// Update is driver.Records.Update.
func (r driverRecords) Update(fn func(driver.Tx) error) (undo func() error, err error) {
	u, err := r.Store.Update(func(tx *store.Tx) error { return fn(tx) })
	return func() error { return r.Revert(u) }, err
}
