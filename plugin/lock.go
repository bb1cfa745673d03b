package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// lockName is an abstract socket (unix(7)): its names belong to a network
// namespace and vanish with the process, so it is held exactly as long as
// the process can change that namespace's links and rules.
const lockName = "@mybr"

// lock keeps other instances out of this network namespace.
type lock struct {
	ln   *net.UnixListener
	done chan struct{}
}

// lockNamespace takes the lock or says who has it.
func lockNamespace(ctx context.Context) (*lock, error) {
	addr := &net.UnixAddr{Net: "unix", Name: lockName}
	for attempt := 0; ; attempt++ {
		ln, err := net.ListenUnix("unix", addr)
		if err == nil {
			l := &lock{ln: ln, done: make(chan struct{})}
			go l.answer()
			return l, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("lock this network namespace: %w", err)
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unix", lockName)
		if err == nil {
			defer conn.Close()
			return nil, fmt.Errorf("mybr runs in this network namespace already: %s", holder(conn.(*net.UnixConn)))
		}
		// Refused: the holder has just ended, or something else has bound the name.
		if attempt == 2 {
			return nil, fmt.Errorf("lock this network namespace: the abstract socket %s is taken: %w", lockName, err)
		}
	}
}

// answer takes the connections of those who ask who holds the lock: connecting is
// all they need.
func (l *lock) answer() {
	defer close(l.done)
	for {
		conn, err := l.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			conn.Close()
		}
	}
}

// Close gives the lock back.
func (l *lock) Close() error {
	err := l.ln.Close()
	<-l.done
	return err
}
