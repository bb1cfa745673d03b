package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/store"
)

// Each worker has two networks, one container and a choice of host ports that it
// shares with all others.
const (
	stormWorkers = 4
	stormPort    = 8000
	stormPorts   = 3
)

// TestStorm lets several users make, change and remove networks and containers while
// mybr is killed and started again at random moments. A command may fail only if mybr
// was away meanwhile, or if another container has the port. In the end everything is
// removed, and nothing is left. The seed, see world.Rand, repeats what each user does,
// though not the order in which they come to it.
func TestStorm(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	w := world.New(t, world.Config{})
	s := &storm{t: t, w: w}
	rnd := world.Rand(t)
	for i := range stormWorkers {
		s.workers = append(s.workers, &worker{storm: s, n: i, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0))})
	}
	s.all(func(k *worker) { k.makeNetworks(); k.run(); k.clear() }) // what the first ones make once and for all is no leftover
	before := footprint(w)

	duration := 60 * time.Second
	if world.Short() {
		duration = 5 * time.Second
	}
	over := time.After(duration)
	s.begin()
	for !s.ended.Load() {
		select {
		case <-over:
			s.ended.Store(true)
		case <-time.After(time.Duration(200+rnd.IntN(1300)) * time.Millisecond): // a moment of no account: nothing is waited for
			s.restart()
		}
	}
	s.running.Wait()
	if t.Failed() {
		return
	}
	s.agree()
	for _, k := range s.workers {
		k.serves()
	}
	s.all((*worker).clear)
	// What Docker gave up while mybr was away it could not tell: the next network that
	// takes the subnet finds it free.
	s.all(func(k *worker) { k.makeNetworks(); k.removeNetworks() })
	same(t, w, "after the storm", before)
	s.nothingRecorded()
	t.Logf("%d commands, of which %d failed while mybr was away and %d for a good reason; %d kills",
		s.commands.Load(), s.excused.Load(), s.allowed.Load(), s.absence.Load()/2)
}

type storm struct {
	t       *testing.T
	w       *world.World
	workers []*worker
	running sync.WaitGroup
	ended   atomic.Bool

	absence                    atomic.Int64 // odd while mybr is away
	commands, excused, allowed atomic.Int64
}

// all lets every worker do something, at the same time, and waits for them.
func (s *storm) all(do func(*worker)) {
	var calls []func()
	for _, k := range s.workers {
		calls = append(calls, func() { do(k) })
	}
	together(calls...)
}

func (s *storm) begin() {
	for _, k := range s.workers {
		s.running.Go(func() {
			for !s.ended.Load() && !s.t.Failed() {
				k.round()
			}
		})
	}
}

// restart kills mybr and starts it again.
func (s *storm) restart() {
	s.absence.Add(1)
	s.w.KillMybr()
	s.w.StartMybr()
	s.absence.Add(1)
}

// agree compares the endpoints that Docker knows with mybr's records.
func (s *storm) agree() {
	s.t.Helper()
	recorded := map[string]bool{}
	db := records(s.t, s.w)
	for _, e := range db.Snapshot().Endpoints {
		recorded[e.ID] = e.Sandbox != ""
	}
	db.Close()
	for _, network := range strings.Fields(s.w.Docker("network", "ls", "-q", "-f", "driver=mybr")) {
		ids := s.w.Docker("network", "inspect", "-f", "{{range .Containers}}{{.EndpointID}} {{end}}", network)
		for _, id := range strings.Fields(ids) {
			if joined, ok := recorded[id]; !joined {
				s.t.Errorf("Docker's endpoint %s of network %s: recorded %v, joined %v", id, network, ok, joined)
			}
			delete(recorded, id)
		}
	}
	if len(recorded) > 0 {
		s.t.Logf("Docker has given up %d endpoints without a word: %v", len(recorded), recorded)
	}
}

