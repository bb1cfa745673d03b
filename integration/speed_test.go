package integration

import (
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// BenchmarkPublish starts and removes a container that publishes 100 ports, in turn
// on Docker's own bridge driver and on mybr, on one engine. It reports how many times
// as long Docker's driver takes.
func BenchmarkPublish(b *testing.B) {
	for _, c := range []struct {
		name string
		args []string
	}{
		{"range", []string{"-p", "8000-8099:8000-8099"}},
		{"none", nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := world.New(b, world.Config{})
			w.Docker("network", "create", "-d", "bridge", "theirs")
			w.Docker("network", "create", "-d", "mybr", "ours")
			var run, rm [2]time.Duration
			for b.Loop() {
				for i, network := range []string{"theirs", "ours"} {
					run[i] += timed(func() {
						w.Docker(append(append([]string{"run", "-d", "--name", "web", "--net", network}, c.args...), "guest", "sleep")...)
					})
					rm[i] += timed(func() { w.Docker("rm", "-f", "web") })
				}
			}
			b.ReportMetric(run[0].Seconds()/run[1].Seconds(), "run-ratio")
			b.ReportMetric(rm[0].Seconds()/rm[1].Seconds(), "rm-ratio")
			b.ReportMetric(run[0].Seconds()/float64(b.N), "bridge-run-s")
			b.ReportMetric(run[1].Seconds()/float64(b.N), "mybr-run-s")
		})
	}
}

func timed(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}
