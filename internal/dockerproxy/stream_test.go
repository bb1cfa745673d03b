package dockerproxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// hijacker answers as the engine does where a connection becomes a stream: the head, then
// what fn does with it.
func hijacker(fn func(conn *net.UnixConn, r *bufio.Reader)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		if up := r.Header.Get("Upgrade"); up != "" {
			fmt.Fprintf(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", up)
		} else {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")
		}
		fn(conn.(*net.UnixConn), buffered.Reader)
	})
}

const (
	attachUpgrade = "POST /v1.41/containers/c/attach?stream=1 HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
	attachPlain   = "POST /containers/c/attach?stream=1 HTTP/1.1\r\nHost: docker\r\n\r\n"
	execPlain     = "POST /v1.24/exec/e/start HTTP/1.1\r\nHost: docker\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
	session       = "POST /session HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
	webSocket     = "GET /containers/c/attach/ws HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

// Both directions are carried, byte for byte, and each ends by itself: what comes back
// after the end of the input arrives.
func TestStreams(t *testing.T) {
	output := bytes.Repeat([]byte("\x01\x00\x00\x00 bytes of any kind \xff\r\n"), 1<<15)
	f := newFake(t, hijacker(func(conn *net.UnixConn, r *bufio.Reader) {
		input, err := io.ReadAll(r) // until the client has ended its direction
		if err != nil {
			return
		}
		_, _ = conn.Write(output)
		fmt.Fprintf(conn, "got %d", len(input))
	}))
	for name, request := range map[string]string{
		"attach": attachUpgrade, "attach without upgrade": attachPlain, "exec": execPlain, "session": session, "websocket": webSocket,
	} {
		conn := f.dial(f.proxy)
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		input := strings.Repeat("input", 100_000)
		go func() {
			// What follows the request at once must not be lost.
			_, _ = io.WriteString(conn, request+input)
			_ = conn.CloseWrite()
		}()
		got, err := io.ReadAll(conn)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		head, body, _ := bytes.Cut(got, []byte("\r\n\r\n"))
		wantHead := "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nContent-Type: application/vnd.docker.raw-stream\r\nUpgrade: "
		if !strings.Contains(request, "Upgrade") {
			wantHead = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream"
		}
		if !strings.HasPrefix(string(head), wantHead) {
			t.Errorf("%s: head %q", name, head)
		}
		if want := append(bytes.Clone(output), fmt.Sprintf("got %d", len(input))...); !bytes.Equal(body, want) {
			t.Errorf("%s: %d bytes, want %d, ending with %q", name, len(body), len(want), body[max(0, len(body)-20):])
		}
	}
}

// The output of a container that ends reaches a client that still has its input open.
func TestStreamEndsByEngine(t *testing.T) {
	f := newFake(t, hijacker(func(conn *net.UnixConn, _ *bufio.Reader) { fmt.Fprint(conn, "bye") }))
	conn := f.dial(f.proxy)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, attachUpgrade)
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(got), "\r\n\r\nbye") {
		t.Errorf("%q, %v", got, err)
	}
}

// A client that goes away in the midst of its output ends the engine's stream.
func TestStreamClientGone(t *testing.T) {
	ended := make(chan error, 1)
	f := newFake(t, hijacker(func(conn *net.UnixConn, _ *bufio.Reader) {
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		var err error
		for err == nil {
			_, err = conn.Write(make([]byte, 4096))
		}
		ended <- err
	}))
	conn := f.dial(f.proxy)
	fmt.Fprint(conn, attachUpgrade)
	if _, err := conn.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	var timeout net.Error
	if err := <-ended; errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the engine's stream goes on")
	}
}

// A client that goes in the midst of its request leaves nobody waiting for the rest.
func TestStreamHalfAsked(t *testing.T) {
	began, ended := make(chan bool, 1), make(chan error, 1)
	f := newFake(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		began <- true
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}))
	conn := f.dial(f.proxy)
	fmt.Fprint(conn, strings.Replace(execPlain, "Content-Length: 2", "Content-Length: 20", 1))
	<-began
	conn.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a part of a request is taken for the whole")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the engine waits for a client that has gone")
	}
}

// An error instead of a stream is an ordinary answer, behind which the connection is used
// again; so is that of a detached exec.
func TestNoStream(t *testing.T) {
	f := newFake(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "attach") {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"message":"not running"}`)
			return
		}
		w.WriteHeader(http.StatusOK)
	}))
	conn := f.dial(f.proxy)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(conn)
	for _, c := range []struct {
		request, body string
		status        int
	}{{attachUpgrade, `{"message":"not running"}`, 409}, {attachPlain, `{"message":"not running"}`, 409}, {execPlain, "", 200}, {attachUpgrade, `{"message":"not running"}`, 409}} {
		fmt.Fprint(conn, c.request)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != c.body || resp.StatusCode != c.status {
			t.Errorf("%.30q: %d %q, %v", c.request, resp.StatusCode, body, err)
		}
	}
}

// Events and logs arrive as they come, and a client that goes ends the engine's answer.
func TestFollowing(t *testing.T) {
	next, gone := make(chan string), make(chan struct{})
	f := newFake(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case text := <-next:
				fmt.Fprint(w, text)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Second):
				panic("the client has gone, and nobody has said so")
			}
		}
	}))
	resp, err := f.client().Get("http://docker/v1.41/events")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"{\"a\":1}\n", "{\"b\":2}\n"} {
		next <- text
		got := make([]byte, len(text))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	resp.Body.Close()
	<-gone
}

// A client that takes its time with a list holds up nobody else.
func TestSlowClient(t *testing.T) {
	big := `[{"Id":"c1","Text":"` + strings.Repeat("x", 8<<20) + `","Ports":[],"NetworkSettings":{"Networks":{"n":{"EndpointID":"e1"}}}}]`
	f := newFake(t, engine(map[string]string{"/containers/json": big, "/v1.41/containers/json": aList}))
	f.set(someEndpoints)
	slow := f.dial(f.proxy)
	fmt.Fprint(slow, "GET /containers/json HTTP/1.1\r\nHost: docker\r\n\r\n")
	if _, err := io.ReadFull(slow, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if have := f.get("/v1.41/containers/json"); have != aListWant {
			t.Fatalf("have %.300s", have)
		}
	}
	_ = slow.SetDeadline(time.Now().Add(20 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), slow)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, 8<<20); err != nil {
		t.Error(err)
	}
}
