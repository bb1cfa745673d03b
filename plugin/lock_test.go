package plugin

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// exhausted is a listener of a process that has no descriptor free, until an hour later.
type exhausted struct {
	net.Listener
	attempts int
	until    time.Time
}

func (e *exhausted) Accept() (net.Conn, error) {
	if e.attempts++; time.Now().After(e.until) || e.attempts > 1_000_000 {
		return nil, net.ErrClosed
	}
	return nil, unix.EMFILE
}

// A process without descriptors does not take a processor for who asks for the lock.
func TestLockWithoutDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &exhausted{until: time.Now().Add(time.Hour)}
		answerAll(ln)
		if most := int(time.Hour/acceptAgain) + 2; ln.attempts > most {
			t.Errorf("have %d attempts in an hour, want at most %d", ln.attempts, most)
		}
	})
}
