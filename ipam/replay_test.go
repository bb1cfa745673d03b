package ipam

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

func capabilities(t *testing.T, d *Driver) {
	t.Helper()
	if _, err := d.GetCapabilities(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func secondIsRefused(t *testing.T, d *Driver, subnet, sub, overlaps string) {
	t.Helper()
	_, err := d.RequestPool(context.Background(), poolRequest(SpaceLocal, subnet, sub))
	want := "request pool " + subnet + ": invalid pool request: Pool overlaps with other one on this address space: " + overlaps + ", which another network has in address space mybr-local"
	if err == nil || err.Error() != want {
		t.Errorf("have %v, want %s", err, want)
	}
}

// dockerd has started again and repeats what it has on record.
func TestReplay(t *testing.T) {
	d, s := newDriver(t)
	id := pool(t, d, "10.0.0.0/16", "10.0.5.0/24")
	other := pool(t, d, "fd00:1::/64", "")
	want(t, d, other, "gateway", "", "fd00:1::1/64")
	want(t, d, other, mac1, "", "fd00:1::2/64")
	want(t, d, id, "gateway", "10.0.0.1", "10.0.0.1/16")
	want(t, d, id, "aux", "10.0.0.7", "10.0.0.7/16")
	want(t, d, id, mac1, "", "10.0.5.0/16")
	want(t, d, id, mac2, "10.0.9.9", "10.0.9.9/16")
	before := dump(t, s)
	for range 2 {
		capabilities(t, d)
		if again := pool(t, d, "10.0.0.0/16", "10.0.5.0/24"); again != id {
			t.Fatalf("have %s, want %s", again, id)
		}
		want(t, d, id, "gateway", "10.0.0.1", "10.0.0.1/16")
		want(t, d, id, "aux", "10.0.0.7", "10.0.0.7/16")
		want(t, d, id, "aux", "10.0.5.0", "10.0.5.0/16") // endpoints come without their MACs
		want(t, d, id, "aux", "10.0.9.9", "10.0.9.9/16")
		if again := pool(t, d, "fd00:1::/64", ""); again != other {
			t.Fatalf("have %s, want %s", again, other)
		}
		want(t, d, other, "gateway", "fd00:1::1", "fd00:1::1/64")
		want(t, d, other, "aux", "fd00:1::2", "fd00:1::2/64")
		if after := dump(t, s); !reflect.DeepEqual(after, before) {
			t.Fatalf("have %+v, want %+v", after, before)
		}
	}
	secondIsRefused(t, d, "10.0.0.0/16", "10.0.5.0/24", "10.0.0.0/16")
	// The first container that starts ends it, with an address of its own or without.
	want(t, d, id, mac3, "", "10.0.5.1/16")
	refused(t, d, id, "aux", "10.0.5.0", "request address 10.0.5.0: Address already in use in pool "+id+" by the endpoint with MAC address "+mac1)
	capabilities(t, d)
	pool(t, d, "10.0.0.0/16", "10.0.5.0/24")
	refused(t, d, id, mac3, "10.0.5.0", "request address 10.0.5.0: Address already in use in pool "+id+" by the endpoint with MAC address "+mac1)
	refused(t, d, id, "aux", "10.0.5.0", "request address 10.0.5.0: Address already in use in pool "+id+" by the endpoint with MAC address "+mac1)
}

// mybr's records were lost: what Docker repeats is taken as new.
func TestReplayOfWhatWasLost(t *testing.T) {
	d, s := newDriver(t)
	capabilities(t, d)
	id := pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, "gateway", "10.0.0.1", "10.0.0.1/24")
	want(t, d, id, "aux", "10.0.0.2", "10.0.0.2/24")
	want(t, d, id, mac1, "", "10.0.0.3/24")
	if n := len(dump(t, s).Leases[id]); n != 3 {
		t.Errorf("have %d leases, want 3", n)
	}
	secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
}

// Only an exactly equal request is a repetition.
func TestNoReplay(t *testing.T) {
	d, _ := newDriver(t)
	id := pool(t, d, "10.0.0.0/24", "10.0.0.64/26")
	want(t, d, id, mac1, "", "10.0.0.64/24")
	secondIsRefused(t, d, "10.0.0.0/24", "10.0.0.64/26", "10.0.0.0/24")
	capabilities(t, d)
	secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
	secondIsRefused(t, d, "10.0.0.0/24", "10.0.0.64/27", "10.0.0.0/24")
	secondIsRefused(t, d, "10.0.0.0/25", "10.0.0.64/26", "10.0.0.0/24")
	secondIsRefused(t, d, "10.0.0.0/8", "", "10.0.0.0/24")
	r := &helper.RequestPoolRequest{AddressSpace: SpaceGlobal, Pool: "10.0.0.0/24", SubPool: "10.0.0.64/26"}
	if resp, err := d.RequestPool(context.Background(), r); err != nil || resp.PoolID == id {
		t.Errorf("the other address space: %v %v", resp, err)
	}
	refused(t, d, id, "aux", "10.0.0.64", "request address 10.0.0.64: Address already in use in pool "+id+" by the endpoint with MAC address "+mac1)
}

// What uses a pool shows that Docker is past repeating it.
func TestUseEndsReplay(t *testing.T) {
	for name, use := range map[string]func(d *Driver, id string){
		"request":  func(d *Driver, id string) { want(t, d, id, mac1, "", "10.0.0.1/24") },
		"repeated": func(d *Driver, id string) { want(t, d, id, "gateway", "10.0.0.9", "10.0.0.9/24") },
		"release":  func(d *Driver, id string) { release(t, d, id, "10.0.0.9") },
		"unknown":  func(d *Driver, id string) { release(t, d, id, "10.0.0.77") },
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newDriver(t)
			id := pool(t, d, "10.0.0.0/24", "")
			want(t, d, id, "gateway", "10.0.0.9", "10.0.0.9/24")
			capabilities(t, d)
			use(d, id)
			secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
		})
	}
	d, _ := newDriver(t)
	id := pool(t, d, "10.0.0.0/24", "")
	capabilities(t, d)
	releasePool(t, d, id)
	pool(t, d, "10.0.0.0/24", "")
	secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
}

