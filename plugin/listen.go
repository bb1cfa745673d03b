package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/web"
)

// backlogWithin is how long connections are still taken that were made before the socket's
// file went: many times what accepting a full backlog takes.
const backlogWithin = 50 * time.Millisecond

// The names of the two sockets, as FileDescriptorName of a systemd socket unit.
const (
	pluginSocket = "plugin"
	adminSocket  = "admin"
)

// socket is one listening unix socket.
type socket struct {
	*net.UnixListener
	path string
	file os.FileInfo // of the socket file that this process made; nil: systemd's
}

// access is who may connect to a socket.
type access struct {
	mode  uint32 // of its file
	group int    // that its file belongs to, beside root
}

// private is access for the process's own user.
func private() access { return access{mode: 0o600, group: os.Getegid()} }

// listen binds a socket at path with mode 0600.
func listen(ctx context.Context, path string) (*socket, error) {
	return listenFor(ctx, path, private())
}

// listenFor binds a socket at path. A file that a dead process left there is replaced; a
// socket that answers is an error that names the process that listens.
func listenFor(ctx context.Context, path string, a access) (*socket, error) {
	if len(path) > web.LongestPath {
		return nil, fmt.Errorf("listen on %s: the path has %d bytes: want at most %d", path, len(path), web.LongestPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := clearStale(ctx, path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// The kernel gives the file the mode of the socket's own inode, so no process can
	// connect between bind and a later chmod (unix_bind in net/unix/af_unix.c).
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var errMode error
		err := c.Control(func(fd uintptr) { errMode = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, errMode)
	}}
	ln, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err // says listen, path and cause
	}
	s := &socket{UnixListener: ln.(*net.UnixListener), path: path}
	s.SetUnlinkOnClose(false) // by then the file may be another process's
	if err = a.extend(path); err == nil {
		s.file, err = os.Lstat(path)
	}
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	return s, nil
}

// extend gives a socket's file to its group. Until then it was root's alone, since a umask
// and the group of the process count when it is made.
func (a access) extend(path string) error {
	if a == private() {
		return nil
	}
	return errors.Join(os.Lchown(path, -1, a.group), os.Chmod(path, os.FileMode(a.mode)))
}

// clearStale removes a socket file on which no process listens.
func clearStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("there is a file that is not a socket")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		defer conn.Close()
		process, _ := holder(conn.(*net.UnixConn))
		return fmt.Errorf("in use by %s", process)
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	default:
		return err
	}
}

// retire takes the socket out of use: its file goes, connections that are in its queue
// are still accepted, then Accept reports net.ErrClosed. Docker dials again when there is
// no file, but sends an empty request when a connection breaks.
func (s *socket) retire() {
	if s.file != nil {
		if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.file) {
			_ = os.Remove(s.path) // it is stale from here on anyway
		}
	}
	_ = s.SetDeadline(time.Now().Add(backlogWithin)) // fails on a closed socket only
}

// Accept waits for the next connection.
func (s *socket) Accept() (net.Conn, error) {
	conn, err := s.UnixListener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, net.ErrClosed // otherwise http.Server goes on
	}
	return conn, err
}

// inherited returns the sockets that systemd passed to this process
// (sd_listen_fds(3)), by name. Each is told by its FileDescriptorName, or by
// the path that paths has for a name. None passed: an empty map.
func inherited(paths map[string]string) (map[string]*socket, error) {
	sockets := make(map[string]*socket)
	var errs []error
	for _, f := range activation.Files(true) {
		s, err := inherit(f)
		if err == nil {
			err = place(sockets, f.Name(), s, paths)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		for _, s := range sockets {
			s.Close()
		}
		return nil, fmt.Errorf("socket activation: %w", err)
	}
	return sockets, nil
}

// inherit makes a socket of a file descriptor, which it takes over.
func inherit(f *os.File) (*socket, error) {
	defer f.Close()
	ln, err := net.FileListener(f) // its own duplicate
	if err != nil {
		return nil, fmt.Errorf("%s is no listening socket: %w", f.Name(), err)
	}
	u, ok := ln.(*net.UnixListener)
	if !ok {
		ln.Close()
		return nil, fmt.Errorf("%s listens on %s: want a unix socket", f.Name(), ln.Addr())
	}
	u.SetUnlinkOnClose(false) // systemd's
	return &socket{UnixListener: u, path: u.Addr().String()}, nil
}

// place puts s among sockets under the name that it has or whose path it has.
func place(sockets map[string]*socket, name string, s *socket, paths map[string]string) error {
	if _, ok := paths[name]; !ok {
		given := name
		name = ""
		for n, path := range paths {
			if filepath.Clean(s.path) == filepath.Clean(path) {
				name = n
			}
		}
		if name == "" {
			s.Close()
			names := slices.Sorted(maps.Keys(paths))
			slices.Reverse(names)
			return fmt.Errorf("don't know what the socket %s (%s) is for: set FileDescriptorName to %s",
				s.path, given, strings.Join(names, " or "))
		}
	}
	if sockets[name] != nil {
		s.Close()
		return fmt.Errorf("two sockets for %s: %s and %s", name, sockets[name].path, s.path)
	}
	sockets[name] = s
	return nil
}
