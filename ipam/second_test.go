package ipam

import (
	"reflect"
	"testing"
)

// A second network with the same subnet and gateway can't be told from a replay here; the
// network driver refuses it, and Docker gives up what it was given: which is the first
// network's, and stays.
func TestSecondNetworkWithTheSameGateway(t *testing.T) {
	for _, subnet := range []string{"10.0.0.0/24", "fd00:1::/64"} {
		t.Run(subnet, func(t *testing.T) {
			gateway, aux, endpoint := "10.0.0.1", "10.0.0.7", "10.0.0.9"
			bits := "/24"
			if subnet == "fd00:1::/64" {
				gateway, aux, endpoint, bits = "fd00:1::1", "fd00:1::7", "fd00:1::9", "/64"
			}
			d, s := newDriver(t)
			id := pool(t, d, subnet, "")
			want(t, d, id, "gateway", gateway, gateway+bits)
			want(t, d, id, "aux", aux, aux+bits)
			want(t, d, id, mac1, endpoint, endpoint+bits)
			driven(t, s, SpaceLocal, subnet, endpoint)
			leases := dump(t, s).Leases
			second := func() {
				capabilities(t, d) // a managed plugin is enabled again
				pool(t, d, subnet, "")
				want(t, d, id, "gateway", gateway, gateway+bits)
				want(t, d, id, "aux", aux, aux+bits)
				release(t, d, id, gateway)
				release(t, d, id, aux)
				releasePool(t, d, id)
			}
			second()
			second()
			pool(t, d, "10.1.0.0/24", "")
			if after := dump(t, s).Leases; !reflect.DeepEqual(after[id], leases[id]) || len(leases[id]) != 3 {
				t.Errorf("have %+v, want %+v", after, leases)
			}
			secondIsRefused(t, d, subnet, "", subnet)

			// The first network goes as it would have.
			release(t, d, id, endpoint)
			if n := len(dump(t, s).Leases[id]); n != 2 {
				t.Errorf("%d leases are left, want 2", n)
			}
			undriven(t, s)
			release(t, d, id, gateway)
			release(t, d, id, aux)
			releasePool(t, d, id)
			if after := dump(t, s); len(after.Pools) != 1 || len(after.Leases[id]) != 0 {
				t.Errorf("have %+v, want nothing of %s", after, id)
			}
		})
	}
}

// Docker does not wait for ever for a network to be made or removed: then the pool is
// released while the network has a record still, and goes once it has none.
func TestPoolIsReleasedBeforeItsNetworkIsGone(t *testing.T) {
	for name, next := range map[string]func(d *Driver, id string){
		"asked for again":   func(d *Driver, id string) { pool(t, d, "10.0.0.0/24", "") },
		"a part of it":      func(d *Driver, id string) { pool(t, d, "10.0.0.0/25", "") },
		"another is asked":  func(d *Driver, id string) { pool(t, d, "10.1.0.0/24", "") },
		"any one is chosen": func(d *Driver, id string) { pool(t, d, "", "") },
		"another goes":      func(d *Driver, id string) { releasePool(t, d, "other") },
		"its network goes": func(d *Driver, id string) {
			if err := d.NetworkDeleted(); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, s := newDriver(t)
			id := pool(t, d, "10.0.0.0/24", "")
			want(t, d, id, "gateway", "", "10.0.0.1/24")
			want(t, d, id, mac1, "", "10.0.0.2/24")
			driven(t, s, SpaceLocal, "10.0.0.0/24")
			release(t, d, id, "10.0.0.1")
			releasePool(t, d, id)
			secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
			undriven(t, s)
			next(d, id)
			if after := dump(t, s); len(after.Leases[id]) != 0 {
				t.Errorf("have %+v, want nothing of the old %s", after, id)
			}
		})
	}
}

// A pool that was released by mistake is that of its network again once it is repeated.
func TestReleasedPoolIsRepeated(t *testing.T) {
	d, s := newDriver(t)
	id := pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, "gateway", "", "10.0.0.1/24")
	driven(t, s, SpaceLocal, "10.0.0.0/24")
	releasePool(t, d, id)
	capabilities(t, d)
	pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, "gateway", "10.0.0.1", "10.0.0.1/24")
	undriven(t, s) // as a network of another driver
	pool(t, d, "10.1.0.0/24", "")
	if n := len(dump(t, s).Leases[id]); n != 1 {
		t.Errorf("have %d leases, want 1", n)
	}
}
