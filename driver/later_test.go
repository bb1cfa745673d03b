package driver

import (
	"errors"
	"testing"

	"github.com/docker/go-plugins-helpers/network"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
)

// fullDisk has every commit fail until free is called.
func fullDisk() (free func()) {
	return fault.Set(func(point string) error {
		if point == "store: before the commit" {
			return unix.ENOSPC
		}
		return nil
	})
}

// What Docker has removed goes when the disk has room again, though Docker does not ask again.
func TestRemovalOnAFullDisk(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	_, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
	must(t, err)
	free := fullDisk()
	defer free()
	if err := w.DeleteEndpoint(ctx, &network.DeleteEndpointRequest{NetworkID: netA, EndpointID: ep1}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("have %v", err)
	}
	if err := w.DeleteNetwork(ctx, &network.DeleteNetworkRequest{NetworkID: netA}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("have %v", err)
	}
	if err := w.RemoveStale(ctx); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("still full: have %v", err)
	}
	if s := w.store.Snapshot(); len(s.Networks) != 1 || len(s.Endpoints) != 1 {
		t.Errorf("have %+v", s)
	}
	free()
	must(t, w.RemoveStale(ctx))
	if s := w.store.Snapshot(); len(s.Networks)+len(s.Endpoints) > 0 {
		t.Errorf("have %+v", s)
	}
}

// A call that is refused leaves nothing, though its revert can't be recorded at once.
func TestRevertOnAFullDisk(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	free := func() {}
	defer func() { free() }()
	tired := errors.New("the kernel is tired")
	w.sync.fail = func(int) error {
		free = fullDisk()
		return tired
	}
	if _, err := w.createEndpoint(netA, ep1, "10.1.0.2/24"); !errors.Is(err, tired) {
		t.Errorf("have %v", err)
	}
	if s := w.store.Snapshot(); len(s.Endpoints) != 1 {
		t.Errorf("have %+v: the disk was not full", s)
	}
	w.sync.fail = nil
	free()
	must(t, w.RemoveStale(ctx))
	if s := w.store.Snapshot(); len(s.Endpoints) > 0 {
		t.Errorf("have %+v", s)
	}
}
