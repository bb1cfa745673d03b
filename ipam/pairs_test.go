package ipam

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/model"
)

// BenchmarkPairs takes addresses and gives them back, by 16 callers at a time, with all commits
// on the disk, in pools that are more or less full. An operation is such a pair.
func BenchmarkPairs(b *testing.B) {
	for _, c := range []struct {
		subnet string
		leases int
	}{{"10.1.0.0/16", 655}, {"10.1.0.0/16", 32768}, {"10.1.0.0/16", 64880}, {"fd00::/64", 60000}} {
		b.Run(fmt.Sprintf("%s/leases=%d", c.subnet, c.leases), func(b *testing.B) {
			s := openStore(b, filepath.Join(b.TempDir(), "mybr.db"))
			defer s.Close()
			d := New(Config{Store: records{s}, Routes: hostRoutes(nil)})
			id := pool(b, d, c.subnet, "")
			fill(b, s, id, c.leases)
			var left atomic.Int64
			left.Store(int64(b.N))
			var callers sync.WaitGroup
			b.ResetTimer()
			for caller := range 16 {
				callers.Go(func() {
					for n := 0; left.Add(-1) >= 0; n++ {
						mac := model.MAC{2, 9, byte(caller), 0, byte(n >> 8), byte(n)}
						got, err := d.RequestAddress(b.Context(), &helper.RequestAddressRequest{PoolID: id, Options: map[string]string{keyMAC: mac.String()}})
						if err == nil {
							err = d.ReleaseAddress(b.Context(), &helper.ReleaseAddressRequest{PoolID: id, Address: netip.MustParsePrefix(got.Address).Addr().String()})
						}
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			callers.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
		})
	}
}
