package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/web"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(code) }))
}

func TestSocketIsPrivateFromTheFirstMoment(t *testing.T) {
	mask := unix.Umask(0)
	defer unix.Umask(mask)
	path := filepath.Join(t.TempDir(), "sub", "dir", "mybr.sock")
	s, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// Nothing but bind has set the file's mode, so it has never been another.
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	s.retire()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there after retiring: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	s, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestWhatCanNotBeListenedOn(t *testing.T) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live.sock")
	s, err := listen(t.Context(), live)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 108-len(dir)-1))
	me := process(os.Getpid())
	if !strings.Contains(me, filepath.Base(os.Args[0])) {
		t.Errorf("this process is %q", me)
	}
	for path, want := range map[string]string{
		live:                     "listen on " + live + ": in use by " + me,
		file:                     "listen on " + file + ": there is a file that is not a socket",
		dir:                      "listen on " + dir + ": there is a file that is not a socket",
		long:                     "listen on " + long + ": the path has 108 bytes: want at most 107",
		filepath.Join(file, "x"): "listen on " + filepath.Join(file, "x") + ": mkdir " + file + ": not a directory",
	} {
		if _, err := listen(t.Context(), path); err == nil || err.Error() != want {
			t.Errorf("%s:\nhave %v\nwant %s", path, err, want)
		}
	}
	if have, _ := os.ReadFile(file); string(have) != "precious" {
		t.Error("the file was touched")
	}
}

// A path of the greatest length works.
func TestLongestPath(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("x", web.LongestPath-len(dir)-1))
	s, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// The socket file that another process has made since stays.
func TestRetireLeavesTheFileOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.sock")
	first, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.retire()
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestOneInstancePerNamespace(t *testing.T) {
	nettest.New(t) // abstract sockets belong to it
	l, err := lockNamespace(t.Context(), t.Errorf)
	if err != nil {
		t.Fatal(err)
	}
	want := "mybr runs in this network namespace already: " + process(os.Getpid())
	for range 200 { // more than the backlog
		if _, err := lockNamespace(t.Context(), t.Errorf); err == nil || err.Error() != want {
			t.Fatalf("have %v\nwant %s", err, want)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = lockNamespace(t.Context(), t.Errorf)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	l.Close()
}

// Any user can bind the name. That must not keep mybr from starting.
func TestLockTakenByAnotherProgram(t *testing.T) {
	take := func(t *testing.T) (fd int) {
		t.Helper()
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			t.Cleanup(func() { unix.Close(fd) })
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: lockName})
		}
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	start := func(t *testing.T) (warning string) {
		t.Helper()
		l, err := lockNamespace(t.Context(), func(format string, args ...any) { warning = fmt.Sprintf(format, args...) })
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			t.Error(err)
		}
		return warning
	}
	t.Run("it does not listen", func(t *testing.T) {
		nettest.New(t)
		take(t)
		if w := start(t); !strings.Contains(w, "@mybr is taken by a process that does not listen there") {
			t.Errorf("warning %q", w)
		}
	})
	t.Run("it is not root's", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("needs root, to become another user")
		}
		nettest.New(t)
		fd := take(t)
		// The kernel notes the user of the listening process (SO_PEERCRED in unix(7)). Only this
		// thread becomes another user: nettest throws it away.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			t.Fatal(errno)
		}
		err := unix.Listen(fd, 1)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0)); errno != 0 || err != nil {
			t.Fatal(errno, err)
		}
		if w := start(t); !strings.Contains(w, "which is not root's") {
			t.Errorf("warning %q", w)
		}
	})
}

// Connections made before the socket retires are served; later ones find no file; calls
// that are under way are finished.
func TestStopping(t *testing.T) {
	log, _ := newLog()
	path := filepath.Join(t.TempDir(), "mybr.sock")
	s, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	began, finish := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	h := &handler{ready: closed(), stopping: make(chan struct{}), log: log, calls: map[string]call{
		"/slow": action(func(context.Context, *struct{}) error {
			close(began)
			<-finish
			return nil
		}),
		"/fast": action(func(context.Context, *struct{}) error { calls.Add(1); return nil }),
	}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveUntil(ctx, log, service{s, h}) }()

	slow := make(chan error, 1)
	go func() { slow <- unixPost(path, "/slow", "{}") }()
	<-began

	const many = 50
	fast := make(chan error, many)
	go stop()
	for range many {
		go func() { fast <- unixPost(path, "/fast", "{}") }()
	}
	served := 0
	for range many {
		switch err := <-fast; {
		case err == nil:
			served++
		case errors.Is(err, os.ErrNotExist): // Docker dials again
		default:
			t.Errorf("a call broke: %v", err)
		}
	}
	if int(calls.Load()) != served {
		t.Errorf("%d calls carried out, %d answered", calls.Load(), served)
	}
	select {
	case err := <-ended:
		t.Fatalf("ended with a call under way: %v", err)
	default:
	}
	close(finish)
	if err := <-slow; err != nil {
		t.Errorf("the call that was under way: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// unixPost makes a call on a connection of its own.
func unixPost(path, call, body string) error {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	client := http.Client{Transport: transport, Timeout: testWithin}
	resp, err := client.Post("http://mybr"+call, "", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %s", resp.StatusCode, text)
	}
	return err
}

// A client that sends nothing, or half a request, does not delay the end of the process
// for long.
func TestIdleClientsDoNotDelayTheEnd(t *testing.T) {
	log, _ := newLog()
	path := filepath.Join(t.TempDir(), "mybr.sock")
	s, err := listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	h := &handler{ready: closed(), stopping: make(chan struct{}), log: log, calls: map[string]call{
		"/x": action(func(context.Context, *struct{}) error { return nil }),
	}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveUntil(ctx, log, service{s, h}) }()
	silent, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := unixPost(path, "/x", "{}"); err != nil {
		t.Fatal(err)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(drainWithin + testWithin):
		t.Error("not ended")
	}
}
