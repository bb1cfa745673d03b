package plugin

import (
	"github.com/mybr/mybr/ipam"

	"github.com/mybr/mybr/internal/store"
)

// pools gives the store's transactions to the IPAM driver, which needs nothing else of it.
type pools struct{ store *store.Store }

func (p pools) View(fn func(ipam.Tx) error) error {
	return p.store.View(func(tx *store.Tx) error { return fn(tx) })
}

func (p pools) Update(fn func(ipam.Tx) error) error {
	_, err := p.store.Update(func(tx *store.Tx) error { return fn(tx) })
	return err
}
