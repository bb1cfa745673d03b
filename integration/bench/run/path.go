package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/integration/bench"
	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

var pathPlayers = map[string]func(*session){"datapath": datapath, "connections": connections}

// Of a data path's stage.
const (
	pathNetwork = "path" // of its containers
	pathPort    = 8088
	sinkPort    = 7000
	slice       = 300 * time.Millisecond // of a round, for each driver and path
)

// end is where a load comes from and where it goes to.
type end struct {
	from  *world.Place
	to    string
	flags []string // of who sends
}

// blast is the command line that sends for so long.
func (e end) blast(long, kind string) []string {
	return slices.Concat([]string{"guest", "blast"}, e.flags, []string{"-for", long, kind, e.to})
}

// stage starts what the packets go between: apart is the receiver on the last processor and
// the sender on the first one, else both are where the scheduler puts them.
func (s *session) stage(sub *subject, apart bool) map[string]end {
	s.must(sub.docker.createNetwork(pathNetwork, sub.network, "10.99.0.0/24"))
	published := ports{}.add("tcp", pathPort, 80).add("udp", pathPort, 80)
	sink, flags := []string{"sink"}, []string(nil)
	if apart {
		sink, flags = append(sink, "-cpu", "last"), []string{"-cpu", "first"}
	}
	s.must(sub.docker.run("server", pathNetwork, published, slices.Concat(sink, []string{"tcp:80", "udp:80"})...))
	s.must(sub.docker.run("client", pathNetwork, nil, "sleep"))
	sub.w.LAN.Start(append(append([]string{"guest"}, sink...), fmt.Sprint("tcp:", sinkPort), fmt.Sprint("udp:", sinkPort))...)
	client := sub.w.Container("client")
	ends := map[string]end{
		bench.Published: {sub.w.LAN, fmt.Sprintf("%s:%d", world.HostAddr, pathPort), flags},
		bench.Outbound:  {client, fmt.Sprintf("%s:%d", world.LANAddr, sinkPort), flags},
		bench.Between:   {client, sub.w.Addr("server", pathNetwork) + ":80", flags},
	}
	for path, e := range ends {
		for _, kind := range []string{report.BlastUDP, report.BlastTCP} {
			sub.w.Eventually(20*time.Second, func() error {
				if r := e.from.Try(e.blast("1ms", kind)...); r.Code != 0 {
					return fmt.Errorf("%s %s with %s: %s", kind, path, sub.driver, r.Err)
				}
				return nil
			})
		}
	}
	return ends
}

// pathBlasts are what the loads of a path are for the guest.
var pathBlasts = map[string]string{bench.UDP: report.BlastUDP, bench.OneWay: report.BlastOneWay, bench.TCP: report.BlastTCP}

// pathUnits are those of the blasts.
var pathUnits = map[string]string{report.BlastUDP: bench.Packets, report.BlastOneWay: bench.Packets, report.BlastTCP: bench.BytesPerSec, report.BlastConns: bench.Conns}

// carried has a load for a slice of time, and notes what arrived in a second, and for a
// second of a processor.
func (s *session) carried(e end, kind string, key func(work string) bench.Key) {
	var got report.Blasted
	s.must(json.Unmarshal([]byte(e.from.Run(e.blast(slice.String(), kind)...)), &got))
	s.record.Add(key(""), pathUnits[kind], got.Rate())
	if s.workTells {
		s.record.Add(key(bench.Work), pathUnits[kind], got.Work())
	}
}

