package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// again is how long Docker may take to have the containers back that it restarts.
const again = 30 * time.Second

// dockerRestartsLiveRestore ends dockerd in both ways where containers go on without it:
// traffic does, too.
func dockerRestartsLiveRestore(t *testing.T, cfg world.Config) {
	u := underTraffic(t, cfg)
	relayed := u.relayed()
	faults := [2]string{"dockerd is killed, with live-restore, and started again", "dockerd is restarted, with live-restore"}
	if cfg.Engine == "28.5" {
		faults = [2]string{"dockerd 28.5 is killed, with live-restore, and started again", "dockerd 28.5 is restarted, with live-restore"}
	}
	u.liveRestored(faults, append(u.flows(), relayed...))
	u.clear("web apart1 apart2", "n0 apart")
}

// liveRestored ends dockerd with SIGKILL and with SIGTERM, and starts it again, beside traffic
// that must go on.
func (u *under) liveRestored(faults [2]string, flows []world.Flow) {
	u.t.Helper()
	for i, stop := range []func(){u.w.KillDocker, u.w.StopDocker} {
		reliability.Try(u.t, faults[i], func() time.Duration {
			tr := u.w.Traffic(flows...)
			stop()
			u.w.StartDocker()
			u.newcomer()
			seen := tr.Stop()
			u.t.Logf("%s:\n%v", faults[i], seen)
			u.unbroken(faults[i], seen)
			return seen.Gap()
		})
	}
}

// newcomer runs a container and removes it, and the records agree with Docker.
func (u *under) newcomer() {
	u.t.Helper()
	u.w.Serve("newcomer", []string{"--net", "n0", "-p", "8092:80"}, "tcp:80")
	seenAs(u.t, "the newcomer's port", u.w.LAN.Get("tcp", world.HostAddr+":8092"), world.LANAddr)
	answered(u.t, "the newcomer pings its neighbour", u.w.Container("newcomer").Ping("172.18.0.2"))
	u.w.Docker("rm", "-f", "newcomer")
}

// restartAlways is a world whose container Docker restarts.
func restartAlways(t *testing.T, cfg world.Config) *under {
	t.Helper()
	u := &under{t: t, w: world.New(t, cfg)}
	u.restartAlways()
	return u
}

func (u *under) restartAlways() {
	u.t.Helper()
	article(u.w)
	u.web = u.w.Serve("web", []string{"--net", "n0", "--ip", "172.18.0.9", "--restart", "always", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	u.w.Serve("ben", []string{"--net", "n0", "--restart", "always", "-p", "8089:80"}, "tcp:80")
}

// back waits until the containers of restartAlways are reached again, and looks at what they have.
func (u *under) back() {
	u.t.Helper()
	for _, port := range []string{"8088", "8089"} {
		reached(u.w, again, u.w.LAN, world.HostAddr+":"+port)
	}
	for _, name := range []string{"web", "ben"} {
		u.w.Ready(name)
	}
	u.web = u.w.Container("web")
	if got := ipv4(u.t, u.web, "eth0"); got != "172.18.0.9" {
		u.t.Errorf("web has %s, had 172.18.0.9", got)
	}
	for _, network := range []string{"tcp", "udp"} {
		seenAs(u.t, network+" from the LAN", u.w.LAN.Get(network, port8088), world.LANAddr)
		for _, addr := range []string{"127.0.0.1", "[::1]"} {
			answered(u.t, network+" from the host to "+addr, u.w.Host.Get(network, addr+":8088"))
		}
	}
	pingBoth(u.t, u.web, u.w.Container("ben"))
	if got := len(ports(u.t, u.w, "mybr0")); got != 2 {
		u.t.Errorf("mybr0 has %d ports, want 2", got)
	}
	if u.w.Driver != "mybr" {
		return // it tells the operator nothing on the host
	}
	if list := published(u.t, u.w); len(list) != 6 { // each of three ports, of both families
		u.t.Errorf("published are %+v, want three ports", list)
	}
}

// dockerRestarts ends dockerd in both ways where containers end with it: they are back with
// what they had.
func dockerRestarts(t *testing.T, cfg world.Config) {
	u := restartAlways(t, cfg)
	faults := [2]string{"dockerd is killed and started again: first answer of a container that it restarts", "dockerd is restarted: first answer of a container that it restarts"}
	if cfg.Engine == "28.5" {
		faults = [2]string{"dockerd 28.5 is killed and started again: first answer of a container that it restarts", "dockerd 28.5 is restarted: first answer of a container that it restarts"}
	}
	u.restarted(faults)
	u.clear("web ben", "n0")
}

// restarted ends dockerd with SIGKILL and with SIGTERM, and starts it again.
func (u *under) restarted(faults [2]string) {
	u.t.Helper()
	for i, stop := range []func(){u.w.KillDocker, u.w.StopDocker} {
		reliability.Try(u.t, faults[i], func() time.Duration {
			lan := u.w.LAN
			tr := u.w.Traffic(lan.Flow(report.Connects, port8088), lan.Flow(report.UDP, port8088), lan.Flow(report.Connects, world.HostAddr+":8089"))
			stop()
			u.w.StartDocker()
			u.back()
			seen := tr.Stop()
			u.t.Logf("%s:\n%v", faults[i], seen)
			if seen.Unsettled() > 0 {
				u.t.Errorf("%s: not recovered:\n%v", faults[i], seen)
			}
			return seen.Gap()
		})
	}
}

// rebootPublished cuts the power.
func rebootPublished(t *testing.T, cfg world.Config) {
	u := restartAlways(t, cfg)
	reliability.Try(t, "the host is booted: first answer of a container, from the start of mybr and dockerd on", func() time.Duration {
		began := time.Now()
		u.w.Reboot()
		u.w.Eventually(again, func() error {
			if o := u.w.LAN.Get("tcp", port8088, soon); o.Code != report.Answered {
				return fmt.Errorf("port 8088: %v", o)
			}
			return nil
		})
		first := time.Since(began)
		u.back()
		return first
	})
	u.clear("web ben", "n0")
}
