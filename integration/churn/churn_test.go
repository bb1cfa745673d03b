package churn

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/world"
)

func TestMain(m *testing.M) {
	world.Main()
	os.Exit(m.Run())
}

// workers is how many users there are.
const workers = 20

// seedEnv names the seed, as package world reads it.
const seedEnv = "MYBR_TEST_SEED"

// churn is one run.
type churn struct {
	t       *testing.T
	w       *world.World
	tally   *Tally
	workers []*worker
	running sync.WaitGroup
	ended   atomic.Bool
	absence atomic.Int64                  // odd while a daemon is away
	dockerd atomic.Pointer[chan struct{}] // closed while there is a dockerd to ask
	removal removal
	deleted sync.Map // the names of links that faults have deleted
}

// TestChurn has the users go on for 3 minutes with -short, and for 20 minutes without it.
func TestChurn(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	preset := 20 * time.Minute
	if world.Short() {
		preset = 3 * time.Minute
	}
	d, err := duration(preset)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(seedEnv) == "" {
		t.Setenv(seedEnv, fmt.Sprint(time.Now().UnixNano())) // so that the report has it
	}
	rnd := world.Rand(t)
	c := &churn{t: t, tally: newTally(), w: world.New(t, world.Config{
		Variant:  "nft", // of the other one's rules the kernel tells nobody, so that healing takes longer
		MybrArgs: []string{"--address-pool", "base=10.16.0.0/12,size=24", "--log-level", "info"},
	})}
	for i := range workers {
		c.workers = append(c.workers, &worker{churn: c, n: i, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0))})
	}
	there := make(chan struct{})
	close(there)
	c.dockerd.Store(&there)
	c.tally.Workers, c.tally.Duration = workers, d
	c.tally.Engine = c.w.Docker("version", "-f", "{{.Server.Version}}")
	c.tally.Seed = os.Getenv(seedEnv)
	c.removal.awaited = strings.HasPrefix(c.tally.Engine, "20.10.")
	defer c.report()
	before := c.first()
	c.tally.Before = c.runtime()
	reliability.Try(t, "users make, change and remove networks and containers while mybr and dockerd end, rules are flushed and bridges deleted", func() time.Duration {
		c.play(d, rnd, before)
		return 0
	})
}

// first has one user do what others will, and gives the footprint then: what the first one
// makes once and for all is no leftover. mybr turns forwarding on, as it will when that is
// turned off, and has a rule from then on until the host is booted.
func (c *churn) first() []string {
	c.w.Host.Sysctl("net/ipv4/ip_forward", "0")
	k := c.workers[0]
	for _, kind := range kinds {
		k.makeNetwork(0, kind)
		k.run(0)
		k.clear()
	}
	c.settled("to begin with")
	return c.footprint()
}

// play lets the users go on while things happen, and looks at what is left.
func (c *churn) play(d time.Duration, rnd *rand.Rand, before []string) {
	c.begin()
	over := time.After(d)
	for !c.ended.Load() {
		select {
		case <-over:
			c.ended.Store(true)
		case <-time.After(time.Duration(300+rnd.IntN(3000)) * time.Millisecond): // a moment of no account: nothing is waited for
			f := choose(rnd)
			c.tally.threw(f.name)
			f.throw(c, rnd)
		}
	}
	c.running.Wait()
	c.settled("when the users have ended")
	c.agree()
	for _, k := range c.workers {
		for i := range objects {
			k.serves(i)
		}
	}
	c.all((*worker).clear)
	c.settled("when everything is removed")
	c.nothingLeft(before)
	for _, text := range c.tally.Unexplained {
		c.t.Error(text)
	}
}

// all lets every worker do something, at the same time, and waits for them.
func (c *churn) all(do func(*worker)) {
	var wg sync.WaitGroup
	for _, k := range c.workers {
		wg.Go(func() { do(k) })
	}
	wg.Wait()
}

func (c *churn) begin() {
	for _, k := range c.workers {
		c.running.Go(func() {
			for !c.ended.Load() && !c.failed() {
				k.round()
			}
		})
	}
}

// failed reports whether it is no use going on.
func (c *churn) failed() bool {
	c.tally.mu.Lock()
	defer c.tally.mu.Unlock()
	return c.t.Failed() || len(c.tally.Unexplained) > 50
}

// away ends a daemon and starts it again.
func (c *churn) away(end, start func()) {
	c.absence.Add(1)
	end()
	start()
	c.absence.Add(1)
}

// removal is the removing of networks, by many, and dockerd's end, which waits for them where
// dockerd would not start again otherwise: 20.10.24, and 23.0 before 23.0.5, have a panic in
// reservePools then, for a network that they released the pools of and had not deleted (moby's
// pull request 45310). Between the two, 20.10 asks the network's driver.
type removal struct {
	sync.RWMutex
	awaited bool
}

// begin waits until dockerd is not about to end.
func (r *removal) begin() (over func()) {
	if !r.awaited {
		return func() {}
	}
	r.RLock()
	return r.RUnlock
}

// end waits until no network is being removed.
func (r *removal) end() (over func()) {
	if !r.awaited {
		return func() {}
	}
	r.Lock()
	return r.Unlock
}

// dockerAway is away for dockerd. Users wait until it is back: without it no command does
// anything.
func (c *churn) dockerAway() {
	defer c.removal.end()()
	back := make(chan struct{})
	defer close(back)
	c.dockerd.Store(&back)
	c.away(c.w.StopDocker, c.w.StartDocker)
}

// reportEnv names the file that the report is written to, and reportFile that without it,
// below the top of the module.
const (
	reportEnv  = "MYBR_CHURN_REPORT"
	reportFile = "../../build/churn-%s.json"
)

func (c *churn) report() {
	c.t.Log(c.tally)
	path := os.Getenv(reportEnv)
	if path == "" {
		path = strings.Replace(reportFile, "%s", strings.ReplaceAll(c.tally.Engine, "/", "-"), 1)
	}
	if err := c.tally.write(path); err != nil {
		c.t.Errorf("write the report: %v", err)
	}
}
