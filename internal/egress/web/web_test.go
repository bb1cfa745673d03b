package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/egress/hosts"
)

func echo(rw http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(rw, "%s %s %s %s", r.Method, r.Host, r.RequestURI, b)
}

// A host sees what it would see of the client itself.
func TestHostSeesTheSame(t *testing.T) {
	got := make(chan string, 1)
	at := site(t, func(rw http.ResponseWriter, r *http.Request) {
		b, err := httputil.DumpRequest(r, true)
		if err != nil {
			t.Error(err)
		}
		got <- fmt.Sprintf("%s %d %v %v %s", r.RequestURI, r.ContentLength, r.TransferEncoding, r.Trailer, b)
		rw.Header()["Date"] = nil
		rw.Header().Set("X-Kept", "yes")
		rw.WriteHeader(http.StatusTeapot)
		fmt.Fprint(rw, "short and stout")
	})
	w := start(t, at)
	for what, change := range map[string]func(*http.Request){
		"plain":         func(*http.Request) {},
		"no User-Agent": func(r *http.Request) { r.Header.Set("User-Agent", "") },
		"escapes": func(r *http.Request) {
			r.URL.RawPath, r.URL.Path = "/a%2Fb%20c", "/a/b c"
			r.URL.RawQuery = "a=%41&b;c"
		},
		"fields": func(r *http.Request) {
			r.Header["X-Two"] = []string{"1", "2"}
			r.Header.Set("Cookie", "a=b")
			r.Header.Set("Authorization", "Basic x")
		},
		"a port in its Host": func(r *http.Request) { r.Host = "EXAMPLE.com:8080" },
		"a body": func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader("body")), 4
		},
		"chunks": func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "PUT", io.NopCloser(strings.NewReader("body")), -1
		},
		"trailers": func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "PUT", io.NopCloser(strings.NewReader("body")), -1
			r.Trailer = http.Header{"X-Sum": {"1"}}
		},
		"an empty body": func(r *http.Request) { r.Method, r.Body, r.ContentLength = "POST", http.NoBody, 0 },
		"HEAD":          func(r *http.Request) { r.Method = "HEAD" },
	} {
		var seen, answers [2]string
		for i, to := range []string{at, w.at} {
			r, err := http.NewRequest("GET", "http://example.com/path?query", nil)
			if err != nil {
				t.Fatal(err)
			}
			change(r)
			resp, err := client(t, to).Do(r)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			seen[i] = <-got
			b, err := httputil.DumpResponse(resp, true)
			if err != nil {
				t.Fatal(err)
			}
			answers[i] = string(b)
			resp.Body.Close()
		}
		if seen[0] != seen[1] {
			t.Errorf("%s: the host sees\n%s\nand of the client itself\n%s", what, seen[1], seen[0])
		}
		if answers[0] != answers[1] {
			t.Errorf("%s: the client gets\n%s\nand of the host itself\n%s", what, answers[1], answers[0])
		}
	}
}

const good = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"

