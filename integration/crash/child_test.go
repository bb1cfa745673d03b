package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	lab "github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/plugin"
)

// The environment of the process that is to be mybr: its directory, its backend of the
// firewall, and its first order.
const (
	dirEnv      = "MYBR_CRASH_DIR"
	firewallEnv = "MYBR_CRASH_FIREWALL"
	orderEnv    = "MYBR_CRASH_ORDER"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirEnv); dir != "" {
		os.Exit(child(dir))
	}
	lab.Parallel(4)
	os.Exit(m.Run())
}

// order is what is to happen at a point, as JSON; the zero value: nothing.
type order struct {
	Point string
	Nth   int           // passage of the point from now on, from 1
	Errno syscall.Errno // what the point fails with; 0: the process is killed
	Times int           // how many passages fail; 0: all of them from the Nth on
	Keep  bool          // the order that stands goes on, and its count: this only asks for a report
}

// report answers an order: the points that were passed since the last one, in order, and
// how often one was made to fail.
type report struct {
	Seen  []string
	Fired int
}

// hook carries orders out.
type hook struct {
	mu     sync.Mutex
	now    order
	passed int // passages of now.Point since it was ordered
	report
}

func (h *hook) at(point string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Seen = append(h.Seen, point)
	if h.now.Nth == 0 || point != h.now.Point {
		return nil
	}
	h.passed++
	if h.passed < h.now.Nth || h.now.Times > 0 && h.passed >= h.now.Nth+h.now.Times {
		return nil
	}
	if h.now.Errno == 0 {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {} // until the signal comes
	}
	h.Fired++
	return os.NewSyscallError("injected", h.now.Errno)
}

func (h *hook) obey(o order) report {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.report
	h.report = report{}
	if !o.Keep {
		h.now, h.passed = o, 0
	}
	return r
}

// serve obeys the orders that come, until their end.
func (h *hook) serve(orders io.Reader, reports io.Writer) error {
	in, out := json.NewDecoder(orders), json.NewEncoder(reports)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return err
		}
		if err := out.Encode(h.obey(o)); err != nil {
			return err
		}
	}
}

// child is mybr. It ends with the test: its standard input, where orders come from, ends.
func child(dir string) int {
	var first order
	if err := json.Unmarshal([]byte(os.Getenv(orderEnv)), &first); err != nil {
		fmt.Fprintln(os.Stderr, "first order:", err)
		return 2
	}
	h := &hook{now: first}
	fault.Set(h.at)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	go func() {
		fmt.Fprintln(os.Stderr, "no more orders:", h.serve(os.Stdin, os.NewFile(3, "reports")))
		os.Exit(0)
	}()
	log := logrus.New()
	log.SetOutput(os.Stderr)
	err := plugin.Run(ctx, plugin.Config{
		Version: "crash", Name: "mybr", Firewall: os.Getenv(firewallEnv), SysctlRoot: "/proc/sys", Log: log,
		PluginDir: filepath.Join(dir, "plugins"), StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
	})
	if err != nil {
		log.Error(err)
		return 1
	}
	return 0
}

// Who asks for a report does not have the passages counted anew: one that comes between two reports
// would be missed.
func TestKeptOrder(t *testing.T) {
	h := &hook{}
	h.obey(order{Point: "here", Nth: 2, Errno: syscall.EIO, Times: 1})
	if err := h.at("here"); err != nil {
		t.Errorf("the first passage: %v", err)
	}
	if r := h.obey(order{Keep: true}); len(r.Seen) != 1 || r.Fired != 0 {
		t.Errorf("behind the first passage: %+v", r)
	}
	if err := h.at("here"); !errors.Is(err, syscall.EIO) {
		t.Errorf("the second passage: %v", err)
	}
	if r := h.obey(order{}); len(r.Seen) != 1 || r.Fired != 1 {
		t.Errorf("behind the second passage: %+v", r)
	}
	if err := h.at("here"); err != nil {
		t.Errorf("when the order has ended: %v", err)
	}
}
