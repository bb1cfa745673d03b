package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// listed says whether a field that is a list (RFC 9110, 5.6.1) has a word.
func listed(values []string, word string) bool {
	for _, v := range values {
		for w := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(w), word) {
				return true
			}
		}
	}
	return false
}

// ofConnection removes what is of one connection alone (RFC 9110, 7.6.1).
func ofConnection(h http.Header) {
	for _, v := range h["Connection"] {
		for w := range strings.SplitSeq(v, ",") {
			h.Del(strings.TrimSpace(w))
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Upgrade", "Http2-Settings"} {
		h.Del(name)
	}
}

// prepare makes the request that the host gets of the one that was read, and reports whether
// it asks for a tunnel.
func prepare(r *http.Request, body io.ReadCloser, address, host string) (upgrade bool) {
	upgrade = r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) && listed(r.Header["Connection"], "upgrade") &&
		len(r.Header["Upgrade"]) == 1 && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	trailers := listed(r.Header["Te"], "trailers")
	ofConnection(r.Header)
	if upgrade {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
	}
	if trailers {
		r.Header.Set("Te", "trailers")
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header.Set("User-Agent", "") // none, rather than Go's
	}
	r.RequestURI, r.Close = "", false
	r.URL.Scheme, r.URL.Host, r.Host = "http", address, host
	if r.Body != http.NoBody {
		r.Body = body
	}
	return upgrade
}

// body is a request's body, whose reader may have to be told to go on (100-continue) and whose
// end is waited for: behind it the next request begins.
type body struct {
	io.ReadCloser
	x       *session
	tell    sync.Once
	expects bool

	once sync.Once
	end  chan struct{}
}

func newBody(x *session, r *http.Request) *body {
	b := &body{ReadCloser: r.Body, x: x, end: make(chan struct{})}
	b.expects = r.ProtoAtLeast(1, 1) && listed(r.Header["Expect"], "100-continue")
	if r.Body == http.NoBody {
		b.once.Do(func() { close(b.end) })
	}
	return b
}

// proceed tells the client once to send the body, if it waits for that.
func (b *body) proceed() (err error) {
	if b.expects {
		b.tell.Do(func() { err = b.x.interim(http.StatusContinue, nil) })
	}
	return err
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.proceed(); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.once.Do(func() { close(b.end) })
	}
	return n, err
}

// Close leaves what was not read: reading it could take for ever.
func (b *body) Close() error { return nil }

// ended says whether the body was read to its end, within some time.
func (b *body) ended(within time.Duration) bool {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-b.end:
		return true
	case <-t.C:
		return false
	}
}

// flushed is an answer's body, before each part of which what came before is sent.
type flushed struct {
	io.ReadCloser
	out *bufio.Writer
}

func (f flushed) Read(p []byte) (int, error) {
	if err := f.out.Flush(); err != nil {
		return 0, err
	}
	return f.ReadCloser.Read(p)
}

// reply sends the answer to r, and reports whether the connection goes on.
func (x *session) reply(resp *http.Response, r *http.Request, keep bool) bool {
	ofConnection(resp.Header)
	chunked := len(resp.TransferEncoding) > 0
	if resp.ContentLength < 0 && !chunked || !resp.ProtoAtLeast(1, 1) {
		keep = false // its end is the connection's
	}
	if !r.ProtoAtLeast(1, 1) { // who asks so doesn't know chunks
		resp.ProtoMinor, resp.TransferEncoding = 0, nil
	}
	resp.Close, resp.Request = !keep, r
	out := bufio.NewWriter(x.conn)
	resp.Body = flushed{resp.Body, out}
	// Without the writer's ReadFrom, which flushing within a Read would confuse.
	if err := resp.Write(struct{ io.Writer }{out}); err != nil {
		return false
	}
	return out.Flush() == nil && keep
}

// tunnel copies both ways until one ends.
func (x *session) tunnel(ctx context.Context, resp *http.Response) {
	host, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return
	}
	defer context.AfterFunc(ctx, func() { host.Close() })()
	out := bufio.NewWriter(x.conn)
	fmt.Fprintf(out, "HTTP/1.1 %s\r\n", resp.Status)
	if resp.Header.Write(out) != nil || func() error { fmt.Fprint(out, "\r\n"); return out.Flush() }() != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(x.conn, host) // what breaks it ends it
		x.cancel()
	})
	_, _ = io.Copy(host, x.in)
	x.cancel()
	host.Close()
	back.Wait()
}
