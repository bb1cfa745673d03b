package crash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/reliability"
)

// small has mybr run with its state on a file system of a few pages, which goes with it.
func (w *world) small() {
	w.wrap = []string{"unshare", "-m", "--propagation", "private", "sh", "-c",
		`mkdir -p "$0" && mount -t tmpfs -o size=256k state "$0" && exec "$@"`, filepath.Join(w.dir, "state")}
	w.private = true
}

// mounted runs a command in the mount namespace of mybr.
func (w *world) mounted(command ...string) (string, error) {
	return w.host.Try("nsenter", slices.Concat([]string{"-t", strconv.Itoa(w.cmd.Process.Pid), "-m", "--"}, command)...)
}

// fill leaves no room on the file system of the state; empty makes room again.
func (w *world) fill(t *testing.T) (empty func()) {
	t.Helper()
	ballast := filepath.Join(w.dir, "state", "ballast")
	// dd fails, as it must, when there is no room left.
	if out, err := w.mounted("dd", "if=/dev/zero", "of="+ballast, "bs=4k"); err == nil || !strings.Contains(err.Error(), unix.ENOSPC.Error()) && !strings.Contains(err.Error(), "No space left") {
		t.Fatalf("the disk is not full: %s %v", out, err)
	}
	return func() {
		if _, err := w.mounted("rm", ballast); err != nil {
			t.Fatal(err)
		}
	}
}

// While the disk is full, what is asked for is done or refused with the reason, and what is
// refused has changed nothing. When there is room again, all goes on without a restart, and
// what Docker has removed meanwhile goes.
func TestFullDisk(t *testing.T) {
	reliability.Try(t, "the disk of the state file is full, and has room again", func() time.Duration {
		w := newWorld(t)
		w.small()
		err := w.restart()
		if err == nil {
			err = errors.Join(w.createNetwork(), w.run())
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, w.log())
		}
		empty := w.fill(t)
		pools := w.exhaust(t)
		w.stop()
		t.Logf("%d pools had room, %d removals could not be recorded", len(pools), len(w.lost))
		w.lost = nil // Docker does not ask again
		empty()
		if err := w.until(func() error { return w.free(t) }); err != nil {
			t.Fatalf("there is room again, but %v\n%s", err, w.log())
		}
		if err := w.run(); err != nil {
			t.Fatalf("%v\n%s", err, w.log())
		}
		w.stop()
		w.removeNetwork()
		for _, pool := range pools {
			w.remove("IpamDriver.ReleasePool", object{"PoolID": pool})
		}
		if left := append(w.records(t), w.networkRules(t)...); len(left) > 0 || len(w.lost) > 0 {
			t.Errorf("left: %v, refused: %v", left, w.lost)
		}
		return 0
	})
}

// exhaust makes pools until one is refused, and what else needs room. What is refused says
// why, and has changed nothing.
func (w *world) exhaust(t *testing.T) (pools []string) {
	t.Helper()
	refused := func(what string, err error, before []string) {
		t.Helper()
		if !strings.Contains(err.Error(), unix.ENOSPC.Error()) || !strings.Contains(err.Error(), "state file") {
			t.Errorf("%s: refused without the reason: %v", what, err)
		}
		if err := w.settled(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if d := differ(w.picture(t), before); d != "" {
			t.Errorf("%s is refused (%v), and yet changed:%s", what, err, d)
		}
	}
	// The state file has free pages at first; then it must grow.
	for i := range 1000 {
		before := w.picture(t)
		pool, err := w.call("IpamDriver.RequestPool", object{"AddressSpace": "mybr-local", "Pool": fmt.Sprintf("10.%d.%d.0/24", 80+i/256, i%256), "Options": object{}})
		if err != nil {
			refused("RequestPool", err, before)
			break
		}
		pools = append(pools, pool["PoolID"].(string))
	}
	if len(pools) == 1000 {
		t.Fatal("the state file does not grow")
	}
	second := endpoint{id: w.id()}
	for _, c := range w.creations(second) {
		before := w.picture(t)
		if _, err := w.call(c.name, c.body); err != nil {
			refused(c.name, err, before)
		}
	}
	w.remove("NetworkDriver.DeleteEndpoint", w.ofEndpoint(second))
	return pools
}

// creations are calls that need room: a second endpoint and a second network.
func (w *world) creations(e endpoint) []call {
	create := w.ofEndpoint(e)
	create["Interface"] = object{"Address": "10.77.0.9/24", "AddressIPv6": "fd77::9/64", "MacAddress": "02:42:00:00:09:09"}
	create["Options"] = object{}
	return []call{
		{"NetworkDriver.CreateEndpoint", create},
		{"NetworkDriver.CreateNetwork", object{"NetworkID": w.id(), "Options": object{},
			"IPv4Data": []object{{"AddressSpace": "other", "Pool": "10.79.0.0/24", "Gateway": "10.79.0.1/24"}}}},
	}
}

// free is an error while an endpoint that Docker has removed is still there.
func (w *world) free(t *testing.T) error {
	for _, line := range w.records(t) {
		if strings.HasPrefix(line, "endpoint ") {
			return fmt.Errorf("there is %s", line)
		}
	}
	return w.settled()
}

// networkRules are those that there are for networks.
func (w *world) networkRules(t *testing.T) (lines []string) {
	return slices.DeleteFunc(w.picture(t), func(line string) bool {
		mybrs := strings.HasPrefix(line, "nft ") || strings.Contains(line, "MYBR-ISOLATE")
		return !isRule(line) || !mybrs || isLast(line)
	})
}

// On a file system that is read-only mybr does not start, and says why.
func TestReadOnlyDisk(t *testing.T) {
	reliability.Try(t, "the disk of the state file is read-only when mybr starts, and can be written again", func() time.Duration {
		w := newWorld(t)
		if err := os.MkdirAll(filepath.Join(w.dir, "state"), 0o700); err != nil {
			t.Fatal(err)
		}
		// It starts once, so that there is a state file.
		if err := w.restart(); err != nil {
			t.Fatal(err)
		}
		w.kill()
		w.wrap = []string{"unshare", "-m", "--propagation", "private", "sh", "-c",
			`mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"`, filepath.Join(w.dir, "state")}
		if err := errors.Join(w.start(order{}), w.died()); err != nil {
			t.Fatal(err)
		}
		if log := w.log(); !strings.Contains(log, "open state file "+filepath.Join(w.dir, "state", "mybr.db")) || !strings.Contains(log, unix.EROFS.Error()) {
			t.Errorf("it does not say why it ended: %s", log)
		}
		w.wrap = nil
		if err := w.restart(); err != nil {
			t.Error(err)
		}
		return 0
	})
}
