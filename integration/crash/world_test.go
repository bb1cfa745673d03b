package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/plugin"
)

// patience bounds what is waited for on a busy machine, where the check that comes every
// 30 s (driver.CheckInterval) may be what mends something.
const patience = 60 * time.Second

// world is a host with mybr on it, a container, and Docker.
type world struct {
	host, container *nettest.Host
	dir             string
	env             []string // of mybr, besides the test's own
	wrap            []string // a command that runs mybr
	firewall        string   // mybr's backend
	saves           []string // the commands that print the packet filter's rules
	private         bool     // mybr has a mount namespace of its own
	docker

	cmd     *exec.Cmd
	orders  io.WriteCloser
	reports *json.Decoder
	ended   chan struct{} // closed when the process has ended
	starts  int           // of processes
	open    int           // requests that were answered and are not known to be over
	leaving int           // 1, 2: links are being destroyed behind an answer, or flows looked for
}

// newWorld is a fresh host with a link to a LAN, on the calling goroutine.
func newWorld(t testing.TB) *world { return newWorldOf(t, usual()) }

// newWorldOf is newWorld with a backend of the firewall.
func newWorldOf(t testing.TB, firewall string) *world {
	w := &world{host: nettest.New(t), dir: t.TempDir(), firewall: firewall, saves: []string{"iptables-save", "ip6tables-save"}}
	w.container = w.host.Peer("container")
	w.host.Run("sh", "-c", "ip link add eth0 type veth peer name lan0 && ip addr add 192.0.2.1/24 dev eth0 && ip link set eth0 up")
	t.Cleanup(w.kill)
	return w
}

// start begins the process, which follows an order from its first point on.
func (w *world) start(first order) error {
	text, err := json.Marshal(first)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append(slices.Clone(w.wrap), self)
	w.cmd = exec.Command(args[0], args[1:]...)
	w.cmd.Env = append(os.Environ(), dirEnv+"="+w.dir, firewallEnv+"="+w.firewall, orderEnv+"="+string(text), "XTABLES_LOCKFILE="+filepath.Join(w.dir, "xtables.lock"))
	w.cmd.Env = append(w.cmd.Env, w.env...)
	log, err := os.OpenFile(w.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	w.cmd.Stderr, w.cmd.Stdout = log, log
	if w.orders, err = w.cmd.StdinPipe(); err != nil {
		return err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	w.cmd.ExtraFiles, w.reports = []*os.File{in}, json.NewDecoder(out)
	w.starts, w.open, w.leaving = w.starts+1, 0, 0
	w.host.In(func() { err = w.cmd.Start() })
	if err != nil {
		return errors.Join(err, out.Close())
	}
	cmd, ended := w.cmd, make(chan struct{})
	w.ended = ended
	go func() {
		_ = cmd.Wait() // a killed process is what is asked for
		out.Close()
		close(ended)
	}()
	return nil
}

func (w *world) logFile() string { return filepath.Join(w.dir, "log") }
func (w *world) stateFile() string {
	file := filepath.Join(w.dir, "state", "mybr.db")
	if w.private {
		file = filepath.Join("/proc", strconv.Itoa(w.cmd.Process.Pid), "root", file)
	}
	return file
}

func (w *world) socket() string { return filepath.Join(w.dir, "plugins", "mybr.sock") }

// restart begins the process and waits until its first check is over.
func (w *world) restart() error {
	_, err := w.restarted()
	return err
}

// restarted is restart, and what the process has passed by then.
func (w *world) restarted() (seen []string, err error) {
	if err := w.start(order{}); err != nil {
		return nil, err
	}
	err = w.until(func() error {
		r, err := w.order(order{})
		seen = append(seen, r.Seen...)
		if err == nil && !slices.Contains(seen, "plugin: after the first check") {
			err = errors.New("the first check is not over")
		}
		return err
	})
	return seen, err
}

// until polls until do returns nil, ever more seldom: what looks at the host takes tens of
// milliseconds, in which mybr and other worlds could go on.
func (w *world) until(do func() error) error {
	pause := 5 * time.Millisecond
	for deadline := time.Now().Add(patience); ; time.Sleep(pause) {
		pause = min(pause*3/2, 200*time.Millisecond)
		err := do()
		select {
		case <-w.ended:
			if err != nil {
				return fmt.Errorf("mybr has ended: %w: %s", err, w.log())
			}
		default:
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// died waits for the process's end.
func (w *world) died() error {
	select {
	case <-w.ended:
		return nil
	case <-time.After(patience):
		return errors.New("mybr does not end: the point was not passed")
	}
}

// kill ends the process, if there is one.
func (w *world) kill() {
	if w.cmd != nil {
		_ = w.cmd.Process.Kill() // it may have ended
		<-w.ended
	}
}

// order has the process do something at a point, and returns what was passed before.
func (w *world) order(o order) (r report, err error) {
	if err = json.NewEncoder(w.orders).Encode(o); err == nil {
		err = w.reports.Decode(&r)
	}
	return r, err
}

// quiet waits until every request is over, with what is done behind its answer, and returns
// the points that were passed since the last order.
func (w *world) quiet() (seen []string, err error) {
	err = w.until(func() error {
		r, err := w.order(order{})
		seen = append(seen, r.Seen...)
		w.note(r)
		if err == nil && w.open+w.leaving > 0 {
			err = fmt.Errorf("%d requests are not over, or something is done behind them: %d", w.open, w.leaving)
		}
		return err
	})
	return seen, err
}

// note counts what is over.
func (w *world) note(r report) {
	for _, point := range r.Seen {
		switch point {
		case "plugin: after the answer":
			w.open--
		case "link: something leaves", "conntrack: something is looked for later", "conntrack: the table leaves", "store: the journal is written back later":
			w.leaving++
		case "link: all has left", "conntrack: what was looked for later is gone", "conntrack: the table has left", "store: after writing the journal back":
			w.leaving--
		}
	}
}

// fired waits until the fault that was ordered has come about, unless all is over without it,
// and ends it.
func (w *world) fired() (times int, err error) {
	err = w.until(func() error {
		r, err := w.order(order{Keep: true})
		w.note(r)
		times += r.Fired
		if err == nil && times == 0 && w.leaving > 0 {
			err = errors.New("nothing has failed, and something is done behind the answer")
		}
		return err
	})
	if err != nil {
		return times, err
	}
	r, err := w.order(order{})
	w.note(r)
	return times + r.Fired, err
}

// log is the end of what mybr has logged.
func (w *world) log() string {
	text, err := os.ReadFile(w.logFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// settled waits until the host has nothing otherwise than is recorded.
func (w *world) settled() error {
	return w.until(func() error {
		diff, err := plugin.Client{RunDir: filepath.Join(w.dir, "run")}.Diff(context.Background())
		w.open++
		if err == nil && len(diff) > 0 {
			err = fmt.Errorf("the host differs from the records: %v", diff)
		}
		return err
	})
}
