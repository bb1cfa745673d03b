package integration

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// hardened is a command line of the guest program with no more privileges than mybr has, whose
// descriptors mybr can therefore see (proc_pid_fd(5)).
func hardened(w *world.World, args ...string) []string {
	return append([]string{"setpriv", "--bounding-set", "-all", "--inh-caps", "-all", w.Guest()}, args...)
}

// hostPortTaken has another program take a published host port while mybr is away.
func hostPortTaken(t *testing.T, cfg world.Config) {
	u := underTraffic(t, cfg)
	w := u.w
	w.Serve("ben", []string{"--net", "n0", "-p", "8090:80", "-p", "8089:80"}, "tcp:80")
	others := []world.Flow{
		w.LAN.Flow(report.Connects, world.HostAddr+":8090"), w.LAN.Flow(report.Connects, world.HostAddr+":8089"),
		w.Host.Flow(report.Connects, "127.0.0.1:8090"),
	}
	// take has the program of a command line take the port, which mybr's log calls by.
	take := func(by string, argv ...string) *world.Proc {
		logged := len(w.Log())
		w.StopMybr()
		thief := w.Host.Start(argv...)
		w.StartMybr()
		reached(w, 10*time.Second, w.Host, "127.0.0.1:8090")
		want := regexp.MustCompile(`failed to bind host port for 0\.0\.0\.0:8089:\S+: address already in use by ` + by)
		w.Eventually(10*time.Second, func() error {
			if log := w.Log()[logged:]; !want.MatchString(log) {
				return fmt.Errorf("the log does not say that %s has the port: %s", by, log)
			}
			return nil
		})
		return thief
	}
	thief := take(`pid \d+ \(\S+/guest serve tcp:8089\)`, hardened(w, "serve", "tcp:8089")...)
	seenAs(t, "the LAN still reaches the container", w.LAN.Get("tcp", world.HostAddr+":8089"), world.LANAddr)
	u.newcomer()

	reliability.Try(t, "another program takes a published host port while mybr is away, and ends: time until the port is served again", func() time.Duration {
		tr := w.Traffic(append(u.flows(), others...)...)
		thief.Stop()
		began := time.Now()
		reached(w, 35*time.Second, w.Host, "127.0.0.1:8089")
		served := time.Since(began)
		u.unbroken("beside a port that another program had", tr.Stop())
		return served
	})

	// Of a program with more privileges mybr must not see the descriptors.
	thief = take(`a (program of control group /|socket of user 0)`, "guest", "serve", "tcp:8089")
	w.Docker("rm", "-f", "ben")
	answered(t, "the program that has the port", w.Host.Get("tcp", "127.0.0.1:8089"))
	answered(t, "the program that has the port, from the LAN", w.LAN.Get("tcp", world.HostAddr+":8089"))
	r := w.DockerTry("run", "--rm", "--net", "n0", "-p", "8089:80", world.Image, "sysctl", "kernel.hostname")
	if r.Code != 125 || !strings.Contains(r.Err, "address already in use") {
		t.Errorf("a container with the taken port: exit code %d, %s", r.Code, r.Err)
	}
	thief.Stop()
	w.Serve("ben", []string{"--net", "n0", "-p", "8089:80"}, "tcp:80")
	seenAs(t, "published again", w.LAN.Get("tcp", world.HostAddr+":8089"), world.LANAddr)
	u.clear("web ben", "n0")
}

// removedWhileAway has containers and networks removed while mybr is away, which Docker gives
// up telling it. What is still there is not disturbed, then or when mybr is back.
func removedWhileAway(t *testing.T, cfg world.Config) {
	u := underTraffic(t, cfg)
	w := u.w
	w.Serve("gone", []string{"--net", "n0", "--ip", "172.18.0.7", "-p", "8090:80"}, "tcp:80")
	for i, name := range []string{"empty1", "empty2", "empty3"} {
		w.Network(name, "--subnet", fmt.Sprintf("172.2%d.0.0/16", i))
	}
	reliability.Try(t, "containers and networks are removed (docker rm -f, network rm, network prune) while mybr is away", func() time.Duration {
		tr := w.Traffic(u.flows()...)
		w.KillMybr()
		together(
			func() { w.DockerTry("rm", "-f", "gone") },
			func() { w.DockerTry("network", "rm", "empty1") },
			func() { w.DockerTry("network", "prune", "-f") },
		)
		w.StartMybr()
		w.Eventually(driver.CheckInterval+20*time.Second, func() error {
			for _, p := range published(t, w) {
				if p.Host.Port() == 8090 {
					return fmt.Errorf("still published is %+v", p)
				}
			}
			return nil
		})
		// Docker still has what it could not remove; networks of the same subnets are made again.
		for i, name := range []string{"empty1", "empty2", "empty3"} {
			w.DockerTry("network", "rm", name)
			w.Network(name, "--subnet", fmt.Sprintf("172.2%d.0.0/16", i))
		}
		w.Serve("next", []string{"--net", "n0", "--ip", "172.18.0.7", "-p", "8090:80"}, "tcp:80")
		seenAs(t, "the next container with address and port", w.LAN.Get("tcp", world.HostAddr+":8090"), world.LANAddr)
		seen := tr.Stop()
		u.unbroken("removed while mybr was away", seen)
		return seen.Gap()
	})
	u.clear("web next", "n0 empty1 empty2 empty3")
}

// startedWhileAway starts a container while mybr is away: Docker waits or says so, and the
// container can be started once mybr is back.
func startedWhileAway(t *testing.T, cfg world.Config) {
	u := underTraffic(t, cfg)
	w := u.w
	w.Docker("create", "--name", "late", "--net", "n0", "-p", "8090:80", world.Image, "serve", "tcp:80")
	reliability.Try(t, "a container is started while mybr is away", func() time.Duration {
		tr := w.Traffic(u.flows()...)
		w.KillMybr()
		if r := w.DockerTry("start", "late"); r.Code == 0 || !strings.Contains(r.Err, "mybr") {
			t.Errorf("a container starts without mybr: exit code %d, %s, want an error that names mybr", r.Code, r.Err)
		}
		started := make(chan world.Result, 1)
		go func() { started <- w.DockerTry("start", "late") }() // which is tried again for 15 s
		w.StartMybr()
		if r := <-started; r.Code != 0 {
			t.Errorf("a container that was started just before mybr: exit code %d: %s", r.Code, r.Err)
		}
		reached(w, 10*time.Second, w.LAN, world.HostAddr+":8090")
		seen := tr.Stop()
		u.unbroken("started while mybr was away", seen)
		return seen.Gap()
	})
	u.clear("web late", "n0")
}
