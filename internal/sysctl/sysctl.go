// Package sysctl holds kernel settings at the values that mybr needs.
//
// Be aware: settings are only ever written, never put back: other programs may
// have come to rely on them.
package sysctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Set maps a path below /proc/sys, such as "net/ipv4/ip_forward", to its value.
// Paths are separated by slashes and not, as sysctl(8) also has it, by dots: an
// interface's name may contain dots, but never a slash.
type Set map[string]string

// defaultRoot is where the settings are; those below net are those of the calling
// thread's network namespace (proc_sys_net(5)).
const defaultRoot = "/proc/sys"

// Applier writes settings. It holds no state.
type Applier struct {
	// Root is the directory that the paths of a Set are below; "" is /proc/sys.
	// A managed plugin's own /proc/sys is read-only: it mounts the host's elsewhere.
	Root string
	// Before is told of each value that is about to be changed, and to what. It may be nil.
	Before func(path, want string)
	// Info is told of each value that was changed, such as
	// "net/ipv4/ip_forward: 0 -> 1". It may be nil.
	Info func(format string, args ...any)
}

// Apply makes every setting of want have its value; those that have says are right are
// not looked at. What has its value already is not written, so that this succeeds where
// nothing can be written. A setting of an interface that is gone is passed over. The
// error joins one for each setting that could not be made right.
func (a *Applier) Apply(ctx context.Context, have *Set, want Set) error {
	var errs []error
	for _, path := range inOrder(want) {
		value := want[path]
		if have != nil {
			if had, ok := (*have)[path]; ok && had == value {
				continue
			}
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := a.set(path, value); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// inOrder returns the paths sorted such that those for all interfaces come first, then
// those for interfaces to come: writing the former (ip_forward, conf/all/forwarding)
// overwrites the latter and those of each interface (ip-sysctl.rst).
func inOrder(s Set) []string {
	rank := func(path string) int {
		switch _, iface := ifaceDir(path); iface {
		case "":
			return 0
		case "all":
			return 1
		case "default":
			return 2
		}
		return 3
	}
	return slices.SortedFunc(maps.Keys(s), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	})
}

// set reads one setting and writes it if it is another.
func (a *Applier) set(path, want string) error {
	if !filepath.IsLocal(path) {
		return fmt.Errorf("setting %q is not a path below %s", path, a.root())
	}
	have, err := a.Get(path)
	if errors.Is(err, fs.ErrNotExist) && a.ifaceGone(path) {
		return nil
	}
	if err != nil || have == normal(want) {
		return err
	}
	if a.Before != nil {
		a.Before(path, normal(want))
	}
	err = write(filepath.Join(a.root(), path), want)
	switch {
	case errors.Is(err, fs.ErrNotExist) && a.ifaceGone(path):
		return nil
	case err != nil:
		return fmt.Errorf("%s is %s and can't be written: %w; set it on the host with `sysctl -w %s=%s`",
			path, have, cause(err), path, shown(want))
	}
	if a.Info != nil {
		a.Info("%s: %s -> %s", path, have, normal(want))
	}
	return nil
}

// Get returns the value of a setting.
func (a *Applier) Get(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(a.root(), path))
	if err != nil {
		return "", fmt.Errorf("read setting %s: %w", path, cause(err))
	}
	return normal(string(b)), nil
}

// write writes a value with one write(2), which is what the kernel takes for a value,
// and makes no file: where /proc/sys is not what is mounted there, it must fail.
func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func (a *Applier) root() string {
	if a.Root == "" {
		return defaultRoot
	}
	return a.Root
}

// ifaceGone reports whether the path is a setting of one interface that has none, for
// want of the interface or, for all of them, of its address family.
func (a *Applier) ifaceGone(path string) bool {
	dir, iface := ifaceDir(path)
	if iface == "" || iface == "all" || iface == "default" {
		return false
	}
	_, err := os.Stat(filepath.Join(a.root(), dir))
	return errors.Is(err, fs.ErrNotExist)
}

// ifaceDir returns the directory of an interface's settings and its name, "" for a path
// that is not of an interface: net/FAMILY/conf/NAME/… and net/FAMILY/neigh/NAME/….
func ifaceDir(path string) (dir, iface string) {
	part := strings.Split(path, "/")
	if len(part) < 5 || part[0] != "net" || part[2] != "conf" && part[2] != "neigh" {
		return "", ""
	}
	return strings.Join(part[:4], "/"), part[3]
}

// normal returns a value as the kernel means it: it shows several numbers with tabs
// between them and takes any white space.
func normal(value string) string { return strings.Join(strings.Fields(value), " ") }

// shown returns a value as a shell takes it.
func shown(value string) string {
	if v := normal(value); strings.Contains(v, " ") {
		return "'" + v + "'"
	}
	return normal(value)
}

// cause returns an error without the path that the os package puts before it.
func cause(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
