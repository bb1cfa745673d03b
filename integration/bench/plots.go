package bench

import (
	"slices"
	"strconv"
	"strings"

	"github.com/mybr/mybr/integration/bench/plot"
)

// Picture is a plot of the document: a key's cost by one of its parameters, a line for each
// driver.
type Picture struct {
	File  string // below the document's folder
	Row   string // whose section shows it
	Title string
	X, Y  string
	by    string // the parameter
	keys  []Key  // without driver and by
	cost  func(median float64) float64
}

// Pictures lists the plots.
func Pictures() []Picture {
	perSecond := func(rate float64) float64 { return 1e6 / rate }
	inMilliseconds := func(ns float64) float64 { return ns / 1e6 }
	path := func(name, path string) []Key {
		return []Key{PathKey(name, "28.5", "-", path, 0, 0).Without("driver", "networks")}
	}
	container := func(name string) []Key {
		return []Key{ContainerKey(name, "28.5", "-", RangeTCP, 0).Without("driver", "ports")}
	}
	return []Picture{
		{"performance-udp.svg", "datapath", "What a small UDP packet through a published port costs", "networks on the host", "µs for a packet", "networks", path(UDP, Published), perSecond},
		{"performance-between.svg", "datapath", "What a small UDP packet between two containers costs", "networks on the host", "µs for a packet", "networks", path(UDP, Between), perSecond},
		{"performance-start.svg", "ports", "Start of a container that publishes a range of ports", "ports", "ms", "ports", container("ContainerStart"), inMilliseconds},
		{"performance-removal.svg", "ports", "Removal of a container that publishes a range of ports", "ports", "ms", "ports", container("ContainerRemove"), inMilliseconds},
		{"performance-attach.svg", "attach", "mybr's own time for one attach", "endpoints on the bridge", "ms", "endpoints", []Key{"Attach/engine=28.5"}, inMilliseconds},
	}
}

// Plot draws the picture of what was measured.
func (p Picture) Plot(set Set) plot.Plot {
	drawn := plot.Plot{Title: p.Title, X: p.X, Y: p.Y}
	drivers := set.Params("driver")
	slices.SortFunc(drivers, func(a, b string) int { return driverOrder(a) - driverOrder(b) })
	for _, driver := range drivers {
		line := plot.Series{Name: driver}
		for key, s := range set {
			size, err := strconv.ParseFloat(key.Param(p.by), 64)
			if err != nil || key.Param("driver") != driver || !slices.Contains(p.keys, key.Without("driver", p.by)) {
				continue
			}
			e := estimate([][]float64{s.Values}, func(v [][]float64) float64 { return p.cost(Median(v[0])) })
			line.Points = append(line.Points, plot.Point{X: size, Y: e.Value, Low: e.Low, High: e.High})
		}
		slices.SortFunc(line.Points, func(a, b plot.Point) int { return int(a.X - b.X) })
		if len(line.Points) > 0 {
			drawn.Series = append(drawn.Series, line)
		}
	}
	return drawn
}

// driverOrder puts Docker's own driver first, then the floor, then mybr.
func driverOrder(driver string) int {
	order := []string{Bridge, BridgeNoProxy, Floor}
	if at := slices.Index(order, driver); at >= 0 {
		return at
	}
	return len(order) + strings.Compare(driver, MybrPrefix+"iptables")
}
