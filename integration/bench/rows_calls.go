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
const moved = "Docker moves a remote driver's end of a pair into the container's namespace, for which the kernel waits for a grace period (RCU); its own driver makes the pair there since 28 (moby's pull request 49302), and no answer of a remote driver can say that it has done so. "

func callRows() []Row {
	return []Row{
		{
			ID: "network", What: "network create / remove", Want: "≤ 0.3 / ≤ 0.3 of Docker's own driver", Quick: true,
			Bounds: func(c Case) []Bound {
				create := 0.8
				if c.Mybr == MybrPrefix+"nftables" {
					create = 1.1
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
			Bounds: func(c Case) []Bound {
				return []Bound{
					c.lessThan("started", "ManyStart", 0.6, 0),
					c.lessThan("removed", "ManyRemove", 0.6, 0),
				}
			},
		},
	}
}
