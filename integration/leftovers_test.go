package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/plugin"
)

// rounds makes networks, runs containers in them and removes both, several at once, and
// compares the host with what it was before. With -short it is a tenth.
func rounds(t *testing.T, w *world.World) {
	total, workers := 200, 4
	if testing.Short() {
		total /= 10
	}
	w.Network("n0", "--subnet", "172.18.0.0/16", "-o", bridgeName+"mybr0")
	ipam := []string{}
	if w.Driver == "mybr" {
		ipam = []string{"--ipam-driver", "mybr"}
	}
	round := func(worker int) {
		network := fmt.Sprint("round", worker)
		for _, argv := range [][]string{
			slices.Concat([]string{"network", "create", "-d", w.Driver}, ipam, []string{network}),
			{"run", "--rm", "--net", network, "-p", fmt.Sprint(8000+worker) + ":80", "-p", "80/udp", world.Image, "ping", world.LANAddr},
			{"network", "rm", network},
		} {
			if r := w.DockerTry(argv...); r.Code != 0 {
				t.Errorf("docker %s: exit code %d: %s%s", strings.Join(argv, " "), r.Code, r.Out, r.Err)
			}
		}
	}
	round(0) // what the first one makes once and for all is no leftover
	before, files, routines := footprint(w), descriptors(t, w), goroutines(t, w)
	var calls []func()
	for i := range workers {
		calls = append(calls, func() {
			for range total / workers {
				round(i)
			}
		})
	}
	together(calls...)
	same(t, w, fmt.Sprintf("after %d rounds", total), before)
	// Docker keeps a connection or two open for the next call.
	if got := descriptors(t, w); got > files+workers {
		t.Errorf("mybr has %d open files after %d rounds, had %d after the first", got, total, files)
	}
	w.Eventually(10*time.Second, func() error {
		if got := goroutines(t, w); got > routines {
			return fmt.Errorf("mybr has %d goroutines after %d rounds, had %d after the first", got, total, routines)
		}
		return nil
	})
	if w.Driver == "mybr" {
		leftRecords(t, w)
	}
}

// leftRecords looks for what the records have besides the network n0.
func leftRecords(t *testing.T, w *world.World) {
	t.Helper()
	s := records(t, w)
	defer s.Close()
	err := s.View(func(tx *store.Tx) error {
		if n := tx.Networks(); len(n) != 1 || len(tx.Endpoints()) != 0 {
			t.Errorf("left are networks %+v and endpoints %+v", n, tx.Endpoints())
		}
		for _, p := range tx.Pools() { // their leases go with them
			t.Errorf("left is pool %+v", p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// goroutines asks mybr how many it has.
func goroutines(t *testing.T, w *world.World) int {
	t.Helper()
	if w.Driver != "mybr" {
		return 0
	}
	s, err := plugin.Client{RunDir: w.Path("/run/mybr")}.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Goroutines
}

// descriptors counts mybr's open files.
func descriptors(t *testing.T, w *world.World) int {
	t.Helper()
	if w.Driver != "mybr" {
		return 0
	}
	found, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.MybrPID()))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// footprint lists all that a container could leave: links, rules, listening sockets,
// sandboxes, mybr's files. The journal stays, once there was something to be written in it.
func footprint(w *world.World) (found []string) {
	for _, name := range names(w.Host) {
		found = append(found, "link "+name)
	}
	for _, rule := range rules(w) {
		found = append(found, "rule "+rule)
	}
	for _, line := range w.Host.Senders() {
		found = append(found, "sender "+line)
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		for line := range strings.Lines(w.Host.Run("cat", "/proc/net/"+table)) {
			f := strings.Fields(line) // proc_net(5): 1 is the local address, 3 the state: 0A is LISTEN, 07 an unconnected UDP socket
			if len(f) > 3 && (f[3] == "0A" || f[3] == "07") {
				found = append(found, "socket "+table+" "+f[1])
			}
		}
	}
	mounts := strings.Count(w.Host.Run("cat", "/proc/1/mountinfo"), " - nsfs ")
	found = append(found, fmt.Sprint("sandboxes ", mounts))
	if w.Driver == "mybr" {
		found = append(found, strings.Fields(w.Host.Run("find", w.StateDir(), "/run/mybr", "/run/docker/plugins", "!", "-name", "mybr.db.journal"))...)
	}
	slices.Sort(found)
	return found
}

// same waits until the footprint is as before. The kernel and Docker take a link or a
// sandbox away a moment after they say so.
func same(t *testing.T, w *world.World, when string, before []string) {
	t.Helper()
	w.Eventually(10*time.Second, func() error {
		after := footprint(w)
		came := slices.DeleteFunc(slices.Clone(after), func(s string) bool { return slices.Contains(before, s) })
		gone := slices.DeleteFunc(slices.Clone(before), func(s string) bool { return slices.Contains(after, s) })
		if len(came)+len(gone) > 0 {
			return fmt.Errorf("%s: came %q, gone %q", when, came, gone)
		}
		return nil
	})
}

// cleared waits until nothing of ours is there.
func cleared(t *testing.T, w *world.World) {
	t.Helper()
	w.Eventually(10*time.Second, func() error {
		if left := ours(w); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
}

// ours is the part of the footprint that belongs to the articles' network, to containers or to a
// published port.
func ours(w *world.World) []string {
	return slices.DeleteFunc(footprint(w), func(s string) bool {
		return !strings.Contains(s, "mybr0") && !strings.Contains(s, "172.18.") && !strings.Contains(s, "8088") &&
			!strings.HasPrefix(s, "link veth") && !strings.HasPrefix(s, "sender ") && !strings.HasSuffix(s, ":1F98") // 8088, as proc_net(5) writes it
	})
}