func TestEachRequestIsJudged(t *testing.T) {
	w := start(t, site(t, echo))
	for _, c := range []struct{ what, requests, answers string }{
		{"one", good, "200 GET example.com /"},
		{"an absolute target", "GET http://Example.com:8080/x HTTP/1.1\r\nHost: example.com\r\n\r\n", "200 GET example.com /x"},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: example.com\r\n\r\n", "200 GET example.com /"},
		{"several at once", "POST /1 HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\nabc" + "POST /2 HTTP/1.1\r\nHost: www.example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n" + good,
			"200 POST example.com /1 abc, 200 POST www.example.com /2 def, 200 GET example.com /"},
		{"another host behind one", good + "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n" + good, "200 GET example.com /, 403 evil.test port 8080 on: the host is not on the list"},
		{"one that is watched", "GET / HTTP/1.1\r\nHost: watched.test\r\n\r\n", "200 GET watched.test /"},
		{"all of a host", "OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n", "200 "},
		{"another upgrade", "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "200 GET example.com /"},
	} {
		if got := strings.Join(w.say(c.requests), ", "); strings.ReplaceAll(got, "mybr does not pass this request to ", "") != c.answers {
			t.Errorf("%s: %q, want %q", c.what, got, c.answers)
		}
	}
	if _, refused, _ := w.seen(); len(refused) != 2 {
		t.Errorf("%+v was told", refused)
	}
}

// However many hosts a client asks behind each other, below *.example.com say, it keeps few
// connections to them open: each is a descriptor of the process.
func TestConnectionsToHostsAreBounded(t *testing.T) {
	w := start(t, site(t, echo))
	var open, most atomic.Int64
	dial := w.cfg.Dial
	w.cfg.Dial = func(ctx context.Context, name string, port uint16) (net.Conn, error) {
		c, err := dial(ctx, name, port)
		if err != nil {
			return nil, err
		}
		most.Store(max(most.Load(), open.Add(1)))
		return &closing{Conn: c, closed: func() { open.Add(-1) }}, nil
	}
	const asked = 50
	var requests strings.Builder
	for i := range asked {
		name := fmt.Sprintf("%d.example.com", i)
		w.allow(name, hosts.Allow)
		fmt.Fprintf(&requests, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", name)
	}
	if got := w.say(requests.String()); len(got) != asked {
		t.Fatalf("%d answers: %q", len(got), got)
	}
	if dialed, _, _ := w.seen(); len(dialed) != asked {
		t.Fatalf("%d connections were made", len(dialed))
	}
	// That of the host before is closed by another goroutine than makes the next.
	if n := most.Load(); n > 4 {
		t.Errorf("one client had %d connections at once", n)
	}
}

// closing is a connection that tells once that it was closed.
type closing struct {
	net.Conn
	once   sync.Once
	closed func()
}

func (c *closing) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}

// refusals are requests that are not passed on, and what their reason says.
var refusals = map[string][2]string{
	"no host":               {"GET / HTTP/1.1\r\n\r\n", "no Host"},
	"an empty one":          {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "empty"},
	"two":                   {"GET / HTTP/1.1\r\nHost: example.com\r\nHost: evil.test\r\n\r\n", "two Host"},
	"the same twice":        {"GET / HTTP/1.1\r\nHost: example.com\r\nhost: example.com\r\n\r\n", "two Host"},
	"an address":            {"GET / HTTP/1.1\r\nHost: 192.0.2.77:8080\r\n\r\n", "IP address"},
	"an IPv6 address":       {"GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", "Host"},
	"a dot at the end":      {"GET / HTTP/1.1\r\nHost: example.com.\r\n\r\n", "dot"},
	"another port":          {"GET / HTTP/1.1\r\nHost: example.com:80\r\n\r\n", "port"},
	"a user":                {"GET / HTTP/1.1\r\nHost: evil.test@example.com\r\n\r\n", "character"},
	"another target":        {"GET http://evil.test/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "target"},
	"another scheme":        {"GET https://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "target"},
	"a user in the target":  {"GET http://a@example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "target"},
	"CONNECT":               {"CONNECT example.com:8080 HTTP/1.1\r\nHost: example.com:8080\r\n\r\n", "CONNECT"},
	"both lengths":          {"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both"},
	"two lengths":           {"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "Content-Length"},
	"a list of lengths":     {"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3, 3\r\n\r\nabc", "Content-Length"},
	"a signed length":       {"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: +3\r\n\r\nabc", "Content-Length"},
	"no length":             {"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length:\r\n\r\nabc", "Content-Length"},
	"another encoding":      {"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "chunked"},
	"chunks of HTTP/1.0":    {"POST / HTTP/1.0\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunked"},
	"a line that goes on":   {"GET / HTTP/1.1\r\nHost: example.com\r\nX: a\r\n b\r\n\r\n", "obs-fold"},
	"a blank before colon":  {"GET / HTTP/1.1\r\nHost: example.com\r\nX : a\r\n\r\n", "name of a header field"},
	"no colon":              {"GET / HTTP/1.1\r\nHost: example.com\r\nX\r\n\r\n", "name of a header field"},
	"a bare LF":             {"GET / HTTP/1.1\r\nHost: example.com\r\nX: a\nY: b\r\n\r\n", "CR and LF"},
	"bare LFs":              {"GET / HTTP/1.1\nHost: example.com\n\n", "CR and LF"},
	"a bare CR":             {"GET / HTTP/1.1\r\nHost: example.com\r\nX: a\rb\r\n\r\n", "CR and LF"},
	"a NUL":                 {"GET / HTTP/1.1\r\nHost: example.com\r\nX: a\x00b\r\n\r\n", "character"},
	"HTTP/2":                {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"},
	"HTTP/0.9":              {"GET /\r\n\r\n", "first line"},
	"HTTP/1.2":              {"GET / HTTP/1.2\r\nHost: example.com\r\n\r\n", "first line"},
	"two blanks":            {"GET  / HTTP/1.1\r\nHost: example.com\r\n\r\n", "first line"},
	"an empty line first":   {"\r\n\r\n" + good, "first line"},
	"a fragment":            {"GET /#a HTTP/1.1\r\nHost: example.com\r\n\r\n", "fragment"},
	"no path":               {"GET x HTTP/1.1\r\nHost: example.com\r\n\r\n", "can't be read"},
	"a header without end":  {"GET / HTTP/1.1\r\nX: " + strings.Repeat("a", maxHead) + "\r\n\r\n", "more than"},
	"a character of UTF-8":  {"GET /\xc3\xbc HTTP/1.1\r\nHost: example.com\r\n\r\n", "character"},
	"a host that is hidden": {"GET / HTTP/1.1\r\nHost: example.com\x00.evil.test\r\n\r\n", "character"},
}

func TestRefuses(t *testing.T) {
	w := start(t, site(t, echo))
	for what, c := range refusals {
		// What comes behind is not served.
		if got := w.say(c[0] + good); len(got) != 1 || !strings.HasPrefix(got[0], "403 mybr does not pass this request") || !strings.Contains(got[0], c[1]) {
			t.Errorf("%s: %q, want %q", what, got, c[1])
		}
	}
	if dialed, refused, _ := w.seen(); len(dialed) != 0 || len(refused) != len(refusals) {
		t.Errorf("%v was connected to, and %d refusals told", dialed, len(refused))
	}
}

// What is wrong with a body is seen behind the header; the host does not get a whole request.
func TestBadChunks(t *testing.T) {
	w := start(t, site(t, func(_ http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil {
			t.Errorf("the host got the whole body %q", b)
		}
	}))
	for _, chunks := range []string{"x\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "-1\r\n\r\n", "3\r\nab"} {
		for _, a := range w.say("POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks) {
			if strings.HasPrefix(a, "200") {
				t.Errorf("%q: %q", chunks, a)
			}
		}
	}
}

func TestHostThatIsNotThere(t *testing.T) {
	w := start(t, "")
	if got := w.say(good + good); len(got) != 1 || !strings.HasPrefix(got[0], "502 ") || !strings.Contains(got[0], "nobody is there") {
		t.Errorf("%q", got)
	}
	if _, _, failed := w.seen(); len(failed) != 1 {
		t.Errorf("%v was told", failed)
	}
}

func TestStreams(t *testing.T) {
	next := make(chan struct{})
	w := start(t, site(t, func(rw http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprint(rw, i)
			rw.(http.Flusher).Flush()
			<-next
		}
		rw.Header().Set(http.TrailerPrefix+"X", "y")
	}))
	r, err := client(t, w.at).Get("http://example.com")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	for i := range 3 {
		b := make([]byte, 1)
		if _, err := io.ReadFull(r.Body, b); err != nil || b[0] != byte('0'+i) {
			t.Fatalf("part %d: %q, %v", i, b, err)
		}
		next <- struct{}{}
	}
	if b, err := io.ReadAll(r.Body); len(b) > 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestExpectContinue(t *testing.T) {
	w := start(t, site(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			rw.WriteHeader(http.StatusExpectationFailed)
			return
		}
		rw.Header().Set("Link", "</a.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		echo(rw, r)
	}))
	for path, want := range map[string]string{"/yes": "200 continue early true", "/no": "417  false"} {
		body := &noted{Reader: strings.NewReader("body")}
		var continued, early string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got100Continue: func() { continued = "continue" },
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code == http.StatusEarlyHints && h.Get("Link") != "" {
					early = " early"
				}
				return nil
			},
		})
		r, err := http.NewRequestWithContext(ctx, "POST", "http://example.com"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = 4
		r.Header.Set("Expect", "100-continue")
		resp, err := client(t, w.at).Do(r)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		resp.Body.Close()
		if got := fmt.Sprintf("%d %s%s %t", resp.StatusCode, continued, early, body.read.Load()); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

type noted struct {
	io.Reader
	read atomic.Bool // the Transport reads
}

func (n *noted) Read(p []byte) (int, error) { n.read.Store(true); return n.Reader.Read(p) }

// tunnel is a WebSocket, as far as what passes it on can see.
func tunnel(t *testing.T, w *world) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c := w.dial()
	// What a client sends right behind its request is not lost.
	_, err := io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n\r\nearly")
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	r, err := http.ReadResponse(in, nil)
	if err != nil || r.StatusCode != http.StatusSwitchingProtocols || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-Websocket-Accept") != "x" {
		t.Fatalf("%+v, %v", r, err)
	}
	return c, in
}

func upgraded(t *testing.T) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		c, buf, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" {
			t.Errorf("%v", r.Header)
		}
		fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", r.Header.Get("Sec-Websocket-Key"))
		if err := buf.Flush(); err != nil {
			return
		}
		_, _ = io.Copy(c, buf)
	}
}

func TestWebSocketAndChangedList(t *testing.T) {
	w := start(t, site(t, upgraded(t)))
	c, in := tunnel(t, w)
	if _, err := io.WriteString(c, " late"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if _, err := io.ReadFull(in, b); err != nil || !bytes.Equal(b, []byte("early late")) {
		t.Fatalf("%q, %v", b, err)
	}
	w.Recheck()
	if _, err := io.WriteString(c, "more"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(in, b[:4]); err != nil {
		t.Fatalf("a list that has not changed ends a connection: %v", err)
	}
	w.allow("example.com", hosts.Refuse)
	w.Recheck()
	var timeout net.Error
	if _, err := in.ReadByte(); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("a list that has changed: %v", err)
	}
}

// The end of the context ends a request that is under way.
func TestEnds(t *testing.T) {
	held := make(chan struct{})
	begun := make(chan struct{})
	at := site(t, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		select {
		case <-r.Context().Done():
			close(held)
		case <-time.After(enough):
			t.Error("the host is not told")
		}
	})
	w := start(t, at)
	c := w.dial()
	if _, err := io.WriteString(c, good); err != nil {
		t.Fatal(err)
	}
	<-begun
	w.allow("example.com", hosts.Refuse)
	w.Recheck()
	<-held
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// Whatever is passed by check, net/http reads with the same host, and with one length.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(good))
	for _, c := range refusals {
		f.Add([]byte(c[0]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 || bareLine(b[:end+4], 0) {
			return
		}
		b = b[:end+4]
		h, err := check(b)
		if err != nil {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		name, err := named(r, h, 8080)
		if err != nil {
			return
		}
		if n, err := hosts.Name(name); err != nil || n != name {
			t.Fatalf("%q is of %q: %v", b, name, err)
		}
		if host, err := origin(r.Host, 8080); err != nil || host != name {
			t.Fatalf("%q is of %q, net/http reads %q", b, name, r.Host)
		}
		prepare(r, r.Body, name+":8080", h.host)
		var out bytes.Buffer
		r.Body, r.ContentLength, r.TransferEncoding = nil, 0, nil
		if err := r.Write(&out); err != nil {
			return
		}
		if bytes.Count(bytes.ToLower(out.Bytes()), []byte("\r\nhost:")) != 1 || !bytes.Contains(out.Bytes(), []byte("\r\nHost: "+r.Host+"\r\n")) || bytes.Count(out.Bytes(), []byte("\r\n\r\n")) != 1 {
			t.Fatalf("%q is passed on as %q", b, out.Bytes())
		}
	})
}
