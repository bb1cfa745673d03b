package attach

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mybr/mybr/integration/ask"
)

// BenchmarkAttach is mybr's own time for a container that comes and goes, beside others on the
// same bridge: all calls of Docker's summed, and each by itself.
func BenchmarkAttach(b *testing.B) {
	for _, published := range []int{0, 9999} {
		for _, endpoints := range []int{10, 500, 1000} {
			b.Run(fmt.Sprintf("port=%d/endpoints=%d", published, endpoints), func(b *testing.B) {
				w := newWorld(b)
				ids := w.fill(1, endpoints)
				w.start()
				all := map[string][]time.Duration{}
				note := func(call string, d time.Duration) { all[call] = append(all[call], d) }
				round := func() {
					var sum time.Duration
					a := w.attach(ids[0], w.address(), port(published), func(call string, d time.Duration) { note(call, d); sum += d })
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

// BenchmarkNetwork is mybr's own time for a network that comes and goes.
func BenchmarkNetwork(b *testing.B) {
	w := newWorld(b)
	w.start()
	all := map[string][]time.Duration{}
	note := func(call string, d time.Duration) { all[call] = append(all[call], d) }
	for i := range b.N {
		network := object{"NetworkID": w.id(), "Options": object{}, "IPv4Data": []object{{
			"AddressSpace": "LocalDefault", "Pool": fmt.Sprintf("10.%d.0.0/16", 1+i%200), "Gateway": fmt.Sprintf("10.%d.0.1/16", 1+i%200)}}}
		w.call("NetworkDriver.CreateNetwork", network, note)
		left := w.await("link: all has left")
		w.call("NetworkDriver.DeleteNetwork", object{"NetworkID": network["NetworkID"]}, note)
		<-left // what the kernel does for it is not the next network's time
	}
	report(b, all)
}

// BenchmarkPublish is mybr's own time for a port that is published and removed again, beside
// tracked flows that are none of mybr's.
func BenchmarkPublish(b *testing.B) {
	for _, flows := range []int{100, 200_000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			w := newWorld(b)
			ids := w.fill(1, 10)
			w.start()
			w.track(flows)
			a := w.attach(ids[0], w.address(), ports{}, func(string, time.Duration) {})
			all := map[string][]time.Duration{}
			note := func(call string, d time.Duration) { all[call] = append(all[call], d) }
			publish := a.body()
			publish["Options"] = port(9999).options()
			for b.Loop() {
				w.call("NetworkDriver.ProgramExternalConnectivity", publish, note)
				w.call("NetworkDriver.RevokeExternalConnectivity", a.body(), note)
			}
			report(b, all)
		})
	}
}

// BenchmarkTogether is mybr's own time for 50 containers that go at once.
func BenchmarkTogether(b *testing.B) {
	const count = 50
	w := newWorld(b)
	ids := w.fill(1, 10)
	w.start()
	many := ask.New(filepath.Join(w.dir, "plugins", "mybr.sock"), count)
	defer many.Close()
	all := map[string][]time.Duration{}
	for range b.N {
		var there []attachment
		for i := range count {
			there = append(there, w.attach(ids[0], fmt.Sprintf("10.0.201.%d/16", 1+i), ports{}, func(string, time.Duration) {}))
		}
		var calls errgroup.Group
		begun := time.Now()
		for _, a := range there {
			calls.Go(func() error {
				for _, name := range []string{"NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint"} {
					if err := many.Call(b.Context(), name, a.body(), nil); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := calls.Wait(); err != nil {
			b.Fatal(err)
		}
		all["detach"] = append(all["detach"], time.Since(begun))
	}
	report(b, all)
}

// report has the least and the median of what was measured.
func report(b *testing.B, all map[string][]time.Duration) {
	for what, d := range all {
		b.ReportMetric(ms(quantile(d, 0)), what+"-min-ms")
		b.ReportMetric(ms(quantile(d, 0.5)), what+"-p50-ms")
	}
	b.ReportMetric(0, "ns/op")
}
