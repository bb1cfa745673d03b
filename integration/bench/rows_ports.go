package bench

import "fmt"

// PortCounts is the sizes of ranges that are measured for a plot.
var PortCounts = []int{1, 10, 100, 1000}

// ManyPorts is the ports of a SIP or TURN server.
const ManyPorts = 10000

// extra is what ports add to a container's start or removal.
func (c Case) extra(what, name, kind string, ports int, limit, guard float64) Bound {
	return Bound{
		What:  fmt.Sprintf("%s: extra %s", kindOf(kind, ports), what),
		Num:   Beyond(ContainerKey(name, c.Engine, c.Mybr, kind, ports), ContainerKey(name, c.Engine, c.Mybr, RangeTCP, 0)),
		Limit: limit * millisecond, Guard: guard * millisecond,
	}
}

// beyondDocker is extra without what Docker itself adds for the ports, as the floor shows.
func (c Case) beyondDocker(what, name, kind string, ports int, limit float64) Bound {
	b := c.extra(what, name, kind, ports, limit, 0)
	b.What += ", Docker's share set apart"
	b.Num = append(b.Num,
		Term{Key: ContainerKey(name, c.Engine, Floor, kind, ports), Minus: true},
		Term{Key: ContainerKey(name, c.Engine, Floor, RangeTCP, 0)})
	return b
}

func kindOf(kind string, ports int) string {
	words := map[string]string{RangeTCP: "in one range", ScatteredIn: "scattered", RangeUDP: "UDP, in one range"}
	return fmt.Sprintf("%d ports %s", ports, words[kind])
}

func portRows() []Row {
	const start, remove = "ContainerStart", "ContainerRemove"
	return []Row{
		{
			ID: "ports", What: "100 ports: extra start / extra removal over the same container without ports", Want: "≤ 15 ms / ≤ 15 ms", Quick: true,
			Bounds: func(c Case) []Bound {
				ratio := func(what, name string, limit float64) Bound {
					of := func(driver string) []Term {
						return Beyond(ContainerKey(name, c.Engine, driver, RangeTCP, 100), ContainerKey(name, c.Engine, driver, RangeTCP, 0))
					}
					return Bound{What: "100 ports in one range: extra " + what + ", of Docker's own driver", Num: of(c.Mybr), Den: of(Bridge), Limit: limit, Guard: limit}
				}
				return []Bound{
					c.extra("start", start, RangeTCP, 100, 15, 0),
					c.extra("removal", remove, RangeTCP, 100, 15, 0),
					ratio("start", start, 0.05),
					ratio("removal", remove, 0.05),
				}
			},
		},
		{
			ID: "ports-1000", What: "1,000 ports in one range, and scattered (no two adjacent): extra start / extra removal", Want: "≤ 60 / ≤ 40 ms, ≤ 90 / ≤ 60 ms",
			Short: "the engine itself reads, checks and records each port of the list several times; the figures with its share set apart say what is left for mybr. A thousand sockets are 11 ms of that, of which more than half is the filter that each gets.",
			Bounds: func(c Case) []Bound {
				return []Bound{
					c.extra("start", start, RangeTCP, 1000, 60, 0),
					c.extra("removal", remove, RangeTCP, 1000, 40, 0),
					c.extra("start", start, ScatteredIn, 1000, 90, 0),
					c.extra("removal", remove, ScatteredIn, 1000, 60, 0),
					c.beyondDocker("start", start, RangeTCP, 1000, 60),
					c.beyondDocker("removal", remove, RangeTCP, 1000, 40),
					c.beyondDocker("start", start, ScatteredIn, 1000, 90),
					c.beyondDocker("removal", remove, ScatteredIn, 1000, 60),
				}
			},
		},
		{
			ID: "ports-10000", What: "10,000 UDP ports in one range (SIP, TURN), under a limit of 20,000 descriptors", Want: "≤ 600 / ≤ 300 ms, what Docker itself spends set apart",
			Bounds: func(c Case) []Bound {
				return []Bound{
					c.beyondDocker("start", start, RangeUDP, ManyPorts, 600),
					c.beyondDocker("removal", remove, RangeUDP, ManyPorts, 300),
				}
			},
		},
	}
}
