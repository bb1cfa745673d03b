package bench

import "fmt"

// The sizes of what happens inside of mybr.
var (
	EndpointCounts = []int{10, 500, 1000}
	FlowCounts     = []int{100, 200_000}
	Fills          = []string{"1%", "50%", "99%", "v6"} // of a /16, and a /64 with a few
)

// SizeKey is a key with one size.
func SizeKey(name, engine, driver, what string, size any) Key {
	return NewKey(name, "engine", engine, "driver", driver, what, size)
}

// atMost is a bound of a key's median.
func atMost(what string, key Key, limit float64) Bound {
	return Bound{What: what, Num: Of(key), Limit: limit}
}

func insideRows() []Row {
	return []Row{
		{
			ID: "memory", What: "memory: idle / 10,000 published ports", Want: "≤ 20 MiB / ≤ 60 MiB RSS in all, one process",
			Short: "of 22 MiB of a process without any network (/proc/PID/smaps), 17.3 are pages of the program's file, 8.8 code and 8.3 read-only data, 1.3 the C library's, and 0.3 the program's variables. " +
				"They are in memory once, however many processes run the program, and the kernel takes them back when it needs room. The heap and the stacks are 3.3 MiB. " +
				"The kernel maps 16 pages of a file for each that is touched, so that most of the program comes with its start; only a smaller program would have fewer.",
			Bounds: func(c Case) []Bound {
				return []Bound{
					atMost("idle", SizeKey("Memory", c.Engine, c.Mybr, "published", 0), 20*mebibyte),
					atMost("10,000 published ports", SizeKey("Memory", c.Engine, c.Mybr, "published", ManyPorts), 60*mebibyte),
				}
			},
		},
		{
			ID: "attach", What: "mybr's own time for one attach (all calls summed) at 10 / 500 / 1,000 endpoints on one bridge",
			Want: "p50 ≤ 4 ms, p99 ≤ 15 ms; at 1,000 no more than 1.3 times that at 10; one fsync for each call at most",
			Short: "of 3.3 ms of an attach among 10 endpoints (integration/attach, nftables), HTTP and JSON of its five calls take 1.5, the kernel 1.0, of which it takes 0.8 to make the pair, and the rest is records, differences and what goroutines wait for each other. " +
				"Among 1,000 the kernel takes 0.1 ms longer to make a pair and 0.6 longer to take one out of its bridge, for it goes through the bridge's ports. " +
				"A change copies lists of 8 bytes an endpoint, and not the endpoints. " +
				"In the processor's time there is a look for the flows of each endpoint that went, too: some 4 ms in a table of 262,144 places that is nearly empty. " +
				"No call waits for the disk any more but those that change more than endpoints, which sync twice, as bbolt does.",
			Bounds: attachBounds,
		},
		{
			ID: "flows", What: "publish and removal with 200,000 flows tracked on the host", Want: "no more than 1.2 times that with 100",
			Bounds: func(c Case) (all []Bound) {
				for _, m := range [][2]string{{"Publish", "publish"}, {"Revoke", "removal"}} {
					all = append(all, Bound{
						What: m[1] + ": of that with 100 flows",
						Num:  Of(SizeKey(m[0], c.Engine, c.Mybr, "flows", FlowCounts[1])), Den: Of(SizeKey(m[0], c.Engine, c.Mybr, "flows", FlowCounts[0])),
						Limit: 1.2,
					})
				}
				return all
			},
		},
		{
			ID: "relay", What: "the in-process path ([::1], IPv6 host → IPv4 container): throughput and connections a second against docker-proxy",
			Want: "≥ 1.2 times; CPU for a byte lower",
			Short: "both programs have the kernel move the bytes from one connection to the other by splice(2), and are as fast as that and the two TCP connections are. " +
				"How many connections docker-proxy takes varies by several times from round to round; why was not looked at.",
			Bounds: relayBounds,
		},
		{
			ID: "heal", What: "full Resync with 500 endpoints and 2,000 ports; after `nft flush ruleset`, flush to healed", Want: "≤ 150 ms; ≤ 600 ms",
			Bounds: func(c Case) []Bound {
				return []Bound{
					atMost("Resync", c.key("Resync"), 150*millisecond),
					atMost("flush to healed", c.key("FlushToHealed"), 600*millisecond),
				}
			},
		},
		{
			ID: "serve", What: "start of `mybr serve` with 100 networks, 1,000 endpoints: to listening / to reconciled on a host that already matches / on an empty host",
			Want: "≤ 50 ms / ≤ 300 ms / ≤ 3 s",
			Bounds: func(c Case) []Bound {
				return []Bound{
					atMost("to listening", SizeKey("Listening", c.Engine, c.Mybr, "host", "matches"), 50*millisecond),
					atMost("to reconciled, on a host that matches", SizeKey("Reconciled", c.Engine, c.Mybr, "host", "matches"), 300*millisecond),
					atMost("to reconciled, on an empty host", SizeKey("Reconciled", c.Engine, c.Mybr, "host", "empty"), 3000*millisecond),
				}
			},
		},
		{
			ID: "addresses", What: "RequestAddress + ReleaseAddress in a /16 at 1 %, 50 %, 99 % full, and in a /64, by 16 callers; start with 60,000 leases",
			Want:   "≥ 2,000 pairs a second, flat in fill; start ≤ 300 ms",
			Short:  "a pair is two calls, each of which is answered when it is on the disk: all that come meanwhile share a transaction, which waits for the disk twice (bbolt). The 16 callers and their HTTP have the same two processors as mybr. Figures lie within a tenth of the bound on both sides.",
			Bounds: addressBounds,
		},
	}
}

