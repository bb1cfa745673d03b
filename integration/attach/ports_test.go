package attach

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
)

// firstPort begins the published ports: below those that the kernel itself gives out.
const firstPort = 10001

// BenchmarkPorts is mybr's own time for a container that publishes many ports: all calls of
// Docker's summed, and each by itself.
func BenchmarkPorts(b *testing.B) {
	for _, firewall := range []string{"iptables", "nftables"} {
		for _, kind := range []struct {
			name string
			ports
		}{
			{"none", ports{}},
			{"range/ports=100", ports{model.TCP, firstPort, 1, 100}},
			{"range/ports=1000", ports{model.TCP, firstPort, 1, 1000}},
			{"scattered/ports=1000", ports{model.TCP, firstPort, 2, 1000}},
			{"range/ports=10000", ports{model.TCP, firstPort, 1, 10000}},
			{"udp/ports=10000", ports{model.UDP, firstPort, 1, 10000}},
			{"udp/ports=16384", ports{model.UDP, firstPort, 1, 16384}},
		} {
			b.Run(fmt.Sprintf("%s/%s", firewall, kind.name), func(b *testing.B) {
				w := newWorld(b)
				w.firewall = firewall
				ids := w.fill(1, 10)
				w.start()
				all := map[string][]time.Duration{}
				for range b.N {
					var sum time.Duration
					note := func(call string, d time.Duration) { all[call], sum = append(all[call], d), sum+d }
					a := w.attach(ids[0], w.address(), kind.ports, note)
					all["attach"], sum = append(all["attach"], sum), 0
					w.detach(a, note)
					all["detach"] = append(all["detach"], sum)
				}
				report(b, all)
			})
		}
	}
}

// What a container costs that publishes ports grows as their number does, from the request to
// the kernel: no list is gone through for each port, and no call makes more commits or passes.
func TestPortsCost(t *testing.T) {
	for _, firewall := range []string{"iptables", "nftables"} {
		t.Run(firewall, func(t *testing.T) {
			w := newWorld(t)
			w.firewall = firewall
			ids := w.fill(1, 2)
			w.start()
			cycle := func(count int) (allocated uint64, effects map[string]counts) {
				allocated, effects = 1<<63, map[string]counts{}
				for range 3 { // the first one grows what stays, such as the process's table of descriptors
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					w.counts()
					note := func(call string, _ time.Duration) { effects[call] = w.counts() }
					w.detach(w.attach(ids[0], w.address(), ports{model.UDP, firstPort, 1, count}, note), note)
					runtime.ReadMemStats(&after)
					allocated = min(allocated, after.TotalAlloc-before.TotalAlloc)
				}
				return allocated, effects
			}
			few, some := cycle(400)
			many, all := cycle(4000)
			t.Logf("%d bytes for 400 ports, %d for 4,000", few, many)
			if many > 10*few {
				t.Errorf("%.1f times as much for ten times as many ports", float64(many)/float64(few))
			}
			for call, c := range all {
				if c != some[call] {
					t.Errorf("%s: %+v for 400 ports, %+v for 4,000", call, some[call], c)
				}
			}
		})
	}
}
