package driver

import (
	"net/netip"
	"reflect"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/ipam"
)

// ipamRecords is a store as mybr's IPAM sees it.
type ipamRecords struct{ *store.Store }

func (r ipamRecords) View(fn func(ipam.Tx) error) error {
	return r.Store.View(func(tx *store.Tx) error { return fn(tx) })
}

func (r ipamRecords) Update(fn func(ipam.Tx) error) error {
	_, err := r.Store.Update(func(tx *store.Tx) error { return fn(tx) })
	return err
}

type noRoutes struct{}

func (noRoutes) Routes() ([]netip.Prefix, error) { return nil, nil }

// createWithIPAM is `docker network create` with mybr's own IPAM: what fails is given back.
func createWithIPAM(w *world, i *ipam.Driver, id, subnet, gateway string) error {
	p, err := i.RequestPool(ctx, &helper.RequestPoolRequest{AddressSpace: ipam.SpaceLocal, Pool: subnet})
	if err != nil {
		return err
	}
	_, err = i.RequestAddress(ctx, &helper.RequestAddressRequest{PoolID: p.PoolID, Address: gateway, Options: map[string]string{"RequestAddressType": "com.docker.network.gateway"}})
	if err == nil {
		if err = w.ownNetwork(id, subnet); err != nil {
			must(w.t, i.ReleaseAddress(ctx, &helper.ReleaseAddressRequest{PoolID: p.PoolID, Address: gateway}))
		}
	}
	if err != nil {
		must(w.t, i.ReleasePool(ctx, &helper.ReleasePoolRequest{PoolID: p.PoolID}))
	}
	return err
}

// A managed plugin is enabled again, and Docker repeats nothing. A second network with the
// subnet and the gateway of the first one is refused, and the first one stays what it is.
func TestSecondNetworkWithTheSameSubnet(t *testing.T) {
	w := newWorld(t)
	i := ipam.New(ipam.Config{Store: ipamRecords{w.store}, Routes: noRoutes{}})
	must(t, createWithIPAM(w, i, netA, "10.1.0.0/24", "10.1.0.1"))
	text := "create network b2b2b2b2b2b2: cannot create network " + netB + " (br-b2b2b2b2b2b2): conflicts with network " + netA +
		" (br-a1a1a1a1a1a1): networks have overlapping IPv4: 10.1.0.0/24 and 10.1.0.0/24"
	before := w.store.Snapshot()
	for range 2 {
		_, err := i.GetCapabilities(ctx)
		must(t, err)
		wantErr(t, createWithIPAM(w, i, netB, "10.1.0.0/24", "10.1.0.1"), model.ErrConflict, text)
		must(t, w.RemoveStale(ctx))
		if after := w.store.Snapshot(); !reflect.DeepEqual(after, before) {
			t.Errorf("have %+v, want %+v", after, before)
		}
		if err := createWithIPAM(w, i, netC, "10.1.0.0/25", "10.1.0.1"); err == nil {
			t.Error("a part of the subnet was given away")
		}
	}
	p, err := i.RequestAddress(ctx, &helper.RequestAddressRequest{PoolID: "mybr-local/10.1.0.0/24", Options: map[string]string{"com.docker.network.endpoint.macaddress": "02:42:00:00:00:01"}})
	must(t, err)
	_, err = w.createEndpoint(netA, ep1, p.Address)
	must(t, err)
}