// The process ended while Docker was repeating: it was not asked for capabilities,
// so it takes nothing for a repetition, and loses nothing.
func TestRestartDuringReplay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	s := openStore(t, path)
	d := New(Config{Store: records{s}, Routes: hostRoutes(nil)})
	id := pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, mac1, "", "10.0.0.1/24")
	capabilities(t, d)
	before := dump(t, s)
	_ = s.Close()
	s = openStore(t, path)
	defer s.Close()
	d = New(Config{Store: records{s}, Routes: hostRoutes(nil)})
	secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
	if after := dump(t, s); !reflect.DeepEqual(after, before) {
		t.Errorf("have %+v, want %+v", after, before)
	}
	want(t, d, id, mac1, "", "10.0.0.1/24")
	if l := dump(t, s).Leases[id]; len(l) != 1 || l[0].Kind != model.LeaseEndpoint {
		t.Errorf("have %+v", l)
	}
}

// Docker asks for the capabilities and repeats nothing: mybr was away when it started.
// A second network with the subnet is then told from a repetition by its gateway, and
// what Docker releases of it is not released of the first.
func TestSecondNetworkInsteadOfReplay(t *testing.T) {
	for name, gateway := range map[string]string{"chosen": "", "named": "10.0.0.254"} {
		t.Run(name, func(t *testing.T) {
			d, s := newDriver(t)
			id := pool(t, d, "10.0.0.0/24", "")
			want(t, d, id, "gateway", "", "10.0.0.1/24")
			other := pool(t, d, "10.1.0.0/24", "")
			want(t, d, other, "gateway", "", "10.1.0.1/24")
			before := dump(t, s)
			capabilities(t, d)
			pool(t, d, "10.0.0.0/24", "")
			refusal := "request address: invalid pool request: Pool overlaps with other one on this address space:"
			if gateway != "" {
				refusal = "request address " + gateway + ": invalid pool request: Pool overlaps with other one on this address space:"
			}
			refused(t, d, id, "gateway", gateway, refusal+" 10.0.0.0/24, which another network has in address space mybr-local")
			releasePool(t, d, id)
			if after := dump(t, s); !reflect.DeepEqual(after, before) {
				t.Errorf("have %+v, want %+v", after, before)
			}
			// Nothing of this will be repeated any more.
			secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
			secondIsRefused(t, d, "10.1.0.0/24", "", "10.1.0.0/24")
			// The first network goes as it would have.
			release(t, d, id, "10.0.0.1")
			releasePool(t, d, id)
			releasePool(t, d, other)
			if after := dump(t, s); len(after.Pools) != 0 {
				t.Errorf("have %+v, want nothing", after)
			}
		})
	}
}

