package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/rebuild"
)

// TestRecordsAreLost takes mybr's records away while containers run and mybr is down. Two
// networks have containers: n0 under traffic, and n1 with addresses of mybr's IPAM driver.
func TestRecordsAreLost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, fault string
		lose        func(t *testing.T, state, copied string)
		rebuilt     bool // of what the kernel shows
	}{
		{"deleted", "the state file is deleted, and mybr killed", func(t *testing.T, state, _ string) { remove(t, state) }, false},
		{"damaged", "the state file is overwritten with garbage, and mybr killed", func(t *testing.T, state, _ string) {
			if err := os.WriteFile(state, []byte(strings.Repeat("garbage.", 8192)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"both", "the state file and its copy are deleted, and mybr killed", func(t *testing.T, state, copied string) { remove(t, state); remove(t, copied) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := underTraffic(t, world.Config{})
			u.w.Network("n1", "--ipam-driver", "mybr", "--subnet", "10.77.0.0/24")
			u.w.Idle("first", "--net", "n1")
			before := snapshot(t, u.w)
			state, copied := filepath.Join(u.w.StateDir(), "mybr.db"), u.w.Path("/run/mybr/records.db")
			u.fault(test.fault, func() {
				u.w.KillMybr()
				test.lose(t, state, copied)
				u.w.StartMybr()
			})
			after := snapshot(t, u.w)
			if test.rebuilt {
				before = shown(before)
			}
			if !reflect.DeepEqual(after, before) {
				t.Errorf("have %+v\nwant %+v", after, before)
			}
			if log := u.w.Log(); !strings.Contains(log, "records were lost") {
				t.Error("the log does not say that records were lost")
			}
			goesOn(u)
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// shown is what the kernel shows of a snapshot: neither sandboxes nor engines.
func shown(s model.Snapshot) model.Snapshot {
	s.Networks = slices.Clone(s.Networks)
	for i := range s.Networks {
		s.Networks[i].Engine = ""
	}
	s.Endpoints = slices.Clone(s.Endpoints)
	for i, e := range s.Endpoints {
		lost := *e
		lost.Sandbox = rebuild.SandboxPrefix + e.ID
		s.Endpoints[i] = &lost
	}
	return s
}

// goesOn does with the networks what Docker's users do: more containers, a start of Docker,
// an end to all. Nothing is left.
func goesOn(u *under) {
	t, w := u.t, u.w
	t.Helper()
	w.Serve("late", []string{"--net", "n0", "-p", "8090:80"}, "tcp:80")
	answered(t, "a port published since", w.LAN.Get("tcp", world.HostAddr+":8090"))
	w.Idle("second", "--net", "n1")
	if a, b := w.Addr("first", "n1"), w.Addr("second", "n1"); a == b {
		t.Errorf("two containers have the address %s", a)
	}
	w.Docker("rm", "-f", "web", "late", "first", "second")
	if s := snapshot(t, w); len(s.Endpoints) > 0 {
		t.Errorf("left are endpoints %+v", s.Endpoints)
	}
	w.RestartDocker() // which repeats what it asked of the IPAM driver
	w.Idle("third", "--net", "n1")
	w.Docker("rm", "-f", "third")
	w.Docker("network", "rm", "n0", "n1")
	if s := snapshot(t, w); len(s.Networks) > 0 {
		t.Errorf("left are networks %+v", s.Networks)
	}
	u.matches()
	w.Eventually(10*time.Second, func() error {
		for _, name := range names(w.Host) {
			if name == "mybr0" || strings.HasPrefix(name, "veth") {
				return fmt.Errorf("left is link %s", name)
			}
		}
		return nil
	})
	w.Network("n0", "--subnet", "172.18.0.0/16", "-o", fmt.Sprint(bridgeName, "mybr0"))
	w.Network("n1", "--ipam-driver", "mybr", "--subnet", "10.77.0.0/24")
}
