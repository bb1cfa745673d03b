package conntrack

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// What is to be looked for when one container ends beside others, each of which publishes a port.
func BenchmarkDifference(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			var have Set
			for i := range n {
				a := netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(1 + i%250)})
				have.Endpoints = append(have.Endpoints, Endpoint{ID: fmt.Sprintf("%064d", i), V4: a})
				have.Bindings = append(have.Bindings, model.PortBinding{Proto: model.TCP, Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(20000+i)), Container: netip.AddrPortFrom(a, 80), Count: 1})
			}
			want := Set{Endpoints: slices.Delete(slices.Clone(have.Endpoints), n/2, n/2+1), Bindings: slices.Delete(slices.Clone(have.Bindings), n/2, n/2+1)}
			b.ReportAllocs()
			for b.Loop() {
				if c := difference(&have, want); len(c.left) != 1 || len(c.came) != 0 {
					b.Fatal(c)
				}
			}
		})
	}
}
