package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// legacyHeals: the legacy variant of iptables tells nobody of changes, which are found a
// second later.
func legacyHeals(t *testing.T, w *world.World) {
	article(w)
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	for _, line := range []string{"iptables -F", either(w, "iptables -t nat -F", "iptables -F MYBR-FORWARD"), "ip6tables -D FORWARD -j MYBR-FORWARD"} {
		told := len(w.Log())
		w.Host.Run("sh", "-c", line)
		w.Eventually(healWithin, func() error {
			if log := w.Log()[told:]; !strings.Contains(log, "changed by a program that uses iptables-legacy") {
				return fmt.Errorf("%s: not healed:\n%s", line, log)
			}
			return mismatch(t, w)
		})
		seenAs(t, line+": a port", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	}
}

// pairDeleted: without its pair a container has no interface, and only Docker can make one.
// That is told with the command, which then works; other containers don't notice.
func pairDeleted(t *testing.T, w *world.World) {
	article(w)
	web := w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	w.Serve("other", []string{"--net", "n0", "-p", "8089:80"}, "tcp:80")
	endpoint := w.Docker("inspect", "-f", "{{.NetworkSettings.Networks.n0.EndpointID}}", "web")
	w.Host.Run("ip", "link", "del", hostEnd(t, w, web, "eth0").Name)
	w.Eventually(healWithin, func() error {
		if log := w.Log(); !strings.Contains(log, "endpoint "+endpoint) || !strings.Contains(log, "docker network disconnect -f NETWORK CONTAINER") {
			return fmt.Errorf("endpoint %s is not told of:\n%s", endpoint, log)
		}
		return nil
	})
	seenAs(t, "another container", w.LAN.Get("tcp", world.HostAddr+":8089"), world.LANAddr)
	w.Docker("network", "disconnect", "-f", "n0", "web")
	w.Docker("network", "connect", "n0", "web")
	seenAs(t, "connected again", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	matches(t, w)
}

// othersBridge: a bridge that isn't mybr's is deleted and made anew by whose it is; then it
// has its address and its ports again.
func othersBridge(t *testing.T, w *world.World) {
	w.Host.Run("ip", "link", "add", "lan0", "type", "bridge")
	w.Network("n0", "--subnet", "172.18.0.0/16", "-o", bridgeName+"lan0")
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	seenAs(t, "at first", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	w.Host.Run("ip", "link", "del", "lan0")
	w.Eventually(healWithin, func() error {
		if log := w.Log(); !strings.Contains(log, "lan0: not found") {
			return fmt.Errorf("it is not told that lan0 is gone:\n%s", log)
		}
		return nil
	})
	w.Host.Run("ip", "link", "add", "lan0", "type", "bridge")
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	seenAs(t, "with the bridge again", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
}

// fight: a program undoes what mybr does as fast as it can. mybr ceases to keep up with it,
// serves Docker all the same, and has the host match soon after that ends.
func fight(t *testing.T, w *world.World) {
	article(w)
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	calls := countCalls(t, w, "iptables-save")
	goes := filepath.Join(t.TempDir(), "goes")
	if err := os.WriteFile(goes, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	told := "the host is changed again and again; changed by " + either(w, "iptables", "nft") + " (pid "
	table := either(w, "-t nat", "-t filter") // once at each look
	together(
		func() {
			w.Host.Run("sh", "-c", "while [ -e "+goes+" ]; do "+either(w, "iptables -t nat -F MYBR-PORTS; iptables -t nat -A MYBR-PORTS -j RETURN",
				"nft flush chain ip mybr published-ports; nft insert rule ip mybr published-ports return")+"; done")
		},
		func() {
			defer os.Remove(goes)
			w.Eventually(time.Minute, func() error {
				if log := w.Log(); !strings.Contains(log, told) {
					return fmt.Errorf("the fight is not told of:\n%s", log)
				}
				return nil
			})
			spent, begun, passes := cpu(t, w), time.Now(), strings.Count(calls(), table)
			served := 0
			for ; time.Since(begun) < 5*time.Second || served < 3; served++ {
				w.Docker("run", "--rm", "--net", "n0", "-p", fmt.Sprintf("%d:80", 8090+served), world.Image, "sysctl", "kernel.hostname")
			}
			lasted, spent, passes := time.Since(begun), cpu(t, w)-spent, strings.Count(calls(), table)-passes
			t.Logf("%d looks at the rules and %.2f s of CPU in %.1f s", passes, spent.Seconds(), lasted.Seconds())
			// One that was due, those after 1, 2, 4 and 8 seconds, and one for each container's
			// port that can't be removed as it was made.
			if most := 5 + served; lasted < 15*time.Second && passes > most {
				t.Errorf("%d looks at the rules in %s, want %d at most", passes, lasted, most)
			}
		},
	)
	if n := strings.Count(w.Log(), told); n != 1 {
		t.Errorf("the fight is told of %d times", n)
	}
	w.Eventually(40*time.Second, func() error { return mismatch(t, w) })
	seenAs(t, "a port after the fight", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
}

// manyPorts: rules for 500 ports are back within a second of a flush.
func manyPorts(t *testing.T, w *world.World) {
	article(w)
	args := []string{"--net", "n0"}
	const many = 500
	for i := range many {
		args = append(args, "-p", fmt.Sprintf("%d:80", 20000+2*i))
	}
	w.Serve("web", args, "tcp:80")
	matches(t, w)
	told := len(w.Log())
	w.Host.Run("nft", "flush", "ruleset")
	begun := time.Now()
	w.Eventually(healWithin, func() error {
		if log := w.Log()[told:]; !strings.Contains(log, either(w, "healed: iptables", "healed: nft: ")) {
			return fmt.Errorf("not healed:\n%s", log)
		}
		return mismatch(t, w) // the table of senders, which the flush takes too, comes behind the rules
	})
	t.Logf("%d ports: healed %d ms after the flush", many, time.Since(begun).Milliseconds())
	seenAs(t, "the last port", w.LAN.Get("tcp", fmt.Sprintf("%s:%d", world.HostAddr, 20000+2*(many-1))), world.LANAddr)
}

// besideDocker: what Docker does for ports on its own bridges has mybr read no rules, and
// neither has what mybr does itself.
func besideDocker(t *testing.T, w *world.World) {
	article(w)
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	w.Docker("network", "create", "theirs")
	w.Docker("run", "--rm", "--net", "theirs", "-p", "9000:80", world.Image, "sysctl", "kernel.hostname")
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	calls, before := countCalls(t, w, "iptables-save"), len(w.Log())
	for i := range 3 {
		w.Docker("run", "--rm", "--net", "theirs", "-p", fmt.Sprintf("%d:80", 9000+i), "-p", fmt.Sprintf("%d:53/udp", 9000+i),
			world.Image, "sysctl", "kernel.hostname")
		w.Docker("run", "--rm", "--net", "n0", "-p", fmt.Sprintf("%d:80", 9100+i), world.Image, "sysctl", "kernel.hostname")
	}
	if log := w.Log()[before:]; strings.Contains(log, "healed:") {
		t.Errorf("mybr takes its own doings or Docker's for damage:\n%s", log)
	}
	// What comes behind it has been seen when this has been put right.
	told := len(w.Log())
	w.Host.Run("ip", "link", "set", "mybr0", "down")
	w.Eventually(healWithin, func() error {
		if !strings.Contains(w.Log()[told:], "link mybr0: bring up") {
			return fmt.Errorf("not healed")
		}
		return nil
	})
	if text := calls(); text != "" {
		t.Errorf("mybr read rules:\n%s", text)
	}
	w.Host.Run("iptables", "-D", "FORWARD", "-j", "MYBR-FORWARD")
	w.Eventually(healWithin, func() error {
		if calls() == "" {
			return fmt.Errorf("mybr read no rules when a jump of its own was deleted")
		}
		return mismatch(t, w)
	})
}

// countCalls has every call of a command of iptables' noted, with its arguments, in a world
// with a Variant; calls returns them.
func countCalls(t *testing.T, w *world.World, command string) (calls func() string) {
	t.Helper()
	path := filepath.Join(filepath.Dir(w.StateDir()), "iptables", command)
	multi, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	list := path + ".calls"
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >> %s\nexec %s %s \"$@\"\n", list, multi, command)
	for _, step := range []func() error{
		func() error { return os.WriteFile(list, nil, 0o644) },
		func() error { return os.WriteFile(path+".new", []byte(script), 0o755) },
		func() error { return os.Rename(path+".new", path) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return func() string {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
}

// cpu is how long mybr and its commands have run (proc(5), stat), in ticks of 10 ms.
func cpu(t *testing.T, w *world.World) (total time.Duration) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.MybrPID()))
	if err != nil {
		t.Fatal(err)
	}
	_, behind, _ := strings.Cut(string(text), ") ")
	for _, field := range strings.Fields(behind)[11:15] { // utime, stime, cutime, cstime
		ticks, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total
}
