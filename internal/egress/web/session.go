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
	"net/netip"
	"net/textproto"
	"strconv"
	"sync"
	"time"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// Times that a client may take.
const (
	patience = 10 * time.Second // for the line and header of a request
	idle     = time.Minute      // between requests
	parting  = time.Second      // to read why it is refused
)

// session is one connection.
type session struct {
	server *Server
	client netip.Addr
	to     netip.AddrPort
	conn   hosts.Conn
	cancel context.CancelFunc
	in     *bufio.Reader
	hosts  *http.Transport

	mu   sync.Mutex
	name string // of the request that is served, or was last

	out       sync.Mutex // what follows, of the request that is served
	last      bool       // the final answer has begun: no interim ones any more
	continued bool       // the client was told to send the body
}

func newSession(s *Server, client netip.Addr, to netip.AddrPort, c hosts.Conn, cancel context.CancelFunc) *session {
	x := &session{server: s, client: client, to: to, conn: c, cancel: cancel, in: bufio.NewReaderSize(c, maxHead)}
	x.hosts = &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			name, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return s.cfg.Dial(ctx, name, to.Port())
		},
		DisableCompression:     true, // which would ask for it, and undo it
		IdleConnTimeout:        idle,
		MaxIdleConns:           1, // requests come one after the other, mostly for one host
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
	return x
}

// serve serves one request after the other, each judged by itself.
func (x *session) serve(ctx context.Context) {
	defer x.hosts.CloseIdleConnections()
	for wait := patience; ; wait = idle {
		b, err := x.head(wait)
		var refusal *refusal
		switch {
		case errors.As(err, &refusal):
			x.refuse("", refusal.reason)
			return
		case err != nil:
			return // it has gone, or says nothing
		}
		h, err := check(b)
		if err != nil {
			x.refuse("", err.Error())
			return
		}
		r, err := http.ReadRequest(x.in)
		if err != nil {
			x.refuse("", fmt.Sprintf("it can't be read: %v", err))
			return
		}
		name, err := named(r, h, x.to.Port())
		if err != nil {
			x.refuse("", err.Error())
			return
		}
		if !x.allowed(name) || !x.pass(ctx, r, name, h.host) {
			return
		}
	}
}

type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// head waits for a whole line and header, and leaves it to be read.
func (x *session) head(wait time.Duration) ([]byte, error) {
	if err := x.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	if _, err := x.in.Peek(1); err != nil {
		return nil, err
	}
	if err := x.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	for looked := 0; ; {
		b, err := x.in.Peek(x.in.Buffered())
		if err != nil {
			return nil, err
		}
		from := max(0, looked-3)
		end := bytes.Index(b[from:], []byte("\r\n\r\n"))
		until := len(b)
		if end >= 0 {
			until = from + end + 4
		}
		if bareLine(b[:until], max(0, looked-1)) {
			return nil, &refusal{"its lines don't end with CR and LF"}
		}
		if end >= 0 {
			return b[:until], x.conn.SetReadDeadline(time.Time{})
		}
		if len(b) >= maxHead {
			return nil, &refusal{fmt.Sprintf("its header has more than %d bytes", maxHead)}
		}
		looked = len(b)
		if _, err := x.in.Peek(len(b) + 1); err != nil {
			return nil, err
		}
	}
}

// allowed asks the policy, for a request that Recheck sees: no change of a list is missed.
func (x *session) allowed(name string) bool {
	x.mu.Lock()
	x.name = name
	x.mu.Unlock()
	switch x.server.cfg.Policy.Allowed(x.client, name, x.to.Port()) {
	case hosts.Allow:
	case hosts.Audit:
		x.server.refused(Refused{Client: x.client, To: x.to, Name: name}, hosts.Audit)
	default:
		x.refuse(name, "the host is not on the list")
		return false
	}
	return true
}

func (x *session) refuse(name, reason string) {
	x.server.refused(Refused{Client: x.client, To: x.to, Name: name, Reason: reason}, hosts.Refuse)
	text := "mybr does not pass this request on: " + reason + "\n"
	if name != "" {
		text = fmt.Sprintf("mybr does not pass this request to %s port %d on: %s\n", name, x.to.Port(), reason)
	}
	x.part(http.StatusForbidden, text)
}

// part answers and closes the connection so that the client reads the answer, though it may
// have sent more, for which the kernel would reset it.
func (x *session) part(code int, text string) {
	x.out.Lock()
	x.last = true
	x.out.Unlock()
	if x.conn.SetDeadline(time.Now().Add(parting)) != nil {
		return
	}
	answer := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		code, http.StatusText(code), len(text), text)
	if _, err := io.WriteString(x.conn, answer); err == nil {
		x.linger()
	}
}

// linger ends what is sent and reads what the client still sends, for a while.
func (x *session) linger() {
	if x.conn.CloseWrite() == nil && x.conn.SetReadDeadline(time.Now().Add(parting)) == nil {
		_, _ = io.CopyN(io.Discard, x.conn, 256<<10) // it ends, or its time is over
	}
}

// interim passes an answer on that is not the last (RFC 9110, 15.2).
func (x *session) interim(code int, h http.Header) error {
	x.out.Lock()
	defer x.out.Unlock()
	if x.last {
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", code, http.StatusText(code))
	if err := h.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	x.continued = x.continued || code == http.StatusContinue
	_, err := x.conn.Write(b.Bytes())
	return err
}

// pass passes a request on, and its answer back; it reports whether another may follow.
func (x *session) pass(ctx context.Context, r *http.Request, name, host string) bool {
	x.out.Lock()
	x.last, x.continued = false, false
	x.out.Unlock()
	keep := !r.Close && r.ProtoAtLeast(1, 1)
	body := newBody(x, r)
	upgrade := prepare(r, body, net.JoinHostPort(name, strconv.Itoa(int(x.to.Port()))), host)
	if r.ProtoAtLeast(1, 1) {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusContinue {
				return body.proceed()
			}
			return x.interim(code, http.Header(h))
		}})
	}
	resp, err := x.hosts.RoundTrip(r.WithContext(ctx))
	if err != nil {
		if ctx.Err() == nil {
			x.server.failed(name, err)
			x.part(http.StatusBadGateway, fmt.Sprintf("mybr could not pass this request to %s port %d on: %v\n", name, x.to.Port(), err))
		}
		return false
	}
	defer resp.Body.Close()
	x.out.Lock()
	x.last = true
	if body.expects && !x.continued {
		keep = false // the client may send the body or not (RFC 9110, 10.1.1)
	}
	x.out.Unlock()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if !upgrade {
			x.server.failed(name, errors.New("it changes the protocol without having been asked"))
			return false
		}
		x.tunnel(ctx, resp)
		return false
	}
	if x.reply(resp, r, keep) && body.ended(parting) {
		return true
	}
	x.linger()
	return false
}
