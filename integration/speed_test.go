package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
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

// BenchmarkFirstAnswer takes the time from the end of docker run, for the first container
// of a network with IPv6, until a host of the LAN is answered at its published port, by
// each family, in turn on both drivers of one engine: the newest, whose own driver has
// NAT for IPv6 without being asked. It reports how many times as long Docker's driver
// takes.
func BenchmarkFirstAnswer(b *testing.B) {
	for _, c := range []struct{ name, to string }{
		{"IPv6", "[" + world.HostAddr6 + "]:8088"},
		{"IPv4", world.HostAddr + ":8088"},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := world.New(b, world.Config{Engine: "28.5"})
			var waited [2]time.Duration
			for b.Loop() {
				for i, driver := range []string{"bridge", "mybr"} {
					w.Docker("network", "create", "-d", driver, "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "n0")
					w.Docker("run", "-d", "--name", "web", "--net", "n0", "-p", "8088:80", "guest", "serve", "tcp:80")
					waited[i] += timed(func() { firstAnswer(b, w, c.to) })
					w.Docker("rm", "-f", "web")
					w.Docker("network", "rm", "n0")
				}
			}
			b.ReportMetric(waited[0].Seconds()/waited[1].Seconds(), "first-answer-ratio")
			b.ReportMetric(1000*waited[0].Seconds()/float64(b.N), "bridge-ms")
			b.ReportMetric(1000*waited[1].Seconds()/float64(b.N), "mybr-ms")
		})
	}
}

// BenchmarkManyNetworks starts and stops a container of 20 networks, in turn on both
// drivers, on the machine's own engine and on the newest. It reports how many times as
// long Docker's driver takes.
func BenchmarkManyNetworks(b *testing.B) {
	for name, engine := range map[string]string{"own": world.OwnEngine, "28.5": "28.5"} {
		b.Run(name, func(b *testing.B) { manyNetworks(b, world.New(b, world.Config{Engine: engine})) })
	}
}

func manyNetworks(b *testing.B, w *world.World) {
	const networks = 20
	drivers := []string{"bridge", "mybr"}
	for i, driver := range drivers {
		for n := range networks {
			name := fmt.Sprint(driver, n)
			w.Docker("network", "create", "-d", driver, "--subnet", fmt.Sprintf("10.%d.%d.0/24", 60+i, n), name)
			if n == 0 {
				w.Docker("create", "--name", driver, "--net", name, world.Image, "sleep")
			} else {
				w.Docker("network", "connect", name, driver)
			}
		}
	}
	var start, stop [2]time.Duration
	for b.Loop() {
		for i, driver := range drivers {
			start[i] += timed(func() { w.Docker("start", driver) })
			stop[i] += timed(func() { w.Docker("kill", driver); w.Docker("wait", driver) })
		}
	}
	b.ReportMetric(start[0].Seconds()/start[1].Seconds(), "start-ratio")
	b.ReportMetric(stop[0].Seconds()/stop[1].Seconds(), "stop-ratio")
	b.ReportMetric(start[0].Seconds()/float64(b.N), "bridge-start-s")
	b.ReportMetric(start[1].Seconds()/float64(b.N), "mybr-start-s")
}

// firstAnswer asks a server from the LAN, every few milliseconds, until it answers.
func firstAnswer(b *testing.B, w *world.World, to string) {
	b.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if w.LAN.Probe(report.Probe{Network: "tcp", To: to, Timeout: 20 * time.Millisecond})[0].Code == report.Answered {
			return
		}
	}
	b.Fatalf("no answer from %s", to)
}

func timed(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}
