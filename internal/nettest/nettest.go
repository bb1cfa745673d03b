// Package nettest gives a test its own network namespace, and further namespaces
// beside it that play containers and hosts of the LAN.
//
// New locks the test's goroutine to an OS thread in a fresh namespace for the rest
// of the test; the thread ends with the goroutine (runtime.LockOSThread). Nothing is
// named in /run/netns: a namespace lives as long as a descriptor or a thread holds it,
// so a test that is killed leaves nothing behind.
//
// Be aware: only the calling goroutine and the commands it starts are in the
// namespace. A goroutine begun with `go`, and the function of t.Run, run on threads
// of the process's own namespace: call New in each subtest, and use Host.Go. Code
// that opens sockets in goroutines of its own needs Main and Process.
//
// Be aware: /proc/sys/net shows the namespace of the thread that looks, but /proc/net
// and /proc/self/net show that of the process's first thread; the thread's own is
// /proc/thread-self/net (proc(5)). /sys/class/net shows the namespace of the process that mounted /sys.
package nettest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// mainEnv marks the process that Main has put into its own namespace.
const mainEnv = "MYBR_NETTEST_MAIN"

// mustEnv set to 1, or CI set to true, turns a skip for lack of privileges into a failure.
const mustEnv = "MYBR_NETTEST_MUST"

// The main goroutine keeps the process's first thread, so that no test changes the
// namespace of that thread, which is what /proc/self and /proc/net show.
func init() { runtime.LockOSThread() }

// Host is one network namespace.
type Host struct {
	Name string // how echo servers of this host sign their answers

	t  testing.TB
	ns netns.NsHandle
}

// New makes a namespace with lo up and moves the test's goroutine into it for the
// rest of the test. Without the privilege (CAP_SYS_ADMIN, see network_namespaces(7))
// the test is skipped, or fails where CI=true or MYBR_NETTEST_MUST=1 says it must run.
func New(t testing.TB) *Host {
	t.Helper()
	runtime.LockOSThread()
	if err := unshare(); err != nil {
		runtime.UnlockOSThread()
		missing(t, err)
	}
	return current(t, "host")
}

// Main moves the whole process into a fresh namespace and then runs the tests, for
// packages whose code opens sockets in goroutines of its own. Call it from TestMain;
// the tests call Process. It does not return.
func Main(m *testing.M) {
	if os.Getenv(mainEnv) == "" && unshare() == nil {
		// execve keeps the namespaces of the calling thread and ends all others.
		err := syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), mainEnv+"=1"))
		fmt.Fprintln(os.Stderr, "nettest: run the tests again in a namespace:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// Process is the namespace that Main made: that of every goroutine of the process,
// and shared by all tests of the package. lo is up; when the test ends all other
// links are deleted, but settings and firewall rules stay.
func Process(t testing.TB) *Host {
	t.Helper()
	if os.Getenv(mainEnv) == "" {
		missing(t, errors.New("nettest.Main could not make a namespace, or was not called"))
	}
	h := current(t, "host")
	t.Cleanup(h.sweep)
	return h
}

// Peer makes a further namespace with lo up and no other link; see Connect and Adopt.
func (h *Host) Peer(name string) *Host {
	h.t.Helper()
	back := h.mark()
	defer h.enter(back)
	if err := unshare(); err != nil {
		h.t.Fatalf("namespace for %s: %v", name, err)
	}
	return current(h.t, name)
}

// Fresh runs fn inside a further namespace that is given up when fn returns: for
// properties that want a clean host for each example.
func (h *Host) Fresh(fn func(*Host)) {
	h.t.Helper()
	back := h.mark()
	defer h.enter(back)
	if err := unshare(); err != nil {
		h.t.Fatalf("fresh namespace: %v", err)
	}
	ns, err := netns.Get()
	if err != nil {
		h.t.Fatalf("fresh namespace: %v", err)
	}
	defer ns.Close()
	fresh := &Host{Name: h.Name, t: h.t, ns: ns}
	fresh.loUp()
	fn(fresh)
}

// In runs fn in the host's namespace, on the calling goroutine, so fn may call
// t.Fatal, and returns to the namespace it was called from.
func (h *Host) In(fn func()) {
	h.t.Helper()
	back := h.mark()
	defer h.enter(back)
	if err := netns.Set(h.ns); err != nil {
		h.t.Fatalf("enter namespace of %s: %v", h.Name, err)
	}
	fn()
}

// Go runs fn in the host's namespace on a goroutine and thread of its own. The test
// waits for it before it ends, behind all cleanups that were registered later.
// fn must not call t.Fatal.
func (h *Host) Go(fn func()) {
	h.t.Helper()
	done := make(chan struct{})
	h.t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(h.ns); err != nil {
			h.t.Errorf("enter namespace of %s: %v", h.Name, err)
			return
		}
		fn()
	}()
}