// nothingRecorded fails the test if mybr has a record left.
func (s *storm) nothingRecorded() {
	s.t.Helper()
	db := records(s.t, s.w)
	defer db.Close()
	err := db.View(func(tx *store.Tx) error {
		if n, e, p := tx.Networks(), tx.Endpoints(), tx.Pools(); len(n)+len(e)+len(p) > 0 {
			s.t.Errorf("recorded after the storm: networks %+v, endpoints %+v, pools %+v", n, e, p)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// worker is one user of Docker.
type worker struct {
	*storm
	n    int
	rnd  *rand.Rand
	port int  // that the container was given; 0: there is no container that surely runs
	sure bool // mybr was there during all that was done to the container
}

func (k *worker) container() string { return fmt.Sprint("storm", k.n) }

func (k *worker) network(i int) string { return fmt.Sprintf("storm%d.%d", k.n, i) }

// docker runs a command and reports whether it succeeded. Its failure fails the test
// unless mybr was away or what is allowed is in its text.
func (k *worker) docker(allowed string, argv ...string) bool {
	before := k.absence.Load()
	r := k.w.DockerTry(argv...)
	undisturbed := before%2 == 0 && k.absence.Load() == before
	k.commands.Add(1)
	k.sure = k.sure && undisturbed
	switch {
	case r.Code == 0:
		return true
	case !undisturbed:
		k.excused.Add(1)
	case allowed != "" && strings.Contains(r.Err, allowed):
		k.allowed.Add(1)
	default:
		k.t.Errorf("docker %s: exit code %d: %s%s", strings.Join(argv, " "), r.Code, r.Out, r.Err)
	}
	return false
}

func (k *worker) makeNetworks() bool {
	for i := range 2 {
		argv := []string{"network", "create", "-d", "mybr", "--subnet", fmt.Sprintf("10.%d.%d.0/24", 50+i, k.n),
			"-o", fmt.Sprintf("%sstorm%d-%d", bridgeName, k.n, i)}
		if i == 1 {
			argv = append(argv, "-o", "com.docker.network.bridge.enable_icc=false")
		}
		if !k.docker("", append(argv, k.network(i))...) {
			return false
		}
	}
	return true
}

func (k *worker) removeNetworks() {
	for i := range 2 {
		k.remove("o such network", []string{"network", "rm", k.network(i)},
			"network", "ls", "-q", "-f", "name=^"+k.network(i)+"$")
	}
}

// remove runs a command until what it is to remove is gone, which list would list.
func (k *worker) remove(allowed string, argv []string, list ...string) {
	for !k.docker(allowed, argv...) && !k.t.Failed() && k.w.Docker(list...) != "" {
	}
}

// run starts the container, with a port of its own for UDP and one that others want too.
func (k *worker) run() bool {
	k.sure, k.port = true, stormPort+k.rnd.IntN(stormPorts)
	ok := k.docker("port is already allocated", "run", "-d", "--name", k.container(), "--hostname", k.container(),
		"--net", k.network(0), "-p", fmt.Sprintf("%d:80", k.port), "-p", "80/udp", world.Image, "serve", "tcp:80", "udp:80")
	if !ok {
		k.port = 0
	}
	return ok
}

// clear removes all that the worker has.
func (k *worker) clear() {
	k.remove("o such container", []string{"rm", "-f", k.container()}, "ps", "-aq", "-f", "name="+k.container())
	k.port = 0
	k.removeNetworks()
}

// round makes everything, changes it and removes it; where it fails it is cut short.
// When the storm is over, what is there is left.
func (k *worker) round() {
	if k.makeNetworks() && k.run() {
		for range 1 + k.rnd.IntN(3) {
			k.change()
		}
	}
	if !k.ended.Load() {
		k.clear()
	}
}

// change does something to the running container and takes it back.
func (k *worker) change() {
	c := k.container()
	steps := [][][]string{
		{{"network", "connect", k.network(1), c}, {"network", "disconnect", k.network(1), c}},
		{{"network", "connect", k.network(1), c}, {"network", "disconnect", k.network(0), c},
			{"network", "connect", k.network(0), c}, {"network", "disconnect", k.network(1), c}},
		{{"stop", "-t", "0", c}, {"start", c}},
		{{"network", "connect", k.network(1), c}, {"restart", "-t", "0", c}, {"network", "disconnect", k.network(1), c}},
	}[k.rnd.IntN(4)]
	if k.port == 0 {
		return
	}
	for _, argv := range steps {
		// A container that releases a port for a moment may find it taken.
		if !k.docker("port is already allocated", argv...) {
			k.port = 0
			return
		}
	}
}

// serves checks that the container is reached, if it surely runs.
func (k *worker) serves() {
	k.t.Helper()
	if !k.sure || k.port == 0 {
		return
	}
	o := k.w.LAN.Get("tcp", fmt.Sprintf("%s:%d", world.HostAddr, k.port))
	if o.Code != report.Answered || o.Answer.Name != k.container() {
		k.t.Errorf("port %d of %s: %v", k.port, k.container(), o)
	}
	if got := strings.Fields(k.w.Docker("ps", "-q", "-f", "name="+k.container())); len(slices.Compact(got)) != 1 {
		k.t.Errorf("%s runs %d times", k.container(), len(got))
	}
}

// TestRefusedRules lets every iptables-restore of mybr's fail for a while. Commands that
// add something fail and change nothing; those that take something away succeed, and
// the host follows once it can.
func TestRefusedRules(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	w := world.New(t, world.Config{Variant: "nft"})
	article(w)
	empty := footprint(w)
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")

	restore := filepath.Join(filepath.Dir(w.StateDir()), "iptables", "iptables-restore")
	multi, err := os.Readlink(restore)
	if err != nil {
		t.Fatal(err)
	}
	swap := func(put func(path string) error) {
		if err := put(restore + ".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(restore+".new", restore); err != nil {
			t.Fatal(err)
		}
	}
	before := footprint(w)
	swap(func(path string) error {
		return os.WriteFile(path, []byte("#!/bin/sh\necho 'iptables-restore: line 2 failed' >&2\nexit 1\n"), 0o755)
	})
	for _, argv := range [][]string{
		{"network", "create", "-d", "mybr", "n1"},
		{"run", "--rm", "--name", "second", "--net", "n0", "-p", "8089:80", "-p", "8089:80/udp", world.Image, "sysctl", "kernel.hostname"},
		{"run", "--rm", "--name", "third", "--net", "n0", "-p", "80", world.Image, "sysctl", "kernel.hostname"},
	} {
		r := w.DockerTry(argv...)
		if r.Code == 0 || !strings.Contains(r.Err, "iptables-restore: line 2 failed") {
			t.Errorf("docker %s: exit code %d: %s%s", strings.Join(argv, " "), r.Code, r.Out, r.Err)
		}
		same(t, w, "after docker "+argv[0], before)
	}
	answered(t, "what was there", w.LAN.Get("tcp", world.HostAddr+":8088"))
	w.Docker("rm", "-f", "web")
	swap(func(path string) error { return os.Symlink(multi, path) })
	same(t, w, "after the container was removed", empty)
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	answered(t, "what is there", w.LAN.Get("tcp", world.HostAddr+":8088"))
}
