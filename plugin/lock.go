package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// lockName is an abstract socket (unix(7)): its names belong to a network
// namespace and vanish with the process, so it is held exactly as long as
// the process can change that namespace's links and rules.
const lockName = "@mybr"

// lock keeps other instances out of this network namespace.
type lock struct {
	ln   *net.UnixListener // nil: another process, which is no instance of mybr, has the name
	done chan struct{}
}

// lockNamespace takes the lock, or returns an error that names the instance that has it.
// Any user can bind the name, but only root can be an instance, and an instance listens:
// another process that has the name is reported through warn, and does not keep mybr from
// starting.
func lockNamespace(ctx context.Context, warn func(format string, args ...any)) (*lock, error) {
	addr := &net.UnixAddr{Net: "unix", Name: lockName}
	for attempt := 0; ; attempt++ {
		ln, err := net.ListenUnix("unix", addr)
		if err == nil {
			l := &lock{ln: ln, done: make(chan struct{})}
			go func() {
				defer close(l.done)
				answerAll(ln)
			}()
			return l, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("lock this network namespace: %w", err)
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unix", lockName)
		if err == nil {
			defer conn.Close()
			process, root := holder(conn.(*net.UnixConn))
			if root {
				return nil, fmt.Errorf("mybr runs in this network namespace already: %s", process)
			}
			warn("the abstract socket %s is taken by %s, which is not root's: a second mybr would not be noticed", lockName, process)
			return &lock{}, nil
		}
		// Refused: the holder has just ended, or something else has bound the name.
		if attempt == 2 {
			warn("the abstract socket %s is taken by a process that does not listen there (%v): a second mybr would not be noticed", lockName, err)
			return &lock{}, nil
		}
	}
}

// acceptAgain is how long no connection is accepted behind an error: while the process has no
// descriptor free, the next attempt fails at once.
const acceptAgain = 100 * time.Millisecond

// answerAll accepts and closes connections, until the listener is closed: a process that finds
// the lock taken connects to learn the owner (see holder).
func answerAll(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(acceptAgain)
		default:
			conn.Close()
		}
	}
}

// Close gives the lock back.
func (l *lock) Close() error {
	if l.ln == nil {
		return nil
	}
	err := l.ln.Close()
	<-l.done
	return err
}
