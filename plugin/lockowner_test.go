package plugin

import (
	"context"
	"net"
	"os"
	"testing"

	"github.com/mybr/mybr/internal/doctor"
	"github.com/mybr/mybr/internal/nettest"
)

// doctor is told who listens on the lock, whatever /proc looks like.
func TestLockOwner(t *testing.T) {
	nettest.New(t) // the name is of a network namespace
	if h, err := lockOwner(t.Context()); err != nil || h != (doctor.Holder{}) {
		t.Errorf("nobody: %+v, %v", h, err)
	}
	ln, err := net.Listen("unix", lockName)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	want := doctor.Holder{Held: true, PID: os.Getpid(), Root: os.Geteuid() == 0}
	if h, err := lockOwner(t.Context()); err != nil || h != want {
		t.Errorf("have %+v, want %+v, %v", h, want, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockOwner(ended); err == nil {
		t.Error("who has no time left is told nothing of it")
	}
}
