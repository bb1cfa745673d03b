package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func stateChecks() []Check {
	return []Check{
		{Name: "clock", look: lookClock,
			Sees:  "whether the clock is behind the records",
			Means: "The clock was set back, or has never been set: addresses that were released rest longer than they should, certificates fail in containers.",
			Mends: "has the clock set by the network"},
		{Name: "state-file", look: lookStateFile,
			Sees:  "whether the state file is there",
			Means: "It was deleted while mybr ran: at the next start its records come from the copy, but not after a reboot.",
			Mends: "restarts mybr, which takes its records from the copy"},
		{Name: "state-mode", look: lookStateMode,
			Sees:  "who may read and write the state directory and the state file",
			Means: "Other users can read which container has which address, or change what mybr does as root.",
			Mends: "leaves them to root alone"},
		{Name: "state-space", look: lookStateSpace,
			Sees:  "how much room the state directory's file system has",
			Means: "Without room nothing can be recorded, and so no container started.",
			Mends: "removes old journals, or images without a name, where they are on the same file system"},
		{Name: "state-writable", look: lookStateWritable,
			Sees:  "whether the state directory's file system is mounted read-only, as after an error of the disk",
			Means: "Nothing can be recorded, and so no container started.",
			Mends: "mounts it writable; look at `dmesg` for why it was not"},
		{Name: "state-copy", look: lookStateCopy,
			Sees:  "whether the copy of the records is in the run directory",
			Means: "If the state file is lost, records are lost that links don't show.",
			Mends: "restarts mybr, which makes the copy anew"},
	}
}

func (l *look) stateFile() string { return filepath.Join(l.StateDir, "mybr.db") }

// skew is how far files may be ahead of the clock: file systems of other hosts are, a little.
const skew = time.Minute

func lookClock(l *look) {
	info, err := l.stat(l.stateFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.saw("there are no records yet")
	case err != nil:
		l.unknown(err)
	case info.ModTime().Sub(l.Now()) > skew:
		l.found(Warning, command("timedatectl", "set-ntp", "true"), "the clock is %s behind the last record", info.ModTime().Sub(l.Now()).Round(time.Second))
	default:
		l.saw("the last record is %s old", l.Now().Sub(info.ModTime()).Round(time.Second))
	}
}

func lookStateFile(l *look) {
	p, ok := l.needs()
	if !ok {
		return
	}
	switch info, err := l.stat(l.stateFile()); {
	case errors.Is(err, fs.ErrNotExist):
		l.found(Fault, l.restart(p), "%s is gone, and mybr runs", l.stateFile())
	case err != nil:
		l.unknown(err)
	default:
		l.saw("%s has %d bytes", l.stateFile(), info.Size())
	}
}

func lookStateMode(l *look) {
	for _, path := range []string{l.StateDir, l.stateFile()} {
		info, err := l.stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			l.unknown(err)
			continue
		}
		if info.Mode().Perm()&0o077 != 0 {
			l.found(Warning, command("chmod", "go=", path), "%s has mode %#o", path, info.Mode().Perm())
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			l.found(Warning, command("chown", "root:root", path), "%s belongs to user %d", path, st.Uid)
		}
	}
	if len(l.Seen) == 0 {
		l.saw("%s is root's alone", l.StateDir)
	}
}

// little and least are when room runs out: the state file of a busy host has some megabytes,
// and grows by as much again at once (bbolt).
const (
	little = 64 << 20
	least  = 8 << 20
)

func lookStateSpace(l *look) {
	var s unix.Statfs_t
	if err := unix.Statfs(l.path(l.StateDir), &s); errors.Is(err, fs.ErrNotExist) {
		l.saw("there is no %s yet", l.StateDir)
		return
	} else if err != nil {
		l.unknown(fmt.Errorf("%s: %w", l.StateDir, err))
		return
	}
	free := s.Bavail * uint64(s.Bsize)
	verdict := OK
	switch {
	case free < least || s.Files > 0 && s.Ffree == 0:
		verdict = Fault
	case free < little:
		verdict = Warning
	}
	var mend []string
	if verdict != OK {
		mend = l.makeRoom()
	}
	l.found(verdict, mend, "%d MiB and %d files are free at %s", free>>20, s.Ffree, l.StateDir)
}

// makeRoom is what frees space on the file system of the state directory.
func (l *look) makeRoom() (mend []string) {
	var own unix.Stat_t
	if unix.Stat(l.path(l.StateDir), &own) != nil {
		return nil
	}
	for _, other := range []struct {
		dir  string
		mend []string
	}{
		{"/var/log/journal", command("journalctl", "--vacuum-size=50M")},
		{"/var/lib/docker", command("docker", "image", "prune", "-f")},
	} {
		var st unix.Stat_t
		if unix.Stat(l.path(other.dir), &st) == nil && st.Dev == own.Dev {
			mend = append(mend, other.mend...)
		}
	}
	return mend
}

func lookStateWritable(l *look) {
	var s unix.Statfs_t
	if err := unix.Statfs(l.path(l.StateDir), &s); errors.Is(err, fs.ErrNotExist) {
		l.saw("there is no %s yet", l.StateDir)
		return
	} else if err != nil {
		l.unknown(fmt.Errorf("%s: %w", l.StateDir, err))
		return
	}
	if s.Flags&unix.ST_RDONLY == 0 {
		l.saw("%s is writable", l.StateDir)
		return
	}
	mount, err := l.mountOf(l.StateDir)
	if err != nil {
		l.unknown(err)
		return
	}
	l.found(Fault, command("mount", "-o", "remount,rw", mount), "%s is on a file system that is mounted read-only at %s", l.StateDir, mount)
}

// mountOf is where the file system of a path is mounted.
func (l *look) mountOf(path string) (mount string, err error) {
	text, err := l.read("/proc/thread-self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		at := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(f[4]) // proc_pid_mountinfo(5)
		if in := at == "/" || path == at || strings.HasPrefix(path, at+"/"); in && len(at) >= len(mount) {
			mount = at
		}
	}
	if mount == "" {
		return "", fmt.Errorf("%s is on no file system of mountinfo", path)
	}
	return mount, nil
}

func lookStateCopy(l *look) {
	p, ok := l.needs()
	if !ok {
		return
	}
	path := filepath.Join(l.RunDir, "records.db")
	switch info, err := l.stat(path); {
	case errors.Is(err, os.ErrNotExist):
		l.found(Warning, l.restart(p), "%s is gone", path)
	case err != nil:
		l.unknown(err)
	default:
		l.saw("%s has %d bytes", path, info.Size())
	}
}
