package driver

import (
	"fmt"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

func TestNetworkThatDockerRemovedWhileMybrWasAway(t *testing.T) {
	create := func(w *world, id, space, subnet, gateway string) error {
		return w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](t, oneNetwork(id, user(optBridge, "br0"),
			fmt.Sprintf(`[{"AddressSpace":%q,"Pool":%q,"Gateway":%q}]`, space, subnet, gateway))))
	}
	const text = "create network b2b2b2b2b2b2: bridge br0 is used by network a1a1a1a1a1a1"

	t.Run("its subnet is given away", func(t *testing.T) {
		w := newWorld(t)
		must(t, create(w, netA, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"))
		_, err := w.createEndpoint(netA, ep1, "10.2.0.9/24")
		must(t, err)
		w.host.gone = map[string]bool{model.Endpoint{ID: ep1}.HostIface(): true}
		must(t, create(w, netB, "LocalDefault", "10.2.0.0/25", "10.2.0.1/25"))
		s := w.store.Snapshot()
		if len(s.Networks) != 1 || s.Networks[0].ID != netB || len(s.Endpoints) != 0 {
			t.Errorf("have %+v", s)
		}
	})
	t.Run("it has an endpoint that is there", func(t *testing.T) {
		w := newWorld(t)
		must(t, create(w, netA, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"))
		_, err := w.createEndpoint(netA, ep1, "10.2.0.9/24")
		must(t, err)
		w.unchanged(func() {
			wantErr(t, create(w, netB, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"), model.ErrConflict, text)
		})
	})
	for name, c := range map[string]struct{ space, subnet, gateway string }{
		"another address space": {"elsewhere", "10.2.0.0/24", "10.2.0.1/24"},
		"another subnet":        {"LocalDefault", "10.3.0.0/24", "10.3.0.1/24"},
		"no address space":      {"", "10.2.0.0/24", "10.2.0.1/24"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			must(t, create(w, netA, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"))
			w.unchanged(func() {
				wantErr(t, create(w, netB, c.space, c.subnet, c.gateway), model.ErrConflict, text)
			})
		})
	}
	t.Run("a call is about it", func(t *testing.T) {
		w := newWorld(t)
		must(t, create(w, netA, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"))
		unlock := w.networks.rlock(netA)
		defer unlock()
		w.unchanged(func() {
			wantErr(t, create(w, netB, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"), model.ErrConflict, text)
		})
	})
}
