package ipam

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// lost is a driver whose pools were lost, of which a network is there still, with a gateway
// and an endpoint.
func lost(t *testing.T) (*Driver, *store.Store, []model.Lease) {
	t.Helper()
	d, s := newDriver(t)
	leases := []model.Lease{
		{Addr: netip.MustParseAddr("10.7.0.1"), Kind: model.LeaseGateway},
		{Addr: netip.MustParseAddr("10.7.0.2"), Kind: model.LeaseEndpoint, MAC: model.MAC{2, 0, 0, 0, 0, 9}},
	}
	_, err := s.Update(func(tx *store.Tx) error {
		err := tx.PutNetwork(model.Network{ID: "n", V4: model.Subnet{Prefix: netip.MustParsePrefix("10.7.0.0/29"), Gateway: leases[0].Addr, Space: SpaceLocal}})
		if err != nil {
			return err
		}
		return tx.PutEndpoint(model.Endpoint{ID: "e", NetworkID: "n", MAC: leases[1].MAC, V4: netip.PrefixFrom(leases[1].Addr, 29)})
	})
	if err != nil {
		t.Fatal(err)
	}
	return d, s, leases
}

// Docker goes on with the ID of a pool whose record was lost: it is there again, and nobody
// gets the addresses that are in use.
func TestLostPoolIsRevived(t *testing.T) {
	for _, id := range []string{"mybr-local/10.7.0.0/29", "mybr-local/10.7.0.0/29/10.7.0.0/30"} {
		d, s, leases := lost(t)
		got, err := ask(d, id, "02:00:00:00:00:01", "")
		if err != nil && id == "mybr-local/10.7.0.0/29" || err == nil && got != "10.7.0.3/29" {
			t.Errorf("%s: have %s %v", id, got, err)
		}
		if have := dump(t, s); len(have.Pools) != 1 || have.Pools[0].ID != id || !slices.Contains(have.Leases[id], leases[0]) || !slices.Contains(have.Leases[id], leases[1]) {
			t.Errorf("%s: have %+v", id, have)
		}
		if err := d.ReleaseAddress(context.Background(), &helper.ReleaseAddressRequest{PoolID: id, Address: "10.7.0.2"}); err != nil {
			t.Error(err)
		}
	}
}

// What Docker repeats when it starts finds the pool of the network, and is granted.
func TestLostPoolIsRepeated(t *testing.T) {
	d, s, leases := lost(t)
	if _, err := d.GetCapabilities(context.Background()); err != nil {
		t.Fatal(err)
	}
	id := pool(t, d, "10.7.0.0/29", "")
	for addr, what := range map[string]string{"10.7.0.1": "gateway", "10.7.0.2": "aux", "10.7.0.5": "aux"} {
		if got, err := ask(d, id, what, addr); err != nil || got != addr+"/29" {
			t.Errorf("%s %s: have %s %v", what, addr, got, err)
		}
	}
	want := append(leases, model.Lease{Addr: netip.MustParseAddr("10.7.0.5"), Kind: model.LeaseAux})
	if have := dump(t, s); !reflect.DeepEqual(have.Leases[id], want) {
		t.Errorf("have %+v, want %+v", have, want)
	}
}

// An ID that no network has is not made up, and neither is one that is none.
func TestUnknownPoolIsNotRevived(t *testing.T) {
	d, s, _ := lost(t)
	for _, id := range []string{"", "p", "mybr-local/10.8.0.0/29", "mybr-global/10.7.0.0/29", "mybr-local/10.7.0.1/29", "mybr-local/10.7.0.0/29/10.8.0.0/30", "mybr-local/10.7.0.0/29/x"} {
		if got, err := ask(d, id, "02:00:00:00:00:01", ""); err == nil {
			t.Errorf("%q: have %s", id, got)
		}
	}
	if have := dump(t, s); len(have.Pools) > 0 {
		t.Errorf("have %+v", have)
	}
}
