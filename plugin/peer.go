package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// holder names the process that listens behind conn, such as `pid 123 (mybr serve)`, and
// reports whether it is root's. The kernel keeps the process that called listen (unix(7),
// SO_PEERCRED). A process of another PID namespace has no number here.
func holder(conn *net.UnixConn) (name string, root bool) {
	cred, err := peer(conn)
	switch {
	case err != nil:
		return "an unknown process", true
	case cred.Pid == 0:
		return "a process of another PID namespace", cred.Uid == 0
	}
	return process(int(cred.Pid)), cred.Uid == 0
}

// peer returns the credentials of the process at the other end: of a client the one that
// connected, of a server the one that listens. Pid is 0 if that is in another PID namespace.
func peer(conn syscall.Conn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var errCred error
	err = raw.Control(func(fd uintptr) {
		cred, errCred = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, errCred)
}

// caller names the process that a request comes from, as driver.WithEngine wants it: by its
// number and when it began. "" if that can't be known, as of a process of another PID
// namespace.
func caller(request context.Context) string {
	conn, ok := request.Value(connKey{}).(syscall.Conn)
	if !ok {
		return ""
	}
	cred, err := peer(conn)
	if err != nil || cred.Pid == 0 {
		return ""
	}
	began, err := began(int(cred.Pid))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d@%d", cred.Pid, began)
}

// lives reports whether a process that caller named still runs.
func lives(name string) bool {
	var pid int
	var at uint64
	if n, _ := fmt.Sscanf(name, "%d@%d", &pid, &at); n != 2 {
		return false
	}
	now, err := began(pid)
	return err == nil && now == at
}

// began is when a process began, in clock ticks after the host was booted: field 22 of
// proc_pid_stat(5). The second field, in brackets, may have brackets and blanks in it.
func began(pid int) (ticks uint64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields behind the name, want 20", pid, len(fields))
	}
	if fields[0] == "Z" {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// process names a process by its number and, if that can be read, its command.
func process(pid int) string {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	command := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
	if err != nil || command == "" {
		return fmt.Sprintf("pid %d", pid)
	}
	return fmt.Sprintf("pid %d (%s)", pid, Printable(shorten(command)))
}
