package bench

// ContainerKey is the start or removal ("ContainerStart", "ContainerRemove") of a container
// with published ports: of a kind, or none.
func ContainerKey(name, engine, driver, kind string, ports int) Key {
	return NewKey(name, "engine", engine, "driver", driver, "kind", kind, "ports", ports)
}

// The kinds of a container's ports.
const (
	NoNetwork   = "no-network" // --net none
	RangeTCP    = "range"      // adjacent, one to one
	ScatteredIn = "scattered"  // no two adjacent
	RangeUDP    = "range-udp"
)

// CallKey is one of Docker's operations.
func CallKey(name, engine, driver string) Key {
	return NewKey(name, "engine", engine, "driver", driver)
}

// lessThan is a bound of a call: a share of Docker's own driver's.
func (c Case) lessThan(what, name string, limit, guard float64) Bound {
	num, den := c.against(Bridge, name)
	return Bound{What: what + ": of Docker's own driver", Num: num, Den: den, Limit: limit, Guard: guard}
}

// overFloor is a bound of a call: what it takes beyond a driver that does nothing. On 28.5
// that driver takes 24 to 30 ms of the call, more than twice what Docker's own takes for a
// connect, so what is guarded is what mybr adds.
func (c Case) overFloor(what, name string, limit, guard float64) Bound {
	return Bound{What: what + ": beyond the floor", Num: Beyond(c.key(name), c.of(Floor, name)), Limit: limit, Guard: guard}
}

// beyondNone is what a container takes beyond one without a network, as a share of the
// same of Docker's own driver.
func (c Case) beyondNone(what, name string, limit, guard float64) Bound {
	beyond := func(driver string) []Term {
		return Beyond(ContainerKey(name, c.Engine, driver, RangeTCP, 0), ContainerKey(name, c.Engine, driver, NoNetwork, 0))
	}
	return Bound{What: what + " beyond `--net none`: of Docker's own driver", Num: beyond(c.Mybr), Den: beyond(Bridge), Limit: limit, Guard: guard}
}

// moved is what Docker itself takes for a remote driver, in documents.
const moved = "the engine moves a remote driver's end of a pair into the container's namespace, for which the kernel waits for a grace period (RCU); its own driver makes the pair there since 28 (moby's pull request 49302), and no answer of a remote driver can say that it has done so. "

func callRows() []Row {
	return []Row{
		{
			ID: "network", What: "network create / remove", Want: "≤ 0.3 / ≤ 0.3 of Docker's own driver", Quick: true,
			Short: "the first network of a host makes all of mybr's rules, and the last one's removal removes them. Of a creation with iptables, 20 ms in all, iptables-save takes 8 (two variants, two families), iptables-restore 6, " +
				"the two commits 1.5 and the bridge 1; with nftables, 11 ms, the two transactions take 5, reading what is there 2, the commits 1.2 and the bridge 1.3. " +
				"Of a removal with iptables, iptables-restore takes 70 ms: each of the two families waits for two grace periods of the kernel (RCU) before it ends, and two at a time wait for each other. " +
				"A removal with nftables was 37 of 51 ms the table that keeps flows going through a flush, for which the kernel waits too, and which goes behind the answer now; 14 are left. " +
				"While the kernel destroys a bridge, behind the answer, it holds the lock of all links (rtnl) for some of the time, and the next driver's turn has to wait for that.",
			Bounds: func(c Case) []Bound {
				create := 1.0
				if c.Mybr == MybrPrefix+"nftables" {
					create = 1.5
				}
				return []Bound{
					c.lessThan("create", "NetworkCreate", 0.3, create),
					c.lessThan("remove", "NetworkRemove", 0.3, 0.75),
				}
			},
		},
		{
			ID: "connect", What: "connect / disconnect of a running container", Quick: true,
			Want: "≤ floor + 4 ms / ≤ floor + 4 ms and ≤ 0.8 / ≤ 0.6 of Docker's own driver, on both engines",
			Short: "a connect with the floor, a driver that does nothing, takes longer than one with Docker's own driver, on both engines, so that no remote driver can reach 0.8 of that; why Docker takes so long with remote drivers was not looked at. " +
				"What mybr takes beyond the floor is its own time for an attach, see there.",
			Bounds: func(c Case) []Bound {
				return []Bound{
					c.overFloor("connect", "Connect", 4*millisecond, 25*millisecond),
					c.overFloor("disconnect", "Disconnect", 4*millisecond, 20*millisecond),
					c.lessThan("connect", "Connect", 0.8, 0),
					c.lessThan("disconnect", "Disconnect", 0.6, 0.9),
				}
			},
		},
		{
			ID: "container", What: "container start / removal beyond `--net none`", Want: "≤ 0.8 / ≤ 0.6 of Docker's own driver",
			Short: moved + "The floor, a driver that does nothing, takes longer to start a container than the bound lets any.",
			Bounds: func(c Case) []Bound {
				return []Bound{
					c.beyondNone("start", "ContainerStart", 0.8, 0),
					c.beyondNone("removal", "ContainerRemove", 0.6, 0),
				}
			},
		},
		{
			ID: "many", What: "50 containers with 2 ports each started at once, removed at once", Want: "≤ 0.6 of Docker's own driver's wall time",
			Short: "nearly all of a start is Docker's: the floor, a driver that does nothing, takes a larger share of the time of Docker's own driver than the bound.",
			Bounds: func(c Case) []Bound {
				return []Bound{
					c.lessThan("started", "ManyStart", 0.6, 0),
					c.lessThan("removed", "ManyRemove", 0.6, 0),
				}
			},
		},
	}
}