// What Docker can't have repeated ends the repetition of every pool.
func TestOtherUseEndsReplay(t *testing.T) {
	for name, use := range map[string]func(d *Driver, other string){
		"endpoint": func(d *Driver, other string) { want(t, d, other, mac1, "", "10.1.0.1/24") },
		"named":    func(d *Driver, other string) { want(t, d, other, mac1, "10.1.0.9", "10.1.0.9/24") },
		"subnet":   func(d *Driver, _ string) { pool(t, d, "", "") },
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newDriver(t)
			pool(t, d, "10.0.0.0/24", "")
			other := pool(t, d, "10.1.0.0/24", "")
			capabilities(t, d)
			use(d, other)
			secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
		})
	}
}

// The process that took a pool ended before its answer: Docker was not told of it, and
// asks again. A pool of which anything is used it was told of.
func TestPoolThatDockerWasNotToldOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	s := openStore(t, path)
	d := New(Config{Store: records{s}, Routes: hostRoutes(nil)})
	untold := pool(t, d, "10.0.0.0/24", "")
	secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
	used := pool(t, d, "10.0.1.0/24", "")
	want(t, d, used, "gateway", "", "10.0.1.1/24")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	d = New(Config{Store: records{s}, Routes: hostRoutes(nil)})
	if id := pool(t, d, "10.0.0.0/24", ""); id != untold {
		t.Errorf("have pool %s, want %s", id, untold)
	}
	secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
	secondIsRefused(t, d, "10.0.1.0/24", "", "10.0.1.0/24")
}

// What could not be recorded was not granted: the same request is again what it was, be it for
// a pool that Docker was not told of, or a repetition.
func TestRequestOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	s := openStore(t, path)
	d := New(Config{Store: records{s}, Routes: hostRoutes(nil)})
	untold, used := pool(t, d, "10.0.0.0/24", ""), pool(t, d, "10.0.1.0/24", "")
	owed := pool(t, d, "10.0.2.0/24", "") // whose release is recorded with the requests
	want(t, d, used, "gateway", "", "10.0.1.1/24")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	d = New(Config{Store: records{s}, Routes: hostRoutes(nil)})
	full := func(subnet string) {
		t.Helper()
		pool(t, d, "10.0.2.0/24", "")
		free := fault.Set(func(point string) error {
			if point == "store: before the commit" {
				return unix.ENOSPC
			}
			return nil
		})
		defer free()
		if err := d.ReleasePool(context.Background(), &helper.ReleasePoolRequest{PoolID: owed}); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("have %v", err)
		}
		if _, err := d.RequestPool(context.Background(), poolRequest(SpaceLocal, subnet, "")); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: have %v", subnet, err)
		}
	}
	full("10.0.0.0/24")
	if id := pool(t, d, "10.0.0.0/24", ""); id != untold {
		t.Errorf("have pool %s, want %s", id, untold)
	}
	capabilities(t, d)
	full("10.0.1.0/24")
	if id := pool(t, d, "10.0.1.0/24", ""); id != used {
		t.Errorf("have pool %s, want %s", id, used)
	}
}

// A pool that Docker releases while the disk is full is free again when there is room.
func TestReleaseOnAFullDisk(t *testing.T) {
	d, _ := newDriver(t)
	id := pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, "gateway", "", "10.0.0.1/24")
	free := fault.Set(func(point string) error {
		if point == "store: before the commit" {
			return unix.ENOSPC
		}
		return nil
	})
	defer free()
	if err := d.ReleasePool(context.Background(), &helper.ReleasePoolRequest{PoolID: id}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("have %v", err)
	}
	free()
	if again := pool(t, d, "10.0.0.0/24", ""); again != id {
		t.Errorf("have pool %s, want %s", again, id)
	}
	secondIsRefused(t, d, "10.0.0.0/24", "", "10.0.0.0/24")
}
