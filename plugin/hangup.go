package plugin

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// errHungUp is why the context of a call ended: its client reads no answer.
var errHungUp = errors.New("the client hung up")

// connKey is the key of a request's connection, a net.Conn, in the request's context.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// untilHangUp returns a context that ends, with the cause errHungUp, when the client of a
// request hangs up while the request is being answered. end must be called when it has
// been answered.
//
// The context that net/http gives to the request ends too when the client closes only its
// sending side (shutdown(2), SHUT_WR), although such a client reads the answer, and when
// the handler returns.
//
// Be aware: net/http stops watching a connection once the sending side is closed, or when
// bytes follow the request. A client that hangs up after that is noticed by hungUp alone.
func untilHangUp(request context.Context) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(request))
	stop := context.AfterFunc(request, func() {
		if hungUp(request) {
			cancel(errHungUp)
		}
	})
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// hungUp reports whether the client of a request has closed its connection, both ways: for
// a unix socket, poll(2) reports POLLHUP then, and not when only one side is closed
// (unix_poll in the kernel's net/unix/af_unix.c).
func hungUp(request context.Context) bool {
	conn, ok := request.Value(connKey{}).(syscall.Conn)
	if !ok {
		return request.Err() != nil // no connection to look at, as in tests
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return true // closed by the server, which has given the request up
	}
	var events int16
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP and POLLERR need not be asked for
		for {
			if _, err := unix.Poll(fds, 0); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		events = fds[0].Revents
	})
	return err != nil || events&(unix.POLLHUP|unix.POLLERR) != 0
}
