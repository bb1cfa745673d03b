package firewalld

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// watcher counts what Watch tells, and ends with the test.
type watcher struct {
	told atomic.Int64
	end  func()
}

func watch(t *testing.T, address string) *watcher {
	w := &watcher{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&Applier{Address: address}).Watch(ctx, func() { w.told.Add(1) })
	}()
	w.end = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Error("Watch goes on after its context has ended")
		}
	}
	t.Cleanup(w.end)
	return w
}

// want waits until the watcher has told of n changes, no more.
func (w *watcher) want(t *testing.T, what string, n int64) {
	t.Helper()
	eventually(t, func() string {
		if got := w.told.Load(); got != n {
			return fmt.Sprintf("%s: told of %d changes, want %d", what, got, n)
		}
		return ""
	})
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	b := startBus(t, dir)
	f := startFake(t, b)
	w := watch(t, b.address)
	w.want(t, "it is there", 1)
	f.reload()
	w.want(t, "reloaded", 2)
	// Signals of others, and others of firewalld's, are none of its business.
	if err := f.conn.Emit(daemonPath, zoneInterface+".InterfaceAdded", zone, "br-a"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.conn.RequestName("org.example.Other", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	f.disown()
	w.want(t, "stopped", 3)
	f.own()
	w.want(t, "started", 4)

	b.stop() // the bus goes, and comes back with a firewalld
	b = startBus(t, dir)
	startFake(t, b)
	eventually(t, func() string {
		if w.told.Load() < 5 {
			return "the bus came back, and nobody was told"
		}
		return ""
	})
	w.end()
}

// The bus comes later than the watcher; firewalld later than the bus.
func TestWatchBefore(t *testing.T) {
	dir := t.TempDir()
	w := watch(t, "unix:path="+filepath.Join(dir, "bus"))
	b := startBus(t, dir)
	startFake(t, b)
	eventually(t, func() string {
		if w.told.Load() == 0 {
			return "firewalld came, and nobody was told"
		}
		return ""
	})
}

// A bus that doesn't answer is no reason to stay.
func TestWatchOfDeafBusEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deaf")
	deaf, err := net.Listen("unix", path)
	must(t, err)
	defer deaf.Close()
	w := watch(t, "unix:path="+path)
	c, err := deaf.Accept()
	must(t, err)
	defer c.Close()
	w.end()
}
