package bench

import "fmt"

// The paths that packets take.
const (
	Published = "published" // a host of the LAN → a published port → a container
	Outbound  = "outbound"  // a container → a host of the LAN
	Between   = "between"   // a container → another one of its network
)

// What is carried, in keys.
const (
	UDP    = "UDP"       // small datagrams of a flow that the other end has answered
	OneWay = "UDPOneWay" // of one that it never answers
	TCP    = "TCP"
)

// The sizes of the data path's rows.
var (
	Paths          = []string{Published, Outbound, Between}
	Loads          = []string{UDP, OneWay, TCP}
	NetworkCounts  = []int{1, 20, 100, 500}
	PublishedPorts = []int{0, 5000}
)

// What bench-quick measures of them: all that has a guard.
var (
	QuickPaths         = []string{Published}
	QuickLoads         = []string{UDP, TCP}
	QuickNetworkCounts = []int{1, 100}
)

// Work is added to the name of what is measured for a second of a processor, in place of one
// of the clock: a processor that carries packets does nothing else, so that both are alike on
// a machine that does nothing else, and the former holds on a busy one too.
const Work = "Work"

// PathKey is a load on a path.
func PathKey(name, engine, driver, path string, networks, published int) Key {
	return NewKey(name, "engine", engine, "driver", driver, "path", path, "networks", networks, "published", published)
}

// ConnectionsKey is new connections through a published port, beside others.
func ConnectionsKey(work, engine, driver string, published int) Key {
	return NewKey("Connections"+work, "engine", engine, "driver", driver, "published", published)
}

// Reference is the driver of Docker's that a path is compared with: with docker-proxy, which
// these packets don't pass, 5,000 ports would be 10,000 processes.
func Reference(published int) string {
	if published > 0 {
		return BridgeNoProxy
	}
	return Bridge
}

func pathRows() []Row {
	return []Row{
		{
			ID: "datapath", Quick: true,
			What: "small UDP packets and TCP through a published port, container → LAN and container ↔ container, with 1, 20, 100 and 500 networks and 0 or 5,000 other published ports",
			Want: "≥ 0.99 of Docker's own driver, and ≥ 0.95 of the same with 1 network",
			Short: "with nftables a packet meets mybr's own table and then, beside a Docker that filters with iptables, the few rules there that accept it, which the processor's time for small packets shows. " +
				"Of what has begun, the bridge's name is looked up once, and it passes none of Docker's own rules. " +
				"Between containers of one network it is the check of senders, which Docker's own driver doesn't have (policy.md): some 0.9 of Docker's small packets. " +
				"With iptables, the other figures below the bound are mostly those of UDPOneWay: a flow of UDP that is never answered stays new for conntrack, so that each of its packets meets the rules for what begins; these grow with the depth of the tree of networks. " +
				"The sender is kept to the first processor and the receiver to the last one. The figures of a size are of a few rounds of 0.3 s a driver; the interval beside each says how much the rounds differ.",
			Bounds: pathBounds,
		},
		{
			ID: "connections", Quick: true,
			What:   "new TCP connections a second through a published port with 5,000 others published",
			Want:   "nftables ≥ 0.97 of the same with 1 port; iptables ≥ Docker's own driver",
			Bounds: connectionBounds,
		},
	}
}

// works has both ways to measure, and what the second is called.
var works = []struct{ name, what string }{{"", ""}, {Work, ", for a second of a processor"}}

func connectionBounds(c Case) (all []Bound) {
	const others = 5000
	for _, work := range works {
		mybr := Of(ConnectionsKey(work.name, c.Engine, c.Mybr, others))
		alone, few := Of(ConnectionsKey(work.name, c.Engine, c.Mybr, 0)), Of(ConnectionsKey(work.name, c.Engine, Bridge, 0))
		b := Bound{What: "5,000 others: of Docker's own driver", Num: mybr, Den: Of(ConnectionsKey(work.name, c.Engine, Reference(others), others)), AtLeast: true, Limit: 1}
		if c.Mybr == MybrPrefix+"nftables" {
			b.What, b.Den, b.Limit = "5,000 others: of the same with 1 port", alone, 0.97
		}
		all = append(all, b, Bound{What: "1 port: of Docker's own driver", Num: alone, Den: few, AtLeast: true, Limit: 1, Guard: 0.75})
	}
	for i := range all {
		all[i].What += works[i/2].what
	}
	return all
}

// pathGuards is what bench-quick keeps, by what is measured and the number of networks:
// against Docker's own driver, and against one network. What was measured with one network
// was measured earlier, when the machine may have had less else to do: only what is measured
// by processor time is guarded against it.
var pathGuards = map[string]map[int][2]float64{
	UDP:        {1: {0.75, 0}, 100: {0.7, 0}},
	UDP + Work: {1: {0.75, 0}, 100: {0.7, 0.7}},
	TCP:        {1: {0.7, 0}, 100: {0.65, 0}},
	TCP + Work: {1: {0.7, 0}, 100: {0.65, 0.65}},
}

func pathBounds(c Case) (all []Bound) {
	for _, name := range Loads {
		for _, work := range works {
			for _, path := range Paths {
				for _, published := range PublishedPorts {
					for _, networks := range NetworkCounts {
						what := fmt.Sprintf("%s, %s, %d networks, %d other ports%s", name, path, networks, published, work.what)
						guards := [2]float64{}
						if path == Published && published == 0 {
							guards = pathGuards[name+work.name][networks]
						}
						all = append(all, c.pathBounds(what, name+work.name, path, networks, published, guards)...)
					}
				}
			}
		}
	}
	return all
}

// pathBounds are those of one size.
func (c Case) pathBounds(what, name, path string, networks, published int, guards [2]float64) []Bound {
	mybr := Of(PathKey(name, c.Engine, c.Mybr, path, networks, published))
	all := []Bound{{
		What: what + ": of Docker's own driver",
		Num:  mybr, Den: Of(PathKey(name, c.Engine, Reference(published), path, networks, published)),
		AtLeast: true, Limit: 0.99, Guard: guards[0],
	}}
	if networks > 1 {
		all = append(all, Bound{
			What: what + ": of the same with 1 network",
			Num:  mybr, Den: Of(PathKey(name, c.Engine, c.Mybr, path, 1, published)),
			AtLeast: true, Limit: 0.95, Guard: guards[1],
		})
	}
	return all
}
