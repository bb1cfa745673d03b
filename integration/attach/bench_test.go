package attach

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkAttach is mybr's own time for a container that comes and goes, beside others on the
// same bridge: all calls of Docker's summed, and each by itself.
func BenchmarkAttach(b *testing.B) {
	for _, port := range []int{0, 9999} {
		for _, endpoints := range []int{10, 500, 1000} {
			b.Run(fmt.Sprintf("port=%d/endpoints=%d", port, endpoints), func(b *testing.B) {
				w := newWorld(b)
				ids := w.fill(1, endpoints)
				w.start()
				all := map[string][]time.Duration{}
				note := func(call string, d time.Duration) { all[call] = append(all[call], d) }
				round := func() {
					var sum time.Duration
					a := w.attach(ids[0], w.address(), port, func(call string, d time.Duration) { note(call, d); sum += d })
					note("attach", sum)
					sum = 0
					w.detach(a, func(call string, d time.Duration) { note(call, d); sum += d })
					note("detach", sum)
				}
				for range 5 {
					round()
				}
				clear(all)
				w.counts()
				b.ResetTimer()
				for range b.N {
					round()
				}
				b.StopTimer()
				c := w.counts()
				for call, d := range all {
					b.ReportMetric(ms(quantile(d, 0.5)), call+"-p50-ms")
					if call == "attach" || call == "detach" {
						b.ReportMetric(ms(quantile(d, 0.99)), call+"-p99-ms")
					}
				}
				n := float64(b.N)
				b.ReportMetric(float64(c.commits)/n, "commits")
				b.ReportMetric(float64(c.passes)/n, "passes")
				b.ReportMetric(float64(c.links)/n, "link-messages")
				b.ReportMetric(float64(c.programs)/n, "programs")
				b.ReportMetric(float64(c.settings)/n, "settings")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func quantile(all []time.Duration, q float64) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[min(len(all)-1, int(q*float64(len(all))))]
}

// BenchmarkStart starts mybr with the records of many networks and endpoints, on an empty host
// and on one that matches.
func BenchmarkStart(b *testing.B) {
	for _, size := range [][2]int{{1, 10}, {100, 1000}} {
		b.Run(fmt.Sprintf("networks=%d/endpoints=%d", size[0], size[1]), func(b *testing.B) {
			w := newWorld(b)
			w.fill(size[0], size[1])
			_, empty := w.start()
			var listens, matches []time.Duration
			for range b.N {
				w.stop()
				l, m := w.start()
				listens, matches = append(listens, l), append(matches, m)
			}
			b.ReportMetric(ms(empty), "empty-host-ms")
			b.ReportMetric(ms(quantile(listens, 0.5)), "listens-ms")
			b.ReportMetric(ms(quantile(matches, 0.5)), "matches-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}
