package sysctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// applier returns an Applier and what it has said.
func applier() (*Applier, *[]string) {
	var said []string
	return &Applier{Info: func(f string, args ...any) { said = append(said, fmt.Sprintf(f, args...)) }}, &said
}

func TestApply(t *testing.T) {
	h := nettest.New(t)
	h.Run("ip", "link", "add", "br0.10", "type", "bridge") // a name with a dot
	h.Sysctl("net/ipv4/ip_forward", "0")
	h.Sysctl("net/ipv4/conf/br0.10/forwarding", "0")
	a, said := applier()
	want := Set{
		"net/ipv4/ip_forward":                "1",
		"net/ipv4/conf/br0.10/forwarding":    "0",
		"net/ipv4/conf/br0.10/rp_filter":     "2",
		"net/ipv4/conf/all/accept_local":     "1",
		"net/ipv4/conf/gone0/route_localnet": "1",
		"net/ipv4/ip_local_port_range":       "20000 30000",
	}
	if err := a.Apply(context.Background(), nil, want); err != nil {
		t.Fatal(err)
	}
	for path, value := range want {
		if strings.Contains(path, "gone0") {
			continue
		}
		if have := normal(h.ReadSysctl(path)); have != value {
			t.Errorf("%s is %q, want %q", path, have, value)
		}
	}
	if !slices.Contains(*said, "net/ipv4/ip_forward: 0 -> 1") {
		t.Errorf("said %q", *said)
	}

	*said = nil
	if err := a.Apply(context.Background(), nil, want); err != nil || len(*said) != 0 {
		t.Errorf("the second time: %v, said %q", err, *said)
	}

	// What have says is right is not looked at; what it doesn't say is.
	h.Sysctl("net/ipv4/ip_forward", "0")
	if err := a.Apply(context.Background(), &want, want); err != nil || h.ReadSysctl("net/ipv4/ip_forward") != "0" {
		t.Error("a setting that was known to be right was looked at", err)
	}
	have := Set{"net/ipv4/ip_forward": "0"}
	if err := a.Apply(context.Background(), &have, want); err != nil || h.ReadSysctl("net/ipv4/ip_forward") != "1" {
		t.Error("a difference was not written", err)
	}
	// What nobody wants any longer stays.
	if err := a.Apply(context.Background(), &want, Set{}); err != nil || h.ReadSysctl("net/ipv4/ip_forward") != "1" {
		t.Error("a setting was put back", err)
	}
}

func TestErrors(t *testing.T) {
	h := nettest.New(t)
	a, _ := applier()
	err := a.Apply(context.Background(), nil, Set{
		"net/ipv4/no_such_setting":   "1",
		"net/ipv4/conf/lo/no_such":   "1",
		"net/ipv4/conf/all/no_such":  "1",
		"../etc/hostname":            "1",
		"net/ipv4/ip_default_ttl":    "not a number",
		"net/ipv4/conf/lo/rp_filter": "1",
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"no_such_setting: no such file", "conf/lo/no_such", "conf/all/no_such", "../etc/hostname", "ip_default_ttl is 64 and can't be written"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in the error:\n%v", part, err)
		}
	}
	if h.ReadSysctl("net/ipv4/conf/lo/rp_filter") != "1" {
		t.Error("one bad setting has kept another from being written")
	}

	ctx, cancel := context.WithCancel(context.Background())
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
	if err := a.Apply(context.Background(), nil, Set{"net/ipv4/ip_forward": "0"}); err != nil {
		t.Error(err)
	}
	err := a.Apply(context.Background(), nil, Set{"net/ipv4/ip_forward": "1"})
	if !errors.Is(err, unix.EROFS) || err.Error() != "net/ipv4/ip_forward is 0 and can't be written: read-only file system; set it on the host with `sysctl -w net/ipv4/ip_forward=1`" {
		t.Error(err)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
}

func TestInOrder(t *testing.T) {
	have := inOrder(Set{"net/ipv4/conf/br0/a": "", "net/ipv4/conf/default/a": "", "net/ipv4/conf/all/a": "", "net/ipv4/ip_forward": "", "net/ipv6/neigh/a.b/c": ""})
	want := []string{"net/ipv4/ip_forward", "net/ipv4/conf/all/a", "net/ipv4/conf/default/a", "net/ipv4/conf/br0/a", "net/ipv6/neigh/a.b/c"}
	if !slices.Equal(have, want) {
		t.Errorf("have %q", have)
	}
}

// Who wants to know what is lost by a change is asked before it, and only then.
func TestBefore(t *testing.T) {
	h := nettest.New(t)
	h.Sysctl("net/ipv4/ip_forward", "0")
	a, said := applier()
	var before []string
	a.Before = func(path, want string) {
		before = append(before, fmt.Sprintf("%s %s -> %s after %d", path, h.ReadSysctl(path), want, len(*said)))
	}
	want := Set{"net/ipv4/ip_forward": "1", "net/ipv4/conf/gone0/rp_filter": "1"}
	for range 2 {
		if err := a.Apply(context.Background(), nil, want); err != nil {
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
