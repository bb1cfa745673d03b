// Package sysctl holds kernel settings at the values that mybr needs: those of the whole
// host, such as forwarding. Settings of single links belong to package link, which reads
// and writes them by Get and Set.
//
// Be aware: settings are only ever written, never given their earlier values back: other
// programs may have come to rely on them.
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

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/plan"
)

// Set maps a path below /proc/sys, such as "net/ipv4/ip_forward", to its value.
// Paths are separated by slashes and not, as sysctl(8) also has it, by dots: an
// interface's name may contain dots, but never a slash.
type Set map[string]string

// Same reports whether two sets are deeply equal.
func (s Set) Same(o Set) bool { return maps.Equal(s, o) }

// Has reports whether a setting is in the set.
func (s Set) Has(subject string) bool {
	_, ok := s[subject]
	return ok
}

// Subjects returns the values by path. A path is not the name of a link: which links a
// setting concerns is for the caller to know.
func (s Set) Subjects() map[string]any {
	m := make(map[string]any, len(s))
	for path, value := range s {
		m[path] = value
	}
	return m
}

// Only returns the part of the set whose paths keep accepts.
func (s Set) Only(keep func(subject string) bool) Set {
	part := Set{}
	for path, value := range s {
		if keep(path) {
			part[path] = value
		}
	}
	return part
}

// With returns the union of two sets that have no path in common.
func (s Set) With(o Set) Set {
	all := maps.Clone(s)
	maps.Copy(all, o)
	return all
}

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
	// Info is told of each value of a Set that was changed, such as
	// "net/ipv4/ip_forward: 0 -> 1". It may be nil.
	Info func(format string, args ...any)
}

// Apply is Plan, and then Do.
func (a *Applier) Apply(ctx context.Context, have *Set, want Set) error {
	p, err := a.Plan(ctx, have, want)
	return errors.Join(err, p.Do(ctx))
}

// Plan has one step for each setting that has another value than is wanted; those that
// have says are right are not looked at. What has its value already is not written, so
// that this succeeds where nothing can be written. Each error is a *plan.Error whose
// subject is the path of a setting that can't be read.
func (a *Applier) Plan(ctx context.Context, have *Set, want Set) (plan.Plan, error) {
	var steps plan.Plan
	var errs []error
	for _, path := range inOrder(want) {
		value := normal(want[path])
		if have != nil {
			if had, ok := (*have)[path]; ok && normal(had) == value {
				continue
			}
		}
		if err := context.Cause(ctx); err != nil {
			return nil, &plan.Error{Err: err}
		}
		now, err := a.Get(path)
		if err != nil {
			errs = append(errs, &plan.Error{Subject: path, Err: err})
			continue
		}
		if now != value {
			steps = append(steps, a.step(path, now, value))
		}
	}
	return steps, errors.Join(errs...)
}

// step changes one setting.
func (a *Applier) step(path, have, want string) plan.Step {
	change := fmt.Sprintf("%s: %s -> %s", path, have, want)
	return plan.Step{Kind: "setting", Subject: path, Changes: []string{change}, Do: func(context.Context) error {
		if a.Before != nil {
			a.Before(path, want)
		}
		err := a.Set(path, want)
		switch {
		case errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
			return fmt.Errorf("%w; it is %s and must be %s: mount /proc/sys writable for the container that mybr runs in, or have the host set %s=%s",
				err, have, want, path, quoted(want))
		case err != nil:
			return fmt.Errorf("%w; it is %s and must be %s", err, have, want)
		}
		if a.Info != nil {
			a.Info("%s", change)
		}
		return nil
	}}
}

// inOrder returns the paths sorted such that those for all interfaces come first, and
// then those for interfaces to come: writing the former (ip_forward, conf/all/forwarding)
// overwrites the latter (ip-sysctl.rst).
func inOrder(s Set) []string {
	rank := func(path string) int {
		if strings.Contains(path, "/conf/default/") {
			return 1
		}
		return 0
	}
	return slices.SortedFunc(maps.Keys(s), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	})
}

// Fixed says why a setting can't be written; nil: it can, or there is none. Nothing is
// written.
func (a *Applier) Fixed(path string) error {
	f, err := os.OpenFile(filepath.Join(cmp.Or(a.Root, defaultRoot), path), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, cause(err))
	}
	return f.Close()
}

// Get returns the value of a setting. One that does not exist is fs.ErrNotExist.
func (a *Applier) Get(path string) (string, error) {
	file, err := a.file(path)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read setting %s: %w", path, cause(err))
	}
	return normal(string(b)), nil
}

// Set gives a setting a value, with one write(2), which is what the kernel takes for a
// value. It makes no file: where /proc/sys is not what is mounted at Root, it must fail.
func (a *Applier) Set(path, value string) error {
	file, err := a.file(path)
	if err != nil {
		return err
	}
	err = fault.Point("sysctl: before writing " + filepath.Base(path))
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(file, os.O_WRONLY, 0)
	}
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	fault.Passed("sysctl: after writing " + filepath.Base(path))
	if err != nil {
		return fmt.Errorf("write setting %s: %w", path, cause(err))
	}
	return nil
}

// file returns where a setting is.
func (a *Applier) file(path string) (string, error) {
	root := a.Root
	if root == "" {
		root = defaultRoot
	}
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("setting %q is not a path below %s", path, root)
	}
	return filepath.Join(root, path), nil
}

// normal returns a value as the kernel means it: it prints several numbers with tabs
// between them and takes any white space.
func normal(value string) string { return strings.Join(strings.Fields(value), " ") }

// quoted returns a value as a shell takes it.
func quoted(value string) string {
	if strings.Contains(value, " ") {
		return "'" + value + "'"
	}
	return value
}

// cause returns an error without the path that the os package puts before it.
func cause(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
