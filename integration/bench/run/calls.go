package main

import (
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/mybr/mybr/integration/bench"
)

var callPlayers = map[string]func(*session){"network": networks, "connect": connect, "container": containers, "many": many}

// base is the network of a row's containers.
const base = "base"

// networks measures a network's creation and removal.
func networks(s *session) {
	for _, version := range s.engineVersions() {
		s.rounds(30, 11, s.subjects(version, s.drivers(bench.Floor)...), func(sub *subject) {
			s.took(sub.key("NetworkCreate"), func() error { return sub.docker.createNetwork("n1", sub.network, subnet(1)) })
			s.took(sub.key("NetworkRemove"), func() error { return sub.docker.removeNetwork("n1") })
		})
	}
}

// connect measures how long a running container takes to get into a network, and out of it.
func connect(s *session) {
	for _, version := range s.engineVersions() {
		subjects := s.onBase(version, s.drivers(bench.Floor)...)
		for _, sub := range subjects {
			s.ready(sub, 1)
			s.must(sub.docker.createNetwork("extra", sub.network, subnet(2)))
			s.must(sub.docker.run("one", base, nil, "sleep"))
		}
		s.rounds(40, 15, subjects, func(sub *subject) {
			s.ready(sub, 2) // Docker joins the network of its gateway anew when another one goes
			s.took(sub.key("Connect"), func() error { return sub.docker.connect("extra", "one") })
			s.took(sub.key("Disconnect"), func() error { return sub.docker.disconnect("extra", "one") })
		})
		for _, sub := range subjects {
			s.must(sub.docker.remove("one"))
			s.must(sub.docker.removeNetwork("extra"))
		}
		s.offBase(subjects)
	}
}

// onBase are drivers with a network for containers.
func (s *session) onBase(version string, drivers ...string) []*subject {
	subjects := s.subjects(version, drivers...)
	for _, sub := range subjects {
		s.must(sub.docker.createNetwork(base, sub.network, subnet(1)))
	}
	return subjects
}

// offBase removes that network.
func (s *session) offBase(subjects []*subject) {
	for _, sub := range subjects {
		s.must(sub.docker.removeNetwork(base))
		s.done(sub)
	}
}

// cycle has a container started and removed, and notes how long both take.
func (s *session) cycle(sub *subject, network, kind string, published ports) {
	key := func(name string) bench.Key {
		return bench.ContainerKey(name, sub.version, sub.driver, kind, len(published))
	}
	s.ready(sub, 1)
	s.must(sub.docker.create("web", network, published, "sleep"))
	s.took(key("ContainerStart"), func() error { return sub.docker.start("web") })
	s.took(key("ContainerRemove"), func() error { return sub.docker.remove("web") })
	s.done(sub)
}

// containers measures containers without ports, beside those without a network.
func containers(s *session) {
	for _, version := range s.engineVersions() {
		subjects := s.onBase(version, s.drivers(bench.BridgeNoProxy, bench.Floor)...)
		s.rounds(30, 11, subjects, func(sub *subject) {
			s.cycle(sub, "none", bench.NoNetwork, nil)
			s.cycle(sub, base, bench.RangeTCP, nil)
		})
		s.offBase(subjects)
	}
}

// many measures containers that are started and removed at once.
func many(s *session) {
	const count = 50
	subjects := s.onBase(newestEngine, s.drivers(bench.BridgeNoProxy, bench.Floor)...)
	s.rounds(7, 3, subjects, func(sub *subject) {
		s.ready(sub, count)
		name := func(i int) string { return fmt.Sprint("web", i) }
		for i := range count {
			published := ports{}.add("tcp", 8000+10*i, 80).add("tcp", 8001+10*i, 443)
			s.must(sub.docker.create(name(i), base, published, "sleep"))
		}
		s.took(sub.key("ManyStart"), func() error {
			return together(count, func(i int) error { return sub.docker.start(name(i)) })
		})
		s.took(sub.key("ManyRemove"), func() error {
			return together(count, func(i int) error { return sub.docker.remove(name(i)) })
		})
		s.done(sub)
	})
	s.offBase(subjects)
}

// together makes calls at once, waits for all, and gives an error of any.
func together(count int, call func(int) error) error { return each(count, count, call) }

// each is together with so many calls at a time.
func each(callers, count int, call func(int) error) error {
	var calls errgroup.Group
	calls.SetLimit(callers)
	for i := range count {
		calls.Go(func() error { return call(i) })
	}
	return calls.Wait()
}
