package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/mybr/mybr/integration/bench"
	"github.com/mybr/mybr/integration/bench/floor"
	"github.com/mybr/mybr/integration/world"
)

// subject is a driver on an engine of its own: one in which no other driver's rules are
// passed by packets, and no other driver works because of what this one does.
type subject struct {
	driver  string // in keys
	version string // of the engine, in keys
	network string // in docker network create -d
	w       *world.World
	docker  *engine
	floor   *floor.Driver // of the floor alone

	// Of rows that ask mybr without Docker.
	mybr    *caller
	podFile *os.File // the namespace where container's ends go
}

// newestEngine is the one whose own driver has all that is compared.
const newestEngine = "28.5"

// engineVersions are the engines that calls are measured on.
func (s *session) engineVersions() []string {
	if s.opts.quick {
		return []string{newestEngine}
	}
	return []string{newestEngine, world.OwnEngine}
}

// drivers lists what is compared: Docker's own as shipped and mybr with each backend, and
// in a whole run more of Docker's.
func (s *session) drivers(more ...string) []string {
	all := append([]string{bench.Bridge}, more...)
	for _, backend := range s.backend {
		all = append(all, bench.MybrPrefix+backend)
	}
	return all
}

// subjects are drivers on an engine. Those that are there since an earlier row are used
// again.
func (s *session) subjects(engine string, drivers ...string) (all []*subject) {
	for _, driver := range drivers {
		at := engine + " " + driver
		if s.engines[at] == nil {
			if s.engines == nil {
				s.engines = map[string]*subject{}
			}
			s.engines[at] = s.newSubject(engine, driver)
		}
		all = append(all, s.engines[at])
	}
	return all
}

func (s *session) newSubject(version, driver string) *subject {
	s.printf("# engine %s with %s\n", version, driver)
	cfg := world.Config{Engine: version, Driver: "bridge"}
	sub := &subject{driver: driver, network: "bridge"}
	if backend, ours := strings.CutPrefix(driver, bench.MybrPrefix); ours {
		// Its presets, not those of the tests.
		cfg.Driver, cfg.MybrArgs = "mybr", []string{"--firewall", backend, "--log-level", "info"}
		sub.network = "mybr"
	}
	if driver == bench.BridgeNoProxy {
		cfg.DockerArgs = []string{"--userland-proxy=false"}
	}
	sub.w = world.New(s, cfg)
	sub.docker = newEngine(sub.w)
	var about struct{ Version string }
	if !sub.w.API("/version", &about) {
		s.Fatalf("the engine has no version")
	}
	parts := strings.SplitN(about.Version, ".", 3)
	sub.version = strings.Join(parts[:min(2, len(parts))], ".")
	if driver == bench.Floor {
		s.startFloor(sub)
	}
	return sub
}

// startFloor serves the floor's driver where Docker looks for it.
func (s *session) startFloor(sub *subject) {
	sub.network, sub.floor = "floor", floor.New(sub.w.Host.Handle())
	sub.w.Host.Run("mkdir", "-p", "/run/docker/plugins")
	l, err := net.Listen("unix", sub.w.Path("/run/docker/plugins/floor.sock"))
	s.must(err)
	server := &http.Server{Handler: sub.floor}
	s.Cleanup(func() { server.Close() })
	go server.Serve(l)
}

// key is a key of the subject's.
func (sub *subject) key(name string) bench.Key {
	return bench.CallKey(name, sub.version, sub.driver)
}

// ready has as many endpoints prepared as are made until done.
func (s *session) ready(sub *subject, endpoints int) {
	if sub.floor != nil {
		s.must(sub.floor.Prepare(endpoints))
	}
}

// done ends what ready began.
func (s *session) done(sub *subject) {
	if sub.floor != nil {
		s.must(sub.floor.Clean())
	}
}

// subnet is the nth subnet of the tests'.
func subnet(n int) string { return fmt.Sprintf("10.%d.%d.0/24", 100+n/256, n%256) }

var kinds = regexp.MustCompile(`want one of (.*)`)

// backends asks a mybr which backends it has: it lists them when it is given none of them.
func backends(mybr string) ([]string, error) {
	out, err := exec.Command(mybr, "serve", "--firewall", "?").CombinedOutput()
	m := kinds.FindStringSubmatch(string(out))
	if err == nil || m == nil {
		return nil, fmt.Errorf("%s serve --firewall ?: want a list of backends, have: %s", mybr, out)
	}
	all := strings.Split(strings.TrimSpace(m[1]), ", ")
	return slices.DeleteFunc(all, func(kind string) bool { return kind == "auto" }), nil
}
