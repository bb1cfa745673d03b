package parity

import (
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// bench keeps the worlds that scenarios share, one for each driver, of one engine. They
// are made when the first scenario asks for them.
type bench struct {
	engine   string
	firewall string // mybr's backend; "": $MYBR_TEST_FIREWALL, else mybr's own choice
	shared   map[string]*playWorld
	oracle   *oracle                      // predicts in the plays to come; nil: nothing is predicted
	facts    map[string]map[string]string // of the newest engine's built-in driver, by scenario
}

// playWorld is a world and the actor that answers for it.
type playWorld struct {
	w *world.World
	t *actor
}

func newBench(engine string) *bench {
	return &bench{engine: engine, shared: map[string]*playWorld{"bridge": {}, "mybr": {}}}
}

// config is the world of a scenario with a driver.
func (b *bench) config(own *world.Config, driver string) world.Config {
	cfg := world.Config{}
	if own != nil {
		cfg = *own
	}
	cfg.Driver, cfg.Engine, cfg.Firewall = driver, b.engine, b.firewall
	if cfg.LANs == nil {
		cfg.LANs = []string{"192.0.2.10"}
	}
	if b.engine == "20.10" {
		cfg.Engine = world.OwnEngine
	}
	if older(b.engine, "27.0") { // there the built-in driver has NAT of IPv6 on request only
		cfg.DockerArgs = append([]string{"--experimental", "--ip6tables"}, cfg.DockerArgs...)
	}
	return cfg
}

// open makes a world, in which one network with a published container has been already:
// what drivers make once and for all is no leftover of the first scenario.
func (b *bench) open(h *playWorld, cfg world.Config) bool {
	h.t = &actor{name: cfg.Driver + " on " + b.engine}
	return h.t.do(func() {
		h.w = world.New(h.t, cfg)
		if have := h.w.Docker("version", "-f", "{{.Server.Version}}"); !strings.HasPrefix(have, b.engine+".") {
			h.t.Skipf("the machine's engine is %s", have)
		}
		h.w.Docker("network", "create", "-d", cfg.Driver, "--ipv6", "--subnet", "172.31.0.0/24", "--subnet", "fd00:31::/64", "warm")
		h.w.DockerTry("run", "--rm", "--net", "warm", "-p", "9000:80", world.Image, "sysctl", "kernel.hostname")
		h.w.Docker("network", "rm", "warm")
	})
}

// close ends the world and forgets it.
func (h *playWorld) close() {
	if h.t != nil {
		h.t.end()
	}
	h.w, h.t = nil, nil
}

func (b *bench) close() {
	for _, h := range b.shared {
		h.close()
	}
}

// played is one play's facts.
type played struct {
	facts   map[string]string
	log     []string // the commands
	problem string   // why the play came to no end
	skipped string
	took    time.Duration
}

// play plays a scenario with a driver.
func (b *bench) play(sc scenario, driver string, timeout time.Duration) (p played) {
	h := b.shared[driver]
	if sc.world != nil {
		h = &playWorld{}
		defer h.close()
	}
	if h.w == nil && !b.open(h, b.config(sc.world, driver)) {
		text := strings.Join(h.t.messages, "\n")
		skipped := h.t.skipped
		h.close()
		if skipped {
			return played{skipped: text}
		}
		return played{problem: "there is no world: " + text}
	}
	began := time.Now()
	t := &actor{name: sc.name}
	h.w.During(t)
	var s *stage
	clean := false
	whole := t.do(func() {
		s = newStage(h.w, t, b.engine, timeout)
		if b.oracle != nil {
			b.oracle.w = h.w
			s.oracle = b.oracle
		}
		sc.play(s)
	})
	// Whatever has become of the play, the next one needs an empty world.
	whole = t.do(func() { s.clear(); clean = s.left() }) && whole
	if s != nil {
		p.facts, p.log = s.facts, s.log
	}
	if t.skipped {
		p.skipped = strings.Join(t.messages, "\n")
	} else if !whole || t.Failed() {
		p.problem = "the play came to no end: " + strings.Join(t.messages, "\n")
	}
	t.end()
	if !clean || p.problem != "" {
		h.close()
	}
	p.took = time.Since(began)
	return p
}

// drivers is which drivers to play: both, or what MYBR_PARITY_DRIVER says.
func (b *bench) pair(sc scenario, drivers []string, timeout time.Duration) map[string]played {
	results := make(chan struct {
		driver string
		played
	})
	for _, driver := range drivers {
		go func() {
			p := b.play(sc, driver, timeout)
			results <- struct {
				driver string
				played
			}{driver, p}
		}()
	}
	out := map[string]played{}
	for range drivers {
		r := <-results
		out[r.driver] = r.played
	}
	return out
}

// The timeouts of a probe: the usual one, and that of the second play when the two
// drivers differ in what timed out, which may be the loaded machine's fault. Both are
// below the three seconds after which the kernel gives up to look for a neighbor
// (mcast_solicit and retrans_time_ms in ip-sysctl.rst) and a client that got no answer
// gets "unreachable" instead: what a probe shows must not depend on who plays it twice.
const (
	usual   = 700 * time.Millisecond
	patient = 2500 * time.Millisecond
)

// show logs the facts, for the author of a scenario.
func show(t *testing.T, driver string, p played) {
	t.Helper()
	var text strings.Builder
	for _, key := range sortedKeys(p.facts) {
		text.WriteString("  " + key + "\n      " + p.facts[key] + "\n")
	}
	t.Logf("%s: %d facts in %.1f s\n%s%s", driver, len(p.facts), p.took.Seconds(), text.String(), p.problem)
}
