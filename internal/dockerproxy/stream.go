package dockerproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
)

// hijacked are the requests after which Docker's API uses the connection as a plain
// stream of both directions, also for clients that don't ask for an upgrade (Engine API,
// ContainerAttach and ExecStart).
var hijacked = regexp.MustCompile(`^(/v[0-9.]+)?/(containers/.+/attach|exec/.+/start)$`)

// becomesStream reports whether the connection of a request may become a stream: attach,
// exec, and by an upgrade the sessions of a build and websockets, which send no body before.
// Some HTTP libraries ask with each request for an upgrade that they can do without (to TLS,
// RFC 2817; to HTTP/2): their lists are changed, and their uploads go both ways at once.
func becomesStream(r *http.Request) bool {
	if r.Method == http.MethodPost && hijacked.MatchString(r.URL.Path) {
		return true
	}
	return r.Header.Get("Upgrade") != "" && r.ContentLength == 0 && editOf(r) == nil
}

// tunnel passes a request on whose answer may be a stream of both directions. A direction
// that ends is ended at the other side too, while the other direction goes on: that is how
// docker attach and exec say that there is no more input.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	conn, err := p.dial(r.Context(), "", "")
	if err != nil {
		p.failed(w, r, err)
		return
	}
	engine := conn.(*net.UnixConn)
	defer engine.Close()
	// When the client goes before there is an answer, or the proxy ends.
	stop := context.AfterFunc(r.Context(), func() { engine.Close() })
	defer stop()

	answers := bufio.NewReader(engine)
	resp, err := ask(engine, answers, r)
	if err != nil {
		p.failed(w, r, err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols && !untilClosed(resp) {
		passOn(w, resp)
		return
	}
	client, rest, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.failed(w, r, err)
		return
	}
	defer client.Close()
	defer context.AfterFunc(r.Context(), func() { client.Close() })()
	if err := writeHead(client, resp); err != nil {
		return // the client has gone
	}
	join(client.(*net.UnixConn), rest.Reader, engine, answers)
}

// ask sends a request and reads the answer's header.
func ask(engine io.Writer, answers *bufio.Reader, r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.Header.Del("Expect") // net/http has the client go on when the body is read
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = []string{""} // net/http would add its own
	}
	errWrite := out.Write(engine)
	for {
		resp, err := http.ReadResponse(answers, out)
		switch {
		case err != nil && errWrite != nil:
			return nil, errWrite
		case err != nil:
			return nil, err
		case resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols:
			return resp, nil
		}
	}
}

// untilClosed reports whether an answer has no other end than that of its connection.
func untilClosed(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
}

// hopByHop are the headers of one connection (RFC 9110, 7.6.1).
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"}

// passOn answers with an ordinary answer, such as an error.
func passOn(w http.ResponseWriter, resp *http.Response) {
	for _, name := range hopByHop {
		resp.Header.Del(name)
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	control := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buffer)
		if _, errWrite := w.Write(buffer[:n]); errWrite != nil {
			return // the client has gone
		}
		if err == io.EOF {
			return
		}
		if err != nil || control.Flush() != nil {
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
	}
}

// writeHead writes the header of an answer that a stream follows.
func writeHead(client io.Writer, resp *http.Response) error {
	w := bufio.NewWriter(client)
	fmt.Fprintf(w, "HTTP/1.1 %s\r\n", resp.Status)
	if err := resp.Header.Write(w); err != nil {
		return err
	}
	fmt.Fprint(w, "\r\n")
	return w.Flush()
}

// join carries a stream both ways until both directions have ended, or one has failed.
func join(client *net.UnixConn, fromClient *bufio.Reader, engine *net.UnixConn, fromEngine *bufio.Reader) {
	done := make(chan error, 2)
	go func() { done <- carry(engine, fromClient, client) }()
	go func() { done <- carry(client, fromEngine, engine) }()
	if err := <-done; err != nil {
		client.Close()
		engine.Close()
	}
	<-done
}

// carry copies one direction: what has been read of it already, then the rest.
func carry(to *net.UnixConn, read *bufio.Reader, from *net.UnixConn) error {
	if _, err := io.CopyN(to, read, int64(read.Buffered())); err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	return to.CloseWrite()
}