// Parallel sets how many tests of a package run at a time, unless go test was told so
// (-parallel), which else has as many as there are processors. Call it from TestMain. Tests
// with namespaces mostly wait: for the kernel to destroy links, for answers that must not come.
func Parallel(tests int) {
	flag.Parse()
	const name = "test.parallel"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	if err := flag.Set(name, strconv.Itoa(tests)); err != nil {
		panic(err)
	}
}

// Eventually calls fn every few milliseconds until it returns nil, and fails the
// test with its last error when the time is up.
func Eventually(t testing.TB, timeout time.Duration, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still after %v: %v", timeout, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// unshare gives the calling thread a namespace of its own.
func unshare() error { return unix.Unshare(unix.CLONE_NEWNET) }

// missing skips the test, or fails it where skipping is not allowed.
func missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" || os.Getenv(mustEnv) == "1" {
		t.Fatalf("a network namespace is needed: %v", err)
	}
	t.Skipf("a network namespace is needed; run as root or under `unshare -rn`: %v", err)
}

// current returns the namespace of the calling thread as a Host, and brings lo up.
func current(t testing.TB, name string) *Host {
	t.Helper()
	ns, err := netns.Get()
	if err != nil {
		t.Fatalf("namespace of the thread: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	h := &Host{Name: name, t: t, ns: ns}
	h.loUp()
	return h
}

// loUp brings lo up in the calling thread's namespace. New IPv6 addresses are usable
// at once there: duplicates are not looked for, since the test knows all addresses.
func (h *Host) loUp() {
	h.t.Helper()
	for _, links := range []string{"all", "default"} {
		// Absent on a kernel without IPv6, which is fine.
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+links+"/accept_dad", []byte("0"), 0o644)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		h.t.Fatalf("%s: lo up: %v", h.Name, err)
	}
}

// sweep deletes every link but lo. That one can't be deleted is normal: the kernel's
// own devices, such as tunl0, and the second end of a pair.
func (h *Host) sweep() {
	h.In(func() {
		links, err := netlink.LinkList()
		if err != nil {
			h.t.Errorf("%s: list the links: %v", h.Name, err)
		}
		for _, l := range links {
			if l.Attrs().Name != "lo" {
				_ = netlink.LinkDel(l)
			}
		}
	})
}

// mark locks the goroutine to its thread and returns the thread's namespace; enter
// goes back there and undoes the lock.
func (h *Host) mark() netns.NsHandle {
	h.t.Helper()
	runtime.LockOSThread()
	ns, err := netns.Get()
	if err != nil {
		h.t.Fatalf("namespace of the thread: %v", err)
	}
	return ns
}

func (h *Host) enter(back netns.NsHandle) {
	h.t.Helper()
	defer back.Close()
	if err := netns.Set(back); err != nil {
		h.t.Fatalf("leave namespace of %s: %v", h.Name, err) // the thread stays locked, so it ends with the test
	}
	runtime.UnlockOSThread()
}
