package plugin

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/fault"
)

// drainWithin is how long calls that are under way may take when mybr stops.
const drainWithin = 10 * time.Second

// lingerFor is how long of that calls may wait for the first pass: what is left is for their
// answers.
const lingerFor = drainWithin - 2*time.Second

// service is a socket and the handler of its requests.
type service struct {
	socket  *socket
	handler http.Handler
}

// serveUntil answers on all sockets until ctx ends, and then until the calls that
// are under way have ended or drainWithin is over.
func serveUntil(ctx context.Context, log logrus.FieldLogger, services ...service) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	servers := make([]*http.Server, len(services))
	var accepting sync.WaitGroup
	for i, s := range services {
		servers[i] = newServer(s.handler, log)
		accepting.Go(func() {
			err := servers[i].Serve(s.socket)
			if !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("accept on %s: %w", s.socket.path, err))
			}
		})
	}
	notify(log, daemon.SdNotifyReady)

	<-ctx.Done()
	notify(log, daemon.SdNotifyStopping)
	log.Info("stopping: finishing the calls that are under way")
	for _, s := range services {
		s.socket.retire()
	}
	accepting.Wait()
	drain(log, servers)
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// drain waits for the calls that are under way, for drainWithin at most.
func drain(log logrus.FieldLogger, servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	for _, s := range servers {
		if err := s.Shutdown(ctx); err != nil {
			log.Warnf("calls did not end within %s: they get no answer", drainWithin)
			s.Close()
		}
	}
}

// newServer returns a server for Docker's and the operator's clients.
func newServer(h http.Handler, log logrus.FieldLogger) *http.Server {
	return defaultLimits().server(h, log)
}

// server returns a server that bounds what its clients can cost.
//
// Each connection carries one request. Docker's client repeats a call without its
// body when a connection breaks, so it must not find itself on one that was idle
// when mybr stopped. That an answer is made has no deadline: a call ends when the host
// has been changed, or with an error.
func (l limits) server(h http.Handler, log logrus.FieldLogger) *http.Server {
	waiting := &idlers{limits: l, warn: rarely(log.Warnf)}
	s := &http.Server{
		Handler:                      newGate(h, l, rarely(log.Warnf)),
		ConnContext:                  withConn,
		ReadHeaderTimeout:            l.header,
		ReadTimeout:                  l.header + l.body, // of what net/http refuses itself: see gate
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     stdlog.New(logWriter{log}, "", 0),
		ConnState: func(conn net.Conn, now http.ConnState) {
			waiting.state(conn, now)
			if now == http.StateClosed {
				fault.Passed("plugin: after the answer")
			}
		},
	}
	s.SetKeepAlivesEnabled(false)
	return s
}

// logWriter makes log entries of net/http's messages.
type logWriter struct{ log logrus.FieldLogger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.Warn(Printable(strings.TrimSpace(string(p))))
	return len(p), nil
}

// notify tells the service manager, if there is one (sd_notify(3)).
func notify(log logrus.FieldLogger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.WithError(err).Warnf("tell the service manager %s", state)
	}
}
