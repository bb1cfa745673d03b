package main

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/bench"
)

var portPlayers = map[string]func(*session){"ports": hundred, "ports-1000": thousand, "ports-10000": tenThousand}

// firstPort begins the published ports.
const firstPort = 20001

// published are so many ports of a kind.
func published(kind string, count int) (all ports) {
	proto, step := "tcp", 1
	switch kind {
	case bench.RangeUDP:
		proto = "udp"
	case bench.ScatteredIn:
		step = 2
	}
	for i := range count {
		all = all.add(proto, firstPort+step*i, firstPort+step*i)
	}
	return all
}

// hundred measures containers that publish up to 100 ports in a range.
func hundred(s *session) {
	drivers, counts := s.drivers(bench.BridgeNoProxy), []int{0, 1, 10, 100}
	if s.opts.quick {
		drivers, counts = s.drivers(), []int{0, 100}
	}
	subjects := s.onBase(newestEngine, drivers...)
	s.rounds(15, 3, subjects, func(sub *subject) {
		for _, count := range counts {
			s.cycle(sub, base, bench.RangeTCP, published(bench.RangeTCP, count))
		}
	})
	s.offBase(subjects)
}

// thousand measures containers that publish 1,000 ports, which takes Docker's own driver
// half a minute: it has a few rounds of its own, without docker-proxy.
func thousand(s *session) {
	const count = 1000
	subjects := s.onBase(newestEngine, append(s.mybrs(), bench.Floor)...)
	s.rounds(15, 3, subjects, func(sub *subject) {
		s.cycle(sub, base, bench.RangeTCP, nil)
		s.cycle(sub, base, bench.RangeTCP, published(bench.RangeTCP, count))
		s.cycle(sub, base, bench.ScatteredIn, published(bench.ScatteredIn, count))
	})
	s.offBase(subjects)
	subjects = s.onBase(newestEngine, bench.BridgeNoProxy)
	s.rounds(3, 3, subjects, func(sub *subject) {
		s.cycle(sub, base, bench.RangeTCP, nil)
		s.cycle(sub, base, bench.RangeTCP, published(bench.RangeTCP, count))
	})
	s.offBase(subjects)
}

// mybrs are mybr's drivers alone.
func (s *session) mybrs() (all []string) {
	for _, driver := range s.drivers() {
		if strings.HasPrefix(driver, bench.MybrPrefix) {
			all = append(all, driver)
		}
	}
	return all
}

// descriptorLimit is what mybr may have open for ManyPorts: two for each port would be too
// many.
const descriptorLimit = 20000

// tenThousand measures containers that publish as many UDP ports as a SIP server does.
func tenThousand(s *session) {
	subjects := s.onBase(newestEngine, append(s.mybrs(), bench.Floor)...)
	all := published(bench.RangeUDP, bench.ManyPorts)
	var able []*subject
	for _, sub := range subjects {
		if pid := sub.w.MybrPID(); pid != 0 {
			limit := unix.Rlimit{Cur: descriptorLimit, Max: descriptorLimit}
			s.must(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil))
		}
		s.ready(sub, 1)
		s.must(sub.docker.create("web", base, all, "sleep"))
		key := bench.ContainerKey("ContainerStart", sub.version, sub.driver, bench.RangeUDP, len(all))
		if err := sub.docker.start("web"); err != nil {
			s.fail(key, err)
		} else {
			able = append(able, sub)
		}
		s.must(sub.docker.remove("web"))
		s.done(sub)
	}
	s.rounds(7, 3, able, func(sub *subject) {
		s.cycle(sub, base, bench.RangeTCP, nil)
		s.cycle(sub, base, bench.RangeUDP, all)
	})
	s.offBase(subjects)
	s.close() // the limit is gone with them
}
