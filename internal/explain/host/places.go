package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// errEnded is of a namespace that is no more.
var errEnded = errors.New("the namespace has ended")

// inode tells namespaces apart (network_namespaces(7)).
func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// open opens the namespace, by whichever of its files is still there and still its own: the
// number of a process that has ended is given to another one.
func (p Place) open() (*os.File, error) {
	if p.Path == "" {
		return os.Open("/proc/thread-self/ns/net")
	}
	var failed error
	for _, path := range append([]string{p.Path}, p.others...) {
		ns, err := os.Open(path)
		if err != nil {
			if !ended(path, err) {
				failed = err
			}
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(ns.Fd()), &st); err == nil && (p.inode == 0 || st.Ino == p.inode) {
			return ns, nil
		}
		ns.Close()
	}
	if failed == nil {
		failed = fmt.Errorf("%s: %w", p.Path, errEnded)
	}
	return nil, failed
}

// ended reports whether a file of a namespace could not be opened because that, or the process,
// has ended. Of a process that ends just then the kernel says that it may not be looked at
// (proc_ns_get_link), and of one that nobody has waited for that it has no namespace.
func ended(path string, err error) bool {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return true
	}
	dir, ok := strings.CutSuffix(path, "/ns/net")
	if !ok || !errors.Is(err, fs.ErrPermission) {
		return false
	}
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
	}
	// PID (NAME) STATE …: Z and X are of processes that have ended (proc(5)).
	i := bytes.LastIndexByte(stat, ')')
	return i >= 0 && i+2 < len(stat) && (stat[i+2] == 'Z' || stat[i+2] == 'X')
}

// Namespaces finds every network namespace that has a process or is kept by Docker or
// ip-netns(8), but for the caller's own. named gives the name of one that is known by its
// file; others are named after a process.
func Namespaces(named map[string]string) ([]Place, error) {
	own, err := inode("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	at := map[uint64]int{} // in all
	var all []Place
	add := func(path, name string, spare bool) {
		n, err := inode(path)
		if err != nil || n == own { // one that has just ended
			return
		}
		if i, ok := at[n]; ok {
			all[i].others = append(all[i].others, path)
			return
		}
		at[n] = len(all)
		all = append(all, Place{Name: name, Path: path, spare: spare, inode: n})
	}
	for path, name := range named {
		add(path, name, false)
	}
	for _, dir := range []string{"/run/docker/netns", "/run/netns"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		for _, e := range entries {
			if e.Type()&fs.ModeDir == 0 {
				add(filepath.Join(dir, e.Name()), "namespace "+e.Name(), true)
			}
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range processes {
		name, _ := os.ReadFile(dir + "/comm") // a process that has ended has none, and no namespace
		add(dir+"/ns/net", fmt.Sprintf("pid %s (%s)", filepath.Base(dir), strings.TrimSpace(string(name))), true)
	}
	return all, nil
}
