package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// BenchmarkDataPath sends small datagrams through a published port, from a host of the LAN,
// in turn on Docker's own driver and on mybr, each with an engine of its own that has nothing
// but so many networks of the driver. It reports what one costs the processor, by the medians
// of short rounds, and how many times as many Docker's driver could carry at most (below 1:
// mybr carries more). "answered" is a flow that the container has answered, "one way" one
// that it has not, and "out" one from the container to the LAN.
func BenchmarkDataPath(b *testing.B) {
	var worlds []*world.World
	for _, driver := range []string{"bridge", "mybr"} {
		w := world.New(b, world.Config{Driver: driver, Engine: "28.5", DockerArgs: []string{"--userland-proxy=false"}})
		w.Docker("network", "create", "-d", driver, "--subnet", "10.60.0.0/24", "net0")
		w.Serve("web", []string{"--net", "net0", "-p", "8080:80/udp", "-p", "8081:81/udp"}, "udp:80")
		worlds = append(worlds, w)
	}
	have := 1
	for _, networks := range []int{1, 20, 100, 500} {
		if networks > 100 && world.Short() {
			continue
		}
		for ; have < networks; have++ {
			for _, w := range worlds {
				w.Docker("network", "create", "-d", w.Driver, "--subnet", fmt.Sprintf("10.%d.%d.0/24", 60+have/256, have%256), fmt.Sprint("net", have))
			}
		}
		b.Run(fmt.Sprintf("networks=%d", networks), func(b *testing.B) { dataPath(b, worlds) })
	}
}

func dataPath(b *testing.B, worlds []*world.World) {
	ways := []struct {
		name string
		pump func(w *world.World) string
	}{
		{"answered", func(w *world.World) string { return w.LAN.Run("guest", "pump", "-answered", world.HostAddr+":8080") }},
		{"one-way", func(w *world.World) string { return w.LAN.Run("guest", "pump", world.HostAddr+":8081") }},
		{"out", func(w *world.World) string { return w.Container("web").Run("guest", "pump", world.LANAddr+":9") }},
	}
	spent := make([][2][]float64, len(ways))
	for b.Loop() {
		for i, way := range ways {
			for j, w := range worlds {
				var p report.Pumped
				if err := json.Unmarshal([]byte(way.pump(w)), &p); err != nil {
					b.Fatal(err)
				}
				spent[i][j] = append(spent[i][j], p.Nanos...)
			}
		}
	}
	for i, way := range ways {
		bridge, mybr := middle(spent[i][0]), middle(spent[i][1])
		b.ReportMetric(bridge, way.name+"-bridge-ns")
		b.ReportMetric(mybr, way.name+"-mybr-ns")
		b.ReportMetric(mybr/bridge, way.name+"-ratio")
	}
}

func middle(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