func attachBounds(c Case) (all []Bound) {
	for _, size := range EndpointCounts {
		key := SizeKey("Attach", c.Engine, c.Mybr, "endpoints", size)
		all = append(all,
			atMost(fmt.Sprintf("%d endpoints, p50", size), key, 4*millisecond),
			Bound{What: fmt.Sprintf("%d endpoints, p99", size), Num: []Term{{Key: key, Quantile: 0.99}}, Limit: 15 * millisecond})
	}
	last, first := EndpointCounts[len(EndpointCounts)-1], EndpointCounts[0]
	ratio := func(name, what string) Bound {
		return Bound{
			What: fmt.Sprintf("%d endpoints%s: of that at %d", last, what, first),
			Num:  Of(SizeKey(name, c.Engine, c.Mybr, "endpoints", last)), Den: Of(SizeKey(name, c.Engine, c.Mybr, "endpoints", first)),
			Limit: 1.3,
		}
	}
	return append(all, ratio("Attach", ""), ratio("AttachDetachCPU", ", the process's own processor time with the removal"),
		atMost("fsyncs for each call", c.key("CallSyncs"), 1))
}

// The in-process path's two ways.
const (
	Loopback = "loopback"    // [::1] of the host
	OtherV6  = "ipv6-client" // a host of the LAN by IPv6
)

func relayBounds(c Case) (all []Bound) {
	for _, path := range []string{Loopback, OtherV6} {
		for _, m := range []struct {
			name, what string
			least      bool
			limit      float64
		}{{"RelayTCP", "throughput", true, 1.2}, {"RelayConnections", "connections", true, 1.2}, {"RelayCPU", "CPU for a byte", false, 1}} {
			all = append(all, Bound{
				What: path + ", " + m.what + ": of docker-proxy",
				Num:  Of(SizeKey(m.name, c.Engine, c.Mybr, "path", path)), Den: Of(SizeKey(m.name, c.Engine, Bridge, "path", path)),
				AtLeast: m.least, Limit: m.limit,
			})
		}
	}
	return all
}

func addressBounds(c Case) (all []Bound) {
	const least = 2000
	for _, fill := range Fills {
		all = append(all, Bound{What: fill + ": pairs a second", Num: Of(SizeKey("Addresses", c.Engine, c.Mybr, "fill", fill)), AtLeast: true, Limit: least})
	}
	return append(all, Bound{
		What: "99% full: of that at 1%",
		Num:  Of(SizeKey("Addresses", c.Engine, c.Mybr, "fill", Fills[2])), Den: Of(SizeKey("Addresses", c.Engine, c.Mybr, "fill", Fills[0])),
		AtLeast: true, Limit: 0.9,
	}, atMost("start with 60,000 leases", c.key("LeasesReconciled"), 300*millisecond))
}
