package nftables

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

// Changes share a socket, which no error and no panic leaves in use: the kernel has whoever closes
// one wait until what was deleted is destroyed.
func TestChangesShareASocket(t *testing.T) {
	nettest.New(t)
	b := newBackend(t)
	open := func() (all []int) {
		b.sockets.mu.Lock()
		defer b.sockets.mu.Unlock()
		for address, ended := range maps.All(b.sockets.ended) {
			if ended == (time.Time{}) {
				all = append(all, address)
			}
		}
		return all
	}
	p := firewalltest.TwoNetworks()
	firewalltest.Apply(t, b, nil, p)
	first := open()
	if len(first) != 1 || !b.sockets.own(first[0]) {
		t.Fatalf("open: %v", first)
	}
	less := p
	less.Ports = nil
	firewalltest.Apply(t, b, &p, less)
	if got := open(); !slices.Equal(got, first) {
		t.Errorf("after another change %v are open, want %v", got, first)
	}

	fails := map[string]func() error{
		"an error": func() error { return unix.ENOBUFS },
		"a panic":  func() error { panic("a bug") },
	}
	for what, fail := range fails {
		unset := fault.Set(func(point string) error {
			if point == "nftables: before a transaction" {
				return fail()
			}
			return nil
		})
		func() {
			defer func() { _ = recover() }()
			if err := b.Apply(t.Context(), &less, p); !errors.Is(err, unix.ENOBUFS) {
				t.Errorf("%s: %v", what, err)
			}
		}()
		unset()
		if got := open(); len(got) != 0 {
			t.Errorf("after %s %v are open", what, got)
		}
		// What was collected for the change that failed is in no other.
		firewalltest.Apply(t, b, nil, less)
		if got := open(); len(got) > 1 {
			t.Errorf("after %s and a change %v are open", what, got)
		}
		firewalltest.Apply(t, b, &less, p)
		firewalltest.Apply(t, b, &p, less)
		if got := open(); len(got) != 1 {
			t.Errorf("after %s and more changes %v are open", what, got)
		}
	}
	b.Close()
	if got := open(); len(got) != 0 {
		t.Errorf("after Close %v are open", got)
	}
	firewalltest.Apply(t, b, &less, p)
}
