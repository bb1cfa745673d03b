package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/mybr/mybr/internal/page"
	"github.com/mybr/mybr/internal/web"
)

// An address that can't be listened on, be it that its interface is not there yet, and a token
// that can't be read, are tried again: Docker's networks are not to wait for a page. They are
// tried after firstListen, and then twice as long each time, up to lastListen.
const (
	firstListen = time.Second
	lastListen  = 30 * time.Second
)

// httpLimits are for the page and the metrics, which some browsers and a few programs look at.
func httpLimits() limits {
	l := defaultLimits()
	l.idle, l.calls = 32, min(l.calls, 64)
	return l
}

// site is the status page with what is behind HTTP beside it.
type site struct {
	page    http.Handler
	metrics http.Handler
	ready   <-chan struct{} // closed when the first pass has ended
}

// handler returns the table of what can be asked.
func (s site) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.page)
	mux.Handle("/metrics", s.metrics)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok") // that it answers is all there is to know
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-s.ready:
			fmt.Fprintln(w, "ready")
		default:
			http.Error(w, notReady, http.StatusServiceUnavailable)
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answering(w, r)
		mux.ServeHTTP(w, r)
	})
}

// httpToken reads what clients must know.
func httpToken(c Config) (t web.Token, err error) {
	if c.HTTPTokenFile != "" {
		if t, err = web.ReadToken(c.HTTPTokenFile); err != nil {
			err = fmt.Errorf("--http-token-file: %w", err)
		}
	}
	return t, err
}

// serveSite serves the page and the metrics in the background, if they are wanted, until stop
// is called, which waits for the answers that are being made.
func serveSite(ctx context.Context, c Config, a *admin, w *watchers) (stop func(), err error) {
	if c.HTTP.IsZero() {
		return func() {}, nil
	}
	h, err := newSite(a, w, newSurgery(ctx, c))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		listenAndServe(ctx, c, h)
	}()
	return func() {
		cancel()
		<-done
	}, nil
}

// listenAndServe serves until ctx ends, and listens again when that fails.
func listenAndServe(ctx context.Context, c Config, h http.Handler) {
	told := ""
	for delay := firstListen; ; delay = min(2*delay, lastListen) {
		ln, server, err := openHTTP(ctx, c, h)
		if err == nil {
			c.Log.Infof("serving the status page and metrics on %s", c.HTTP)
			told, delay = "", firstListen
			err = serveOn(ctx, server, ln)
		}
		if ctx.Err() != nil {
			return
		}
		if err.Error() != told {
			told = err.Error()
			c.Log.WithError(err).Warnf("the status page and the metrics are not served on %s; trying again", c.HTTP)
		}
		again := time.NewTimer(delay)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return
		}
	}
}

// openHTTP reads the token, without which nobody is served, and binds the address.
func openHTTP(ctx context.Context, c Config, h http.Handler) (net.Listener, *http.Server, error) {
	t, err := httpToken(c)
	if err != nil {
		return nil, nil, err
	}
	ln, err := listenHTTP(ctx, c.HTTP)
	if err != nil {
		return nil, nil, err
	}
	return ln, httpLimits().server(web.Guard(h, c.HTTP, t, page.Policy), c.Log), nil
}

// listenHTTP binds the address; a unix socket as the others of mybr's, with mode 0600.
func listenHTTP(ctx context.Context, a web.Address) (net.Listener, error) {
	if a.Path != "" {
		return listen(ctx, a.Path)
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", a.TCP.String())
}

// serveOn serves until ctx ends, or accepting fails.
func serveOn(ctx context.Context, server *http.Server, ln net.Listener) error {
	ended := make(chan struct{})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		select {
		case <-ctx.Done():
		case <-ended:
			return
		}
		if s, ok := ln.(*socket); ok {
			s.retire()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // a client that takes its time loses its answer
		}
	}()
	err := server.Serve(ln)
	close(ended)
	<-drained
	if errors.Is(err, http.ErrServerClosed) {
		return context.Cause(ctx)
	}
	return err
}
