package world

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	runPrefix  = "mybr-test-"
)

// runName names a test process so that no other process has the same name: by PID,
// start time (field 22 of proc_pid_stat(5), in clock ticks after boot) and PID
// namespace, for control groups are shared with other namespaces.
func runName(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	after := string(b[strings.LastIndexByte(string(b), ')')+1:]) // the name may hold spaces
	fields := strings.Fields(after)
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	suffix, err := pidNamespace()
	return fmt.Sprintf("%s%d-%s%s", runPrefix, pid, fields[19], suffix), err
}

// pidNamespace is this process's as it stands at the end of run names: a dot and the
// inode (namespaces(7)).
func pidNamespace() (string, error) {
	info, err := os.Stat("/proc/self/ns/pid")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(".%d", info.Sys().(*syscall.Stat_t).Ino), nil
}

// sweepDead removes what test processes of this PID namespace left that are no more. Of
// what can't be removed it tells, and leaves it to the next one: the last process of a
// killed run may be just about to end.
func sweepDead() error {
	here, err := pidNamespace()
	if err != nil {
		return err
	}
	left := map[string]bool{}
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), runPrefix+"*"))
	if err != nil {
		return err
	}
	groups, err := cgroups(runPrefix)
	if err != nil {
		return err
	}
	for _, path := range append(dirs, groups...) {
		parts := strings.SplitN(strings.TrimPrefix(filepath.Base(path), runPrefix), "-", 3)
		pid, err := strconv.Atoi(parts[0])
		if err != nil || len(parts) < 2 || !strings.HasSuffix(parts[1], here) {
			continue
		}
		run := runPrefix + parts[0] + "-" + parts[1]
		if alive, err := runName(pid); err != nil || alive != run {
			left[run] = true
		}
	}
	for run := range left {
		if err := sweepWorld(run, filepath.Join(os.TempDir(), run)); err != nil {
			fmt.Fprintf(os.Stderr, "world: sweep after %s: %v\n", run, err)
		}
	}
	return nil
}

// sweepWorld removes a directory and the control groups whose names begin with name.
func sweepWorld(name, dir string) error {
	groups, err := cgroups(name)
	for _, g := range groups {
		err = errors.Join(err, removeGroup(g))
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// cgroups lists the control groups at the top of each hierarchy, version 1 or 2,
// whose names begin with prefix (cgroups(7)).
func cgroups(prefix string) ([]string, error) {
	v2, err := filepath.Glob(filepath.Join(cgroupRoot, prefix+"*"))
	if err != nil {
		return nil, err
	}
	v1, err := filepath.Glob(filepath.Join(cgroupRoot, "*", prefix+"*"))
	return append(v2, v1...), err
}

// removeGroup removes a control group and those below it, the deepest first.
func removeGroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		if rm := os.Remove(dirs[i]); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
	}
	return err
}
