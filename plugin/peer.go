package plugin

import (
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// holder names the process that listens behind conn, such as `pid 123 (mybr serve)`, and
// reports whether it is root's. The kernel keeps the process that called listen (unix(7),
// SO_PEERCRED). A process of another PID namespace has no number here.
func holder(conn *net.UnixConn) (name string, root bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "an unknown process", true
	}
	var cred *unix.Ucred
	var errCred error
	err = raw.Control(func(fd uintptr) {
		cred, errCred = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	switch {
	case err != nil || errCred != nil:
		return "an unknown process", true
	case cred.Pid == 0:
		return "a process of another PID namespace", cred.Uid == 0
	}
	return process(int(cred.Pid)), cred.Uid == 0
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
