package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/metrics"
	"github.com/mybr/mybr/internal/model"
)

const (
	// contentType is what Docker's client accepts (the docs' "Plugin API").
	contentType = "application/vnd.docker.plugins.v1.2+json"

	// largestBody is the size in bytes of the largest request that is read: some 100
	// bytes for each of 65535 published ports.
	largestBody = 8 << 20
)

var errStopping = errors.New("mybr is stopping")

// handler answers the calls of both protocols.
type handler struct {
	calls    map[string]call // by path
	ready    <-chan struct{} // closed when the first pass has ended
	stopping <-chan struct{} // closed when mybr stops
	linger   time.Duration   // how long calls may wait for the first pass from then on
	log      logrus.FieldLogger
	observe  func(method, outcome string, took time.Duration) // sees each request; nil: nobody does
}

// answer is the outcome of one request.
type answer struct {
	status int
	body   []byte
	fields logrus.Fields
	unread bool // the client hung up while the call was carried out
	err    error
}

// ServeHTTP answers one request and logs it. The Host header is ignored: it is empty or
// made up, depending on the engine's version.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	a := h.answer(w, r)
	fault.Passed("plugin: before the answer")
	if a.err != nil {
		if a.status == 0 {
			a.status = statusOf(a.err)
		}
		a.body = failure(a.err)
	} else {
		a.status = http.StatusOK
	}
	answering(w, r)
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that has gone reads nothing
	method, took := strings.TrimPrefix(r.URL.Path, "/"), time.Since(begun)
	h.record(shorten(method), a, took)
	if h.observe != nil {
		h.observe(method, outcomeOf(a), took)
	}
}

// outcomeOf is what metrics tell of a request.
func outcomeOf(a answer) string {
	switch {
	case a.err == nil:
		return metrics.OK
	case errors.Is(a.err, errHungUp):
		return metrics.GivenUp
	case a.status < http.StatusInternalServerError:
		return metrics.Refused
	}
	return metrics.Failed
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request) (a answer) {
	c, ok := h.calls[r.URL.Path]
	if !ok {
		a.status, a.err = http.StatusNotFound, fmt.Errorf("unknown call %s", shorten(r.URL.Path))
		return a
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		a.status, a.err = http.StatusMethodNotAllowed, fmt.Errorf("method %s: want POST", shorten(r.Method))
		return a
	}
	body, err := readBody(w, r)
	if err != nil {
		a.err = err
		return a
	}
	p, err := c.prepare(body)
	if err != nil {
		a.err = err
		return a
	}
	a.fields = p.fields
	ctx, end := untilHangUp(r.Context())
	defer end()
	ctx = driver.WithEngine(ctx, caller(r.Context()))
	if c.removes {
		ctx = context.WithoutCancel(ctx)
	}
	if !c.early {
		if a.err = h.wait(ctx); a.err != nil {
			return a
		}
	}
	// A client that hung up while its call waited, here or in the socket's queue, has given
	// it up. Only what it wanted removed must still go: Docker does not ask again.
	if !c.removes && hungUp(r.Context()) {
		a.err = fmt.Errorf("the call was not begun: %w", errHungUp)
		return a
	}
	fault.Passed("plugin: before the call")
	a.body, a.err = guarded(ctx, p.do)
	a.unread = ctx.Err() != nil || hungUp(r.Context())
	return a
}

// readBody reads a request's body, with limits in size and, by gate, in time and in what all
// clients can send at a time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, model.Invalid("the request is larger than %d bytes", large.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, model.Invalid("the request did not arrive within %s", limitsOf(r).body)
	case err != nil:
		return nil, model.Invalid("the request broke off: %v", err)
	}
	return body, nil
}

// wait returns when the first pass has ended, with an error if mybr stops or ctx ends
// before that.
func (h *handler) wait(ctx context.Context) error {
	select {
	case <-h.ready:
		return nil
	default:
	}
	select {
	case <-h.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the first pass: %w", context.Cause(ctx))
	case <-h.stopping:
	}
	// The pass goes on while mybr stops, and is nearly always over soon: a mybr that is stopped
	// right behind its start need not let calls fail.
	late := time.NewTimer(h.linger)
	defer late.Stop()
	select {
	case <-h.ready:
		return nil
	case <-late.C:
		return errStopping
	case <-ctx.Done():
		return fmt.Errorf("wait for the first pass: %w", context.Cause(ctx))
	}
}

// crash is a panic of a handler.
type crash struct {
	value any
	stack []byte
}

func (c *crash) Error() string {
	return fmt.Sprintf("mybr crashed in this call (see its log): %v", c.value)
}

// guarded runs fn and turns a panic into an error.
func guarded(ctx context.Context, fn func(context.Context) ([]byte, error)) (resp []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			resp, err = nil, &crash{value: v, stack: debug.Stack()}
		}
	}()
	return fn(ctx)
}

// statusOf returns the HTTP status for an error. Never 404, which Docker takes for
// a call that the plugin does not know.
func statusOf(err error) int {
	if errors.Is(err, model.ErrInvalid) {
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// failure returns the body of an error: Docker reads Err in answers of network
// drivers and Error in those of IPAM drivers.
func failure(err error) []byte {
	said := printableError(err)
	text, _ := json.Marshal(struct{ Err, Error string }{said, said}) // strings always encode
	return append(text, '\n')
}

// record logs a request.
func (h *handler) record(method string, a answer, took time.Duration) {
	log := h.log.WithFields(a.fields).WithFields(logrus.Fields{"method": method, "took": took.Round(10 * time.Microsecond).String()})
	if a.unread {
		log = log.WithField("client", "hung up")
	}
	if a.err != nil {
		log = log.WithField(logrus.ErrorKey, printableError(a.err))
	}
	var c *crash
	if errors.As(a.err, &c) {
		log = log.WithField("stack", string(c.stack))
	}
	switch {
	case a.err == nil:
		log.Info("call")
	case errors.Is(a.err, errHungUp):
		log.Warn("call given up")
	case a.status < http.StatusInternalServerError:
		log.Warn("call refused")
	default:
		log.Error("call failed")
	}
}
