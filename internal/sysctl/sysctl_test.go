package sysctl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/plan"
)

// applier returns an Applier and what it tells Info.
func applier() (*Applier, *[]string) {
	var info []string
	return &Applier{Info: func(f string, args ...any) { info = append(info, fmt.Sprintf(f, args...)) }}, &info
}

func TestApply(t *testing.T) {
	h := nettest.New(t)
	h.Sysctl("net/ipv4/ip_forward", "0")
	a, info := applier()
	want := Set{
		"net/ipv4/ip_forward":            "1",
		"net/ipv4/conf/all/accept_local": "1",
		"net/ipv4/ip_local_port_range":   "20000 30000",
	}
	p, err := a.Plan(t.Context(), nil, want)
	if err != nil {
		t.Fatal(err)
	}
	changes := []string{"net/ipv4/conf/all/accept_local: 0 -> 1", "net/ipv4/ip_forward: 0 -> 1", "net/ipv4/ip_local_port_range: 32768 60999 -> 20000 30000"}
	if got := p.Changes(); !slices.Equal(got, changes) {
		t.Errorf("changes %q", got)
	}
	if h.ReadSysctl("net/ipv4/ip_forward") != "0" {
		t.Error("a plan has changed a setting")
	}
	for _, s := range p {
		if !strings.HasPrefix(s.Changes[0], s.Subject+": ") || len(s.Changes) != 1 {
			t.Errorf("step %+v", s)
		}
	}
	if err := p.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, value := range want {
		if have := normal(h.ReadSysctl(path)); have != value {
			t.Errorf("%s is %q, want %q", path, have, value)
		}
	}
	if !slices.Equal(*info, changes) {
		t.Errorf("info %q", *info)
	}
	if p, err := a.Plan(t.Context(), nil, want); err != nil || len(p) != 0 {
		t.Errorf("the second time: %v, %v", p.Changes(), err)
	}

	// What have says is right is not looked at; what it doesn't say is.
	h.Sysctl("net/ipv4/ip_forward", "0")
	if err := a.Apply(t.Context(), &want, want); err != nil || h.ReadSysctl("net/ipv4/ip_forward") != "0" {
		t.Error("a setting that was known to be right was looked at", err)
	}
	have := Set{"net/ipv4/ip_forward": "0"}
	if err := a.Apply(t.Context(), &have, want); err != nil || h.ReadSysctl("net/ipv4/ip_forward") != "1" {
		t.Error("a difference was not written", err)
	}
	// What is no longer wanted stays.
	if err := a.Apply(t.Context(), &want, Set{}); err != nil || h.ReadSysctl("net/ipv4/ip_forward") != "1" {
		t.Error("a setting was set back", err)
	}
}

func TestErrors(t *testing.T) {
	h := nettest.New(t)
	a, _ := applier()
	err := a.Apply(t.Context(), nil, Set{
		"net/ipv4/no_such_setting":   "1",
		"../etc/hostname":            "1",
		"net/ipv4/ip_default_ttl":    "not a number",
		"net/ipv4/conf/lo/rp_filter": "1",
	})
	for _, part := range []string{"read setting net/ipv4/no_such_setting: no such file", `"../etc/hostname" is not a path below /proc/sys`,
		"write setting net/ipv4/ip_default_ttl: invalid argument; it is 64 and must be not a number"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in the error:\n%v", part, err)
		}
	}
	if subjects, rest := plan.Blame(err); len(subjects) != 3 || rest != nil {
		t.Errorf("to blame: %v, rest %v", subjects, rest)
	}
	if h.ReadSysctl("net/ipv4/conf/lo/rp_filter") != "1" {
		t.Error("one bad setting has kept another from being written")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Apply(ctx, nil, Set{"net/ipv4/ip_forward": "1"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Where /proc/sys is read-only, as in a managed plugin, what is right already is no error.
func TestReadOnly(t *testing.T) {
	nettest.New(t) // only for its right to mount
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("mybr-test", dir, "tmpfs", 0, ""),
		os.MkdirAll(filepath.Join(dir, "net/ipv4"), 0o755),
		os.WriteFile(filepath.Join(dir, "net/ipv4/ip_forward"), []byte("0\n"), 0o644),
		unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""),
	); err != nil {
		t.Fatal(err)
	}
	a := &Applier{Root: dir}
	if err := a.Apply(t.Context(), nil, Set{"net/ipv4/ip_forward": "0"}); err != nil {
		t.Error(err)
	}
	err := a.Apply(t.Context(), nil, Set{"net/ipv4/ip_forward": "1"})
	if !errors.Is(err, unix.EROFS) || err.Error() != "write setting net/ipv4/ip_forward: read-only file system; it is 0 and must be 1: mount /proc/sys writable for the container that mybr runs in, or have the host set net/ipv4/ip_forward=1" {
		t.Error(err)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
}

func TestInOrder(t *testing.T) {
	have := inOrder(Set{"net/ipv6/conf/default/a": "", "net/ipv6/conf/all/a": "", "net/ipv4/conf/default/a": "", "net/ipv4/ip_forward": ""})
	want := []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/a", "net/ipv4/conf/default/a", "net/ipv6/conf/default/a"}
	if !slices.Equal(have, want) {
		t.Errorf("have %q", have)
	}
}

// A part of a set is what the subjects say that are kept.
func TestSubjects(t *testing.T) {
	s := Set{"a": "1", "b": "2"}
	if got := s.Subjects(); !reflect.DeepEqual(got, map[string]any{"a": "1", "b": "2"}) {
		t.Errorf("%v", got)
	}
	if got := s.Only(func(path string) bool { return path == "b" }); !maps.Equal(got, Set{"b": "2"}) {
		t.Errorf("%v", got)
	}
}

// Before is called before a change, and only then.
func TestBefore(t *testing.T) {
	h := nettest.New(t)
	h.Sysctl("net/ipv4/ip_forward", "0")
	a, info := applier()
	var before []string
	a.Before = func(path, want string) {
		before = append(before, fmt.Sprintf("%s %s -> %s after %d", path, h.ReadSysctl(path), want, len(*info)))
	}
	want := Set{"net/ipv4/ip_forward": "1"}
	for range 2 {
		if err := a.Apply(t.Context(), nil, want); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(before, []string{"net/ipv4/ip_forward 0 -> 1 after 0"}) {
		t.Errorf("before: %q", before)
	}
	if value, err := a.Get("net/ipv4/ip_forward"); err != nil || value != "1" {
		t.Errorf("%q, %v", value, err)
	}
	if _, err := a.Get("net/ipv4/conf/gone0/rp_filter"); err == nil || err.Error() != "read setting net/ipv4/conf/gone0/rp_filter: no such file or directory" {
		t.Errorf("%v", err)
	}
}

// A setting that can't be written is told of without writing it; one that is not there, as
// on a kernel without IPv6, is not.
func TestFixed(t *testing.T) {
	h := nettest.New(t)
	a, _ := applier()
	before := h.ReadSysctl("net/ipv4/conf/lo/rp_filter")
	if err := a.Fixed("net/ipv4/conf/lo/rp_filter"); err != nil || h.ReadSysctl("net/ipv4/conf/lo/rp_filter") != before {
		t.Errorf("one that can be written: %v", err)
	}
	if err := a.Fixed("net/ipv4/no_such_setting"); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
	if err := a.Fixed("net"); err == nil {
		t.Error("what can't be written is taken for a setting that can")
	}
}
