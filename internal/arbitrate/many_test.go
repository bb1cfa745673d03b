package arbitrate

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
)

// What it takes to agree two endpoints about their ports grows as their number does, and not as
// its square: asked for again, or by the second endpoint of a sandbox, each port is looked for
// among all.
func TestManyPorts(t *testing.T) {
	least := func(n uint16) time.Duration {
		two := []model.Endpoint{{ID: "a", V4: netip.MustParsePrefix("10.1.0.2/24")}, {ID: "b", V4: netip.MustParsePrefix("10.2.0.2/24")}}
		two[0].Ports = []model.PortBinding{{Proto: model.UDP, Count: n,
			Host: netip.MustParseAddrPort("0.0.0.0:20001"), Container: netip.AddrPortFrom(two[0].V4.Addr(), 1)}}
		r := Request{Endpoint: "b"}
		for i := range n {
			r.Ports = append(r.Ports, model.PortRequest{Proto: model.UDP, First: 20001 + i, Last: 20001 + i,
				V4: model.Target{Host: netip.IPv4Unspecified(), Container: netip.AddrPortFrom(two[1].V4.Addr(), 1+i)}})
		}
		fastest := time.Hour
		for range 5 {
			begun := time.Now()
			after, err := Publish(two, r, func(reqs []model.PortRequest) ([]model.PortBinding, error) {
				if len(reqs) != int(n) {
					t.Fatalf("%d ports are reserved, want %d", len(reqs), n)
				}
				return two[0].Ports, nil
			})
			fastest = min(fastest, time.Since(begun))
			if err != nil || len(after[1].Ports) != 0 || len(after[1].Wanted) != int(n) {
				t.Fatalf("%d ports, %d wanted, %v", len(after[1].Ports), len(after[1].Wanted), err)
			}
		}
		return fastest
	}
	if few, many := least(4000), least(32000); many > 24*few { // 64 times as long if each looked at all
		t.Errorf("%s for 4,000 ports, %s for 32,000", few, many)
	}
}