// datapath measures packets and bytes on the paths, beside more and more networks, and then
// the same beside ports.
func datapath(s *session) {
	s.close() // worlds of other rows may have rules left to remove
	drivers, paths, loads, counts := s.drivers(bench.BridgeNoProxy), bench.Paths, bench.Loads, bench.NetworkCounts
	if s.opts.quick {
		drivers, paths, loads, counts = s.drivers(), bench.QuickPaths, bench.QuickLoads, bench.QuickNetworkCounts
	}
	subjects := s.subjects(newestEngine, drivers...)
	ends := map[*subject]map[string]end{}
	for _, sub := range subjects {
		ends[sub] = s.stage(sub, true)
	}
	have := 1 // networks
	for _, published := range bench.PublishedPorts {
		if published > 0 && s.opts.quick {
			break
		}
		if published > 0 {
			// As shipped there would be two processes for each port.
			subjects = subjects[1:]
			counts = slices.Clone(counts) // the networks are there: on the way back they go
			slices.Reverse(counts)
			for _, sub := range subjects {
				s.otherPorts(sub, published)
			}
		}
		for _, networks := range counts {
			for _, sub := range subjects {
				s.otherNetworks(sub, have, networks)
			}
			have = networks
			s.printf("# datapath, %d networks, %d other ports\n", networks, published)
			s.rounds(9, 7, subjects, func(sub *subject) {
				for _, path := range paths {
					for _, load := range loads {
						s.carried(ends[sub][path], pathBlasts[load], func(work string) bench.Key {
							return bench.PathKey(load+work, sub.version, sub.driver, path, networks, published)
						})
					}
				}
			})
		}
	}
	s.close()
}

// otherNetworks makes networks beside that of the path, or removes them, until there are so
// many.
func (s *session) otherNetworks(sub *subject, have, want int) {
	for n := have; n < want; n++ {
		s.must(sub.docker.createNetwork(fmt.Sprint("other", n), sub.network, subnet(n)))
	}
	for n := want; n < have; n++ {
		s.must(sub.docker.removeNetwork(fmt.Sprint("other", n)))
	}
}

// firstOther is the first of the other ports. They are not adjacent, so that no range of
// them is one rule.
const firstOther = 20001

// otherPorts publishes ports beside those of the path.
func (s *session) otherPorts(sub *subject, count int) {
	var other ports
	for i := range count {
		other = other.add("tcp", firstOther+2*i, firstOther+2*i)
	}
	if strings.HasPrefix(sub.driver, bench.MybrPrefix) {
		s.must(sub.docker.run("others", pathNetwork, other, "sleep"))
		return
	}
	s.must(sub.docker.run("others", pathNetwork, other[:1], "sleep"))
	s.copyRules(sub, count)
}

// copyRules adds the rules with which Docker's own driver would publish the other ports, as
// it has written them for the first one: it writes one after the other, for which each time
// all are read, and would take a quarter of an hour for 5,000. In nat it appends them, and in
// filter it puts them before the others, so that a new connection passes all of one kind or
// of the other, whichever port it is for.
func (s *session) copyRules(sub *subject, count int) {
	text, copied := copies(sub.w.Host.Run("iptables-save"), count)
	if copied < 2 {
		s.Fatalf("%s has %d rules for a port, want at least that of nat and that of filter", sub.driver, copied)
	}
	s.must(sub.w.Host.Feed(text, "iptables-restore", "--noflush"))
}

// copies gives the input of iptables-restore for the ports behind the first one, and how many
// rules that has.
func copies(saved string, count int) (text string, copied int) {
	first, table := fmt.Sprint(firstOther), ""
	var b strings.Builder
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"), line == "COMMIT":
			table = line
			b.WriteString(line + "\n")
		case strings.HasPrefix(line, "-A ") && strings.Contains(line, first):
			copied++
			if table == "*filter" {
				line = "-I" + strings.TrimPrefix(line, "-A")
			}
			for i := 1; i < count; i++ {
				b.WriteString(strings.ReplaceAll(line, first, fmt.Sprint(firstOther+2*i)) + "\n")
			}
		}
	}
	return b.String(), copied
}

// connections measures new connections through a published port, alone and beside others.
func connections(s *session) {
	s.close()
	drivers, counts := s.drivers(bench.BridgeNoProxy), bench.PublishedPorts
	if s.opts.quick {
		drivers, counts = s.drivers(), bench.PublishedPorts[:1]
	}
	subjects := s.subjects(newestEngine, drivers...)
	ends := map[*subject]map[string]end{}
	for _, sub := range subjects {
		ends[sub] = s.stage(sub, false)
	}
	for _, published := range counts {
		if published > 0 {
			subjects = subjects[1:] // as in datapath
			for _, sub := range subjects {
				s.otherPorts(sub, published)
			}
		}
		s.rounds(15, 7, subjects, func(sub *subject) {
			s.carried(ends[sub][bench.Published], report.BlastConns, func(work string) bench.Key {
				return bench.ConnectionsKey(work, sub.version, sub.driver, published)
			})
		})
	}
	s.close()
}
