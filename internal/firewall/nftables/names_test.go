package nftables

import (
	"fmt"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

// One grant more is one element more, however many there are.
func TestOneMoreGrant(t *testing.T) {
	have, want := firewalltest.Granted(500, 8)
	if err := want.Validate(); err != nil {
		t.Fatal(err)
	}
	nettest.New(t)
	b := newBackend(t)
	defer b.Close()
	firewalltest.Apply(t, b, nil, have)
	for _, step := range [][2]firewall.Policy{{have, want}, {want, have}} {
		p, err := b.Plan(t.Context(), &step[0], step[1])
		if err != nil || len(p.Changes()) != 1 {
			t.Errorf("%q, %v", p.Changes(), err)
		}
		if err := p.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// What it costs to open a way, with the kernel.
func BenchmarkGrant(b *testing.B) {
	for _, containers := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("%dx8", containers), func(b *testing.B) {
			nettest.New(b)
			backend, err := New(firewall.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer backend.Close()
			firewalltest.BenchGrant(b, backend, containers, 8)
		})
	}
}
