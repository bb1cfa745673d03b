package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mybr/mybr/integration/bench"
	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// relays measures what NAT can't carry: from IPv6 to a container with IPv4 alone. The other
// end of the comparison is docker-proxy.
func relays(s *session) {
	s.close()
	subjects := s.subjects(newestEngine, s.drivers()...)
	for _, sub := range subjects {
		s.stage(sub, false)
	}
	s.rounds(15, 5, subjects, func(sub *subject) {
		for path, from := range map[string]end{
			bench.Loopback: {sub.w.Host, fmt.Sprintf("[::1]:%d", pathPort), nil},
			bench.OtherV6:  {sub.w.LAN, fmt.Sprintf("[%s]:%d", world.HostAddr6, pathPort), nil},
		} {
			key := func(name string) bench.Key {
				return bench.SizeKey(name, sub.version, sub.driver, "path", path)
			}
			before := s.relayCPU(sub)
			var got report.Blasted
			s.must(json.Unmarshal([]byte(from.from.Run(from.blast(slice.String(), report.BlastTCP)...)), &got))
			s.record.Add(key("RelayTCP"), bench.BytesPerSec, got.Rate())
			s.record.Add(key("RelayCPU"), bench.CPUPerByte, (s.relayCPU(sub)-before)/float64(got.Count))
			s.must(json.Unmarshal([]byte(from.from.Run(from.blast(slice.String(), report.BlastConns)...)), &got))
			s.record.Add(key("RelayConnections"), bench.Conns, got.Rate())
		}
	})
	s.close()
}

// relayCPU is what the processes that relay have had of processors so far: mybr's, or all of
// docker-proxy's.
func (s *session) relayCPU(sub *subject) (total float64) {
	if pid := sub.w.MybrPID(); pid != 0 {
		total, err := cpuNanoseconds(fmt.Sprint("/proc/", pid))
		s.must(err)
		return total
	}
	names, err := filepath.Glob(sub.w.Path("/proc/[0-9]*/comm"))
	s.must(err)
	found := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(text)) != "docker-proxy" {
			continue
		}
		found++
		one, err := cpuNanoseconds(filepath.Dir(name))
		s.must(err)
		total += one
	}
	if found == 0 {
		s.Fatalf("%s has no docker-proxy", sub.driver)
	}
	return total
}
