package hostport

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// dockerAllocator chooses ports without a number as Docker's own allocator does: upwards
// from the first port of the range, then behind the port that it tried last; what it
// holds itself is passed over, and the tenth port that can't be bound is its error.
type dockerAllocator struct {
	t     *testing.T
	ports *span
	last  uint16 // 0: none yet
	held  map[uint16]bool
}

func (a *dockerAllocator) allocate(network, host string) (uint16, error) {
	var errs []error
	for len(errs) < 10 {
		port := max(a.last+1, a.ports.first)
		if port > a.ports.last {
			port = a.ports.first
		}
		a.last = port
		if a.held[port] {
			continue
		}
		c, err := bindAs(network, fmt.Sprintf("%s:%d", host, port))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		a.t.Cleanup(func() { c.Close() })
		a.held[port] = true
		return port, nil
	}
	return 0, errors.Join(errs...)
}

// bindAs binds as another program would.
func bindAs(network, address string) (interface{ Close() error }, error) {
	if network[:3] == "udp" {
		return net.ListenPacket(network, address)
	}
	return net.Listen(network, address)
}

// Docker's own networks publish ports without a number beside mybr's, whoever comes first.
func TestDockersAllocatorFindsPortsBesideOurs(t *testing.T) {
	nettest.Process(t)
	for _, proto := range []model.Proto{model.TCP, model.UDP} {
		m := start(t, Config{})
		ports, err := ephemeral("/proc/sys")
		if err != nil {
			t.Fatal(err)
		}
		docker := &dockerAllocator{t: t, ports: ports, held: map[uint16]bool{}}
		for n := range 50 {
			reserve(t, m, fmt.Sprint(n), request(proto, "", 0, 0, 80))
		}
		for range 100 {
			if _, err := docker.allocate(proto.String()+"4", "0.0.0.0"); err != nil {
				t.Fatalf("Docker gives up beside 50 %s ports: %v", proto, err)
			}
		}
		for n := range 50 {
			reserve(t, m, fmt.Sprint("later", n), request(proto, "", 0, 0, 80))
		}
		if _, err := docker.allocate(proto.String()+"4", "0.0.0.0"); err != nil {
			t.Fatalf("Docker gives up beside 100 %s ports: %v", proto, err)
		}
	}
}
