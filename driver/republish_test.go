package driver

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/nettest"
)

// portSync applies host ports as passes do: only when they have changed.
type portSync struct {
	*fakeSync
	ports *hostport.Manager
	have  hostport.Set
}

func (s *portSync) Sync(ctx context.Context, about ...string) error {
	var want hostport.Set
	for _, e := range s.store.Snapshot().Endpoints {
		for _, b := range e.Ports {
			want.Bindings = append(want.Bindings, hostport.Binding{Owner: e.PortOwner(), PortBinding: b})
		}
	}
	if !reflect.DeepEqual(s.have, want) {
		if err := s.ports.Apply(ctx, &s.have, want); err != nil {
			return err
		}
		s.have = want
	}
	return s.fakeSync.Sync(ctx, about...)
}

// A port that was published twice over is held until it is revoked, and free then.
func TestPortThatWasPublishedAgainIsFreeAfterwards(t *testing.T) {
	nettest.New(t)
	w := newWorld(t)
	ports := hostport.New(hostport.Config{})
	defer ports.Close()
	w.Driver.ports, w.Driver.sync = ports, &portSync{fakeSync: w.sync, ports: ports}
	free := func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:8080")
		if err != nil {
			return err
		}
		return l.Close()
	}
	w.running()
	for i := range 2 {
		must(t, w.pec(netA, ep1, port8080))
		if free() == nil {
			t.Errorf("published %d times: nobody holds the port", i+2)
		}
	}
	for name, end := range map[string]func() error{
		"revoke": func() error {
			return w.RevokeExternalConnectivity(ctx, &network.RevokeExternalConnectivityRequest{NetworkID: netA, EndpointID: ep1})
		},
		"leave": func() error { return w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}) },
	} {
		must(t, w.pec(netA, ep1, port8080))
		must(t, w.pec(netA, ep1, port8080))
		must(t, end())
		if err := free(); err != nil {
			t.Error(fmt.Errorf("after %s: %w", name, err))
		}
	}
}
