package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/doctor"
)

// TestDoctor: on a host where all is well, mybr doctor has nothing to warn of. Then a published
// port is made unreachable in several ways; each time doctor alone says why, and the command
// that it prints has the port answer again. Nothing is healed by mybr itself.
func TestDoctor(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{Driver: "mybr", MybrArgs: []string{"--resync-interval", "0"}})
	w.Docker("network", "create", "--subnet", "172.30.0.0/16", "docker") // first: Docker's rules for it move mybr's, and nothing puts them back
	w.Docker("network", "create", "-d", "mybr", "-o", "com.docker.network.bridge.name=mybr0", "--subnet", "172.18.0.0/16",
		"--ipv6", "--subnet", "fd00:18::/64", "front")
	w.Docker("network", "create", "-d", "mybr", "--internal", "--ipam-driver", "mybr", "inner")
	w.Serve("web", []string{"--net", "front", "-p", "8080:80"}, "tcp:80")
	w.Idle("inside", "--net", "inner")
	w.Idle("beside", "--net", "docker")
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", w.MybrPID()))
	if err != nil {
		t.Fatal(err)
	}
	look := func(flags ...string) doctor.Report {
		t.Helper()
		return examine(t, w, append([]string{program, "doctor", "--state-dir", w.StateDir()}, flags...)...)
	}

	for _, r := range look().Results {
		switch {
		case r.Check == "watching": // it is turned off here
			if r.Verdict != doctor.Warning {
				t.Errorf("%+v", r)
			}
		case r.Verdict != doctor.OK && r.Verdict != doctor.Note:
			t.Errorf("all is well, and %+v", r)
		}
	}
	reached := func() int { return w.LAN.Get("tcp", world.HostAddr+":8080").Code }
	if reached() != report.Answered {
		t.Fatal("the port does not answer")
	}
	for _, fault := range []struct {
		check, seen string
		make        []string
	}{
		{"ip-forward", "net.ipv4.ip_forward is 0", []string{"sysctl", "-w", "net.ipv4.ip_forward=0"}},
		{"docker-user", "DOCKER-USER rule 1 (-d 172.18.0.0/16 -i eth0 -j DROP)", []string{"iptables", "-I", "DOCKER-USER", "-i", "eth0", "-d", "172.18.0.0/16", "-j", "DROP"}},
		{"forward-chain", "FORWARD rule 1 (-i eth0 -o mybr0", []string{"iptables", "-I", "FORWARD", "-i", "eth0", "-o", "mybr0", "-m", "comment", "--comment", "it's \"$HOME\"", "-j", "REJECT"}},
		{"nft-chains", "nft inet strict guard: its policy drops", []string{"nft", "add table inet strict; add chain inet strict guard { type filter hook forward priority 5; policy drop; }"}},
		{"routes", "the route 172.18.0.0/17 by eth0", []string{"ip", "route", "add", "172.18.0.0/17", "dev", "eth0"}},
	} {
		w.Host.Run(fault.make...)
		if reached() == report.Answered {
			t.Errorf("%s: the port answers all the same", fault.check)
		}
		var mend []string
		for _, r := range look().Results {
			switch bad := r.Verdict == doctor.Fault || r.Verdict == doctor.Warning; {
			case r.Check == fault.check:
				mend = r.Mend
				if !bad || !strings.Contains(strings.Join(r.Seen, "\n"), fault.seen) || len(mend) == 0 {
					t.Errorf("want %q seen, have %+v", fault.seen, r)
				}
			case bad && !slices.Contains([]string{"watching", "matches"}, r.Check):
				t.Errorf("%s is the only fault, and %+v", fault.check, r)
			}
		}
		for _, command := range mend {
			w.Host.Run("sh", "-c", command)
		}
		w.Eventually(10*time.Second, func() error {
			if code := reached(); code != report.Answered {
				return fmt.Errorf("%s: the port does not answer after %q", fault.check, mend)
			}
			return nil
		})
		if r := look("--check", fault.check).Results[0]; r.Verdict != doctor.OK {
			t.Errorf("after %q: %+v", mend, r)
		}
	}

	// It is a fault that mybr does not run, and what the host has can be looked at all the same.
	w.StopMybr()
	w.Host.Run("sysctl", "-w", "net.ipv4.ip_forward=0")
	verdicts := map[string]doctor.Verdict{}
	for _, r := range look().Results {
		verdicts[r.Check] = r.Verdict
	}
	if verdicts["running"] != doctor.Fault || verdicts["ip-forward"] != doctor.Fault || verdicts["matches"] != doctor.Unknown || verdicts["forward-chain"] != doctor.OK {
		t.Errorf("without mybr: %v", verdicts)
	}
}

// examine runs mybr doctor, whose exit status must fit what it prints.
func examine(t *testing.T, w *world.World, argv ...string) (r doctor.Report) {
	t.Helper()
	got := w.Host.Try(append(argv, "-o", "json")...)
	if err := json.Unmarshal([]byte(got.Out), &r); err != nil {
		t.Fatalf("%v: %s%s", err, got.Out, got.Err)
	}
	want := 0
	if worst := r.Worst(); worst == doctor.Fault || worst == doctor.Warning {
		want = 1
	}
	if got.Code != want || r.Version != doctor.Version {
		t.Errorf("exit status %d, want %d; version %d: %s", got.Code, want, r.Version, got.Err)
	}
	return r
}
