package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/plugin"
)

// mybrRestarts kills mybr in the middle of calls, at any stage of its start, and restarts it
// as its service would; with -short less often.
func mybrRestarts(t *testing.T, cfg world.Config) {
	u := underTraffic(t, cfg)
	kills, stops := 20, 10
	if world.Short() {
		kills, stops = 5, 3
	}
	relayed := u.relayed()
	rnd := world.Rand(t)
	u.outage("mybr is killed 20 times (kill -9) while containers come and go: translated traffic",
		"mybr is killed 20 times while containers come and go: traffic that it relays", relayed, func() {
			stop := u.churn()
			for n := range kills {
				u.w.KillMybr()
				answered(t, "a new connection while mybr is away", u.w.LAN.Get("tcp", port8088))
				u.w.StartMybr()
				if n%2 == 0 {
					reached(u.w, 10*time.Second, u.w.Host, "127.0.0.1:8088")
				}
				time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond) // a moment of no account: nothing is waited for
			}
			runs, failed := stop()
			t.Logf("%d containers came and went beside %d kills; %d commands failed: %q", runs, kills, len(failed), failed)
		})
	u.outage("mybr is restarted 10 times (SIGTERM) while containers come and go: translated traffic",
		"mybr is restarted 10 times while containers come and go: traffic that it relays", relayed, func() {
			stop := u.churn()
			for range stops {
				u.w.RestartMybr()
				reached(u.w, 10*time.Second, u.w.Host, "127.0.0.1:8088")
			}
			if runs, failed := stop(); len(failed) > 0 || runs == 0 {
				t.Errorf("%d containers came and went beside %d restarts; these commands failed: %q", runs, stops, failed)
			}
		})
	u.newcomer()
	u.clear("web apart1 apart2", "n0 apart")
}

// mybrUpgraded installs another build over the one that runs and restarts it, as a package's
// upgrade does, with systemd's socket.
func mybrUpgraded(t *testing.T, cfg world.Config) {
	u := underTraffic(t, cfg)
	u.w.HoldSocket()
	version := func() string {
		t.Helper()
		s, err := plugin.Client{RunDir: u.w.Path("/run/mybr")}.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Version
	}
	relayed := u.relayed()
	before := version()
	u.outage("mybr is upgraded in place, with systemd's socket, while containers come and go: translated traffic",
		"mybr is upgraded in place while containers come and go: traffic that it relays", relayed, func() {
			stop := u.churn()
			u.w.InstallMybr("-ldflags=-X main.version=upgraded")
			u.w.RestartMybr()
			reached(u.w, 10*time.Second, u.w.Host, "127.0.0.1:8088")
			u.w.KillMybr() // what is not upgraded in time is killed
			u.w.StartMybr()
			reached(u.w, 10*time.Second, u.w.Host, "127.0.0.1:8088")
			runs, failed := stop()
			// Docker repeats the calls that the kill has cut off, with empty bodies.
			if len(failed) > churners || runs == 0 {
				t.Errorf("%d containers came and went; these commands failed: %q", runs, failed)
			}
		})
	if after := version(); before == after || after != "upgraded" {
		t.Errorf("the version was %s and is %s, want another, upgraded", before, after)
	}
	u.clear("web apart1 apart2", "n0 apart")
}

// secondMybr starts mybr where it runs: the second one says why it can't, and the first one
// goes on.
func secondMybr(t *testing.T, cfg world.Config) {
	u := underTraffic(t, cfg)
	serve := []string{"/proc/" + fmt.Sprint(mybrPID(u.w)) + "/exe", "serve", "--plugin-dir=/run/second", "--run-dir=/run/second"}
	own := append(serve, "--state-dir=/run/second")
	shared := append(serve, "--state-dir="+u.w.StateDir())
	u.fault("a second mybr is started, of the same host and of another with the same state", func() {
		pid := fmt.Sprintf("pid %d (", mybrPID(u.w))
		if text := ends(t, u.w, own...); !strings.Contains(text, "mybr runs in this network namespace already: "+pid) {
			t.Errorf("a second mybr says %s, want %s", text, pid)
		}
		text := ends(t, u.w, append([]string{"unshare", "-n"}, shared...)...)
		if want := fmt.Sprintf("state file %s is in use by process %d (", filepath.Join(u.w.StateDir(), "mybr.db"), mybrPID(u.w)); !strings.Contains(text, want) {
			t.Errorf("a mybr of another namespace says %s, want %s", text, want)
		}
	})
	u.clear("web", "n0")
}

// mybrPID is mybr's process as the world sees it.
func mybrPID(w *world.World) (pid int) {
	status := w.Host.Run("sh", "-c", "for p in /proc/[0-9]*; do case $(tr '\\0' ' ' <$p/cmdline 2>/dev/null) in */mybr' serve '*) echo ${p#/proc/};; esac; done")
	fmt.Sscan(status, &pid)
	return pid
}

// stateFileLocked starts mybr while another program has its state file locked, as one that
// copies it may: it says which program that is, and ends, to be started again by its service
// manager; calls wait meanwhile, and traffic goes on.
func stateFileLocked(t *testing.T, cfg world.Config) {
	u := underTraffic(t, cfg)
	u.w.HoldSocket()
	file := filepath.Join(u.w.StateDir(), "mybr.db")
	tr := u.w.Traffic(u.flows()...)
	reliability.Try(t, "another program has the state file locked when mybr starts", func() time.Duration {
		u.w.KillMybr()
		lock := u.w.Host.Start("flock", "--no-fork", file, "sh", "-c", "echo locked; exec sleep 1000")
		called := make(chan world.Result, 1)
		go func() {
			called <- u.w.DockerTry("run", "--rm", "--net", "n0", world.Image, "ping", "172.18.0.1")
		}()
		text := u.w.StartMybrFails()
		if want := "state file " + file + " is in use by process "; !strings.Contains(text, want) || !strings.Contains(text, "(sleep 1000)") {
			t.Errorf("mybr says %s, want %s, which is sleep 1000", text, want)
		}
		select {
		case r := <-called:
			t.Errorf("a call did not wait: %+v", r)
		default:
		}
		lock.Stop()
		u.w.StartMybr()
		if r := <-called; r.Code != 0 {
			t.Errorf("the call that waited: exit code %d: %s%s", r.Code, r.Out, r.Err)
		}
		seen := tr.Stop()
		u.unbroken("while the file was locked", seen)
		return seen.Gap()
	})
	u.clear("web", "n0")
}
