package integration

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestDaemons ends, restarts and upgrades mybr and dockerd under traffic.
func TestDaemons(t *testing.T) {
	t.Parallel()
	liveRestore := world.Config{DockerArgs: []string{"--live-restore"}}
	nft := world.Config{Firewall: world.InShort(world.NFTables)}
	newest := world.Config{Engine: "28.5"}
	newestLiveRestore := world.Config{Engine: "28.5", DockerArgs: []string{"--live-restore"}}
	for _, test := range []struct {
		name string
		test func(*testing.T, world.Config)
		cfg  world.Config
		full bool // only make test-full runs it
	}{
		{name: "mybr_restarts", test: mybrRestarts, cfg: nft},
		{name: "mybr_upgraded", test: mybrUpgraded},
		{name: "state_of_before", test: stateOfBefore},
		{name: "second_mybr", test: secondMybr},
		{name: "state_file_locked", test: stateFileLocked},
		{name: "host_port_taken", test: hostPortTaken},
		{name: "docker_restarts_live_restore", test: dockerRestartsLiveRestore, cfg: liveRestore},
		{name: "docker_restarts", test: dockerRestarts},
		{name: "reboot", test: rebootPublished, cfg: nft},
		{name: "two_engines", test: twoEngines},
		{name: "docker_restarts_live_restore_28.5", test: dockerRestartsLiveRestore, cfg: newestLiveRestore, full: true},
		{name: "docker_restarts_28.5", test: dockerRestarts, cfg: newest, full: true},
		{name: "managed_upgraded", test: managedUpgraded, cfg: liveRestore, full: true},
		{name: "managed_restarts", test: managedRestarts, full: true},
		{name: "removed_while_away", test: removedWhileAway, full: true},
		{name: "started_while_away", test: startedWhileAway, full: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if world.Driver() != "mybr" {
				t.Skip("is about the mybr driver")
			}
			if test.full {
				world.Full(t)
			}
			t.Parallel()
			test.test(t, test.cfg)
		})
	}
}

// relayed is traffic that NAT can't translate, so that it goes through mybr's process: to
// 127.0.0.1 and [::1], and from a container of a network without icc to a port that its own
// network publishes.
func (u *under) relayed() []world.Flow {
	u.w.Docker("network", "create", "-d", u.w.Driver, "--subnet", "172.19.0.0/16", "-o", bridgeName+"mybr1",
		"-o", "com.docker.network.bridge.enable_icc=false", "apart")
	u.w.Serve("apart1", []string{"--net", "apart", "-p", "8091:80"}, "tcp:80")
	apart := u.w.Idle("apart2", "--net", "apart")
	host := u.w.Host
	return []world.Flow{
		host.Flow(report.Connects, "127.0.0.1:8088"), host.Flow(report.Connects, "[::1]:8088"),
		host.Flow(report.UDP, "127.0.0.1:8088"), host.Flow(report.Stream, "127.0.0.1:8088"),
		apart.Flow(report.Connects, world.HostAddr+":8091"),
	}
}

// outage has a fault happen under translated and relayed traffic. Translated traffic must go on;
// what is relayed may break, and must be back in the end. Each is a row of its own.
func (u *under) outage(translated, relayed string, flows []world.Flow, do func()) {
	u.t.Helper()
	var through world.Seen
	reliability.Try(u.t, translated, func() time.Duration {
		u.t.Helper()
		all := u.flows()
		tr := u.w.Traffic(append(slices.Clone(all), flows...)...)
		do()
		reached(u.w, 10*time.Second, u.w.Host, "127.0.0.1:8088")
		seen := tr.Stop()
		seen, through = seen[:len(all)], seen[len(all):]
		u.t.Logf("%s:\n%v\n%v", translated, seen, through)
		u.unbroken(translated, seen)
		return seen.Gap()
	})
	reliability.Try(u.t, relayed, func() time.Duration {
		if through.Unsettled() > 0 {
			u.t.Errorf("%s: %d flows have not recovered:\n%v", relayed, through.Unsettled(), through)
		}
		return through.Gap()
	})
}

// unbroken fails the test if a stream broke, a connection was refused, a flow has not
// recovered, or an intruder got in.
func (u *under) unbroken(what string, seen world.Seen) {
	u.t.Helper()
	if _, requests := seen.Open(); seen.Broken()+seen.Refused()+seen.Unsettled()+requests > 0 {
		u.t.Errorf("%s: %d streams broke, %d connections were refused, %d flows have not recovered, intruders got in %d times:\n%v",
			what, seen.Broken(), seen.Refused(), seen.Unsettled(), requests, seen)
	}
}

// churners is how many users churn is.
const churners = 2

// churn has users run containers with a published port on n0 and remove them, until stop is
// called, which tells how many containers there were and which docker commands failed.
func (u *under) churn() (stop func() (runs int, failed []string)) {
	ended := make(chan struct{})
	var running sync.WaitGroup
	var mu sync.Mutex
	var runs int
	var failed []string
	docker := func(argv ...string) bool {
		r := u.w.DockerTry(argv...)
		mu.Lock()
		defer mu.Unlock()
		if r.Code != 0 {
			failed = append(failed, fmt.Sprintf("docker %s: exit code %d: %s%s", strings.Join(argv, " "), r.Code, r.Out, r.Err))
		} else if argv[0] == "run" {
			runs++
		}
		return r.Code == 0
	}
	for n := range churners {
		name, port := fmt.Sprint("churn", n), fmt.Sprintf("%d:80", 8093+n)
		running.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				docker("run", "-d", "--name", name, "--net", "n0", "-p", port, "-p", "80/udp", world.Image, "sleep")
				for !docker("rm", "-f", name) && u.w.Docker("ps", "-aq", "-f", "name=^"+name+"$") != "" {
				}
			}
		})
	}
	return func() (int, []string) {
		close(ended)
		running.Wait()
		return runs, failed
	}
}

// clear removes all and looks for what is left.
func (u *under) clear(containers, networks string) {
	u.t.Helper()
	u.w.Docker(append([]string{"rm", "-f"}, strings.Fields(containers)...)...)
	u.w.Docker(append([]string{"network", "rm"}, strings.Fields(networks)...)...)
	cleared(u.t, u.w)
	nothingRecorded(u.t, u.w)
}

// ends waits until mybr ends by itself, as its service manager would see it, and gives what it
// has logged since.
func ends(t *testing.T, w *world.World, argv ...string) string {
	t.Helper()
	r := w.Host.Try(argv...)
	if r.Code != 1 {
		t.Errorf("%s: exit code %d, want 1: %s%s", strings.Join(argv, " "), r.Code, r.Out, r.Err)
	}
	return r.Err
}
