package store

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// inUse says that another process has the state file.
type inUse struct{ path, by string }

func (e *inUse) Error() string { return "state file " + e.path + " is in use by " + e.by }

func (e *inUse) Unwrap() error { return model.ErrConflict }

// holder says which process has the file locked, as "process 42 (mybr serve)".
//
// /proc/locks (proc_locks(5)) has a line such as
//
//	1: FLOCK  ADVISORY  WRITE 42 fe:01:131090 0 EOF
//
// for each lock of a process in this PID namespace, with device and inode. Where no
// line has both, the inode has to do: the device of a file system that is a layer
// over another (btrfs, overlay) is not always the one that stat(2) gives.
func holder(path string) string {
	const unknown = "another process"
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return unknown
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return unknown
	}
	inode := fmt.Sprintf(":%d", st.Ino)
	device := fmt.Sprintf("%02x:%02x", unix.Major(st.Dev), unix.Minor(st.Dev))
	for _, suffix := range []string{device + inode, inode} {
		if pid, ok := locker(string(locks), suffix); ok {
			return fmt.Sprintf("process %d (%s)", pid, command(pid))
		}
	}
	return unknown
}

// locker returns the process of the first lock by flock(2) on the file whose
// DEVICE:INODE ends with suffix.
func locker(locks, suffix string) (pid int, ok bool) {
	for line := range strings.Lines(locks) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], suffix) {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && pid > 0 {
			return pid, true
		}
	}
	return 0, false
}

// command returns the command line of a process, or its name if it has none.
func command(pid int) string {
	dir := fmt.Sprintf("/proc/%d/", pid)
	if raw, err := os.ReadFile(dir + "cmdline"); err == nil && len(raw) > 0 {
		return printable(strings.TrimSpace(strings.ReplaceAll(string(raw), "\x00", " ")))
	}
	if raw, err := os.ReadFile(dir + "comm"); err == nil && len(raw) > 0 {
		return printable(strings.TrimSpace(string(raw)))
	}
	return "unknown command"
}

// printable is the beginning of what a process has made of its name, as it can be shown in a
// terminal.
func printable(s string) string {
	const most = 64
	q := strconv.Quote(s[:min(len(s), most)])
	return q[1 : len(q)-1]
}
