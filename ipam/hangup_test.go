package ipam

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/store"
)

// What a client that has hung up was not told of is given back: Docker asks for the same
// subnet and address again, and must get them. What was held before stays.
func TestClientHangsUp(t *testing.T) {
	d, s := newDriver(t)
	gone, hangUp := context.WithCancelCause(t.Context())
	cause := errors.New("the client hung up")
	hangUp(cause)
	pool := &helper.RequestPoolRequest{AddressSpace: SpaceLocal, Pool: "10.1.0.0/24"}
	if _, err := d.RequestPool(gone, pool); !errors.Is(err, cause) {
		t.Errorf("request pool: %v", err)
	}
	have, err := d.RequestPool(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	address := &helper.RequestAddressRequest{PoolID: have.PoolID, Address: "10.1.0.9"}
	if _, err := d.RequestAddress(gone, address); !errors.Is(err, cause) {
		t.Errorf("request address: %v", err)
	}
	err = s.View(func(tx *store.Tx) error {
		for l := range tx.Leases(have.PoolID, netip.Addr{}) {
			t.Errorf("leased: %+v", l)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for range 2 {
		if _, err := d.RequestAddress(t.Context(), address); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.RequestAddress(gone, address); err != nil {
		t.Errorf("what was leased before: %v", err)
	}
}
