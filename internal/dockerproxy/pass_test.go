package dockerproxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// echo answers with the request as it has arrived, without what is of one connection.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	r.Header.Del("Connection")
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s %s\n", r.Method, r.RequestURI, r.Host)
	_ = r.Header.Write(&text)
	_, _ = io.Copy(&text, r.Body)
	fmt.Fprintf(&text, "\ntrailer %v", r.Trailer)
	w.Header().Set("Trailer", "X-Sum")
	w.Header()["X-Docker-Container-Path-Stat"] = []string{"eyJ9"}
	w.Header().Set("Api-Version", "1.41")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(text.Bytes())
	w.Header().Set("X-Sum", "end")
})

// A request arrives as it was sent, and its answer too.
func TestPassed(t *testing.T) {
	f := newFake(t, echo)
	for _, c := range []struct{ request, arrives string }{
		{"GET /v1.41//images/a%2Fb:c/json?filters=%7B%22x%22%3A%5B1%5D%7D;y&z HTTP/1.1\r\nHost: api.moby.localhost\r\nX-Registry-Auth: e30=\r\nX-Forwarded-For: 192.0.2.1\r\nForwarded: for=x\r\n\r\n",
			"GET /v1.41//images/a%2Fb:c/json?filters=%7B%22x%22%3A%5B1%5D%7D;y&z api.moby.localhost\nForwarded: for=x\r\nX-Forwarded-For: 192.0.2.1\r\nX-Registry-Auth: e30=\r\n\ntrailer map[]"},
		{"POST /build?t=x HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\nUser-Agent: Docker-Client/28.5\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-End: yes\r\n\r\n",
			"POST /build?t=x docker\nUser-Agent: Docker-Client/28.5\r\nabcde\ntrailer map[X-End:[yes]]"},
		{"PUT /containers/c/archive?path=/ HTTP/1.1\r\nHost: docker\r\nContent-Length: 4\r\n\r\n\x00\xff\r\n",
			"PUT /containers/c/archive?path=/ docker\nContent-Length: 4\r\n\x00\xff\r\n\ntrailer map[]"},
	} {
		conn := f.dial(f.proxy)
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(conn, c.request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusCreated || resp.Header.Get("X-Docker-Container-Path-Stat") != "eyJ9" ||
			resp.Header.Get("Api-Version") != "1.41" || resp.Trailer.Get("X-Sum") != "end" {
			t.Errorf("%d %v %v, %v", resp.StatusCode, resp.Header, resp.Trailer, err)
		}
		if string(body) != c.arrives {
			t.Errorf("have %q\nwant %q", body, c.arrives)
		}
	}
}

// HEAD has a length and no body.
func TestHead(t *testing.T) {
	f := newFake(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "7")
		w.Header().Set("Api-Version", "1.41")
	}))
	for _, path := range []string{"/_ping", "/containers/json"} {
		resp, err := f.client().Head("http://docker" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.ContentLength != 7 || resp.Header.Get("Api-Version") != "1.41" {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
}

// A client that waits for leave to send its body gets it, and one that is refused doesn't.
func TestContinue(t *testing.T) {
	f := newFake(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	}))
	for path, want := range map[string]string{"/images/load": "100", "/refused": "403"} {
		conn := f.dial(f.proxy)
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: docker\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", path)
		r := bufio.NewReader(conn)
		line, err := r.ReadString('\n')
		if err != nil || !strings.Contains(line, " "+want+" ") {
			t.Fatalf("%s: %q, %v", path, line, err)
		}
		if path == "/refused" {
			continue
		}
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "12345")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "5 <nil>" {
			t.Errorf("have %q", body)
		}
	}
}

// The engine may answer while it still reads, as it does for docker load and build, also
// for a client that asks for an upgrade which the engine does not know.
func TestBothAtOnce(t *testing.T) {
	for _, upgrade := range []string{"", "TLS/1.2"} {
		t.Run(upgrade, func(t *testing.T) { bothAtOnce(t, upgrade) })
	}
}

func bothAtOnce(t *testing.T, upgrade string) {
	f := newFake(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		line := bufio.NewReader(r.Body)
		for {
			text, err := line.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(w, "read ", text)
			_ = http.NewResponseController(w).Flush()
		}
	}))
	body, write := io.Pipe()
	defer write.Close()
	req, err := http.NewRequest(http.MethodPost, "http://docker/images/load", body)
	if err != nil {
		t.Fatal(err)
	}
	if upgrade != "" {
		req.Header = http.Header{"Upgrade": {upgrade}, "Connection": {"Upgrade"}}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req = req.WithContext(ctx)
	go fmt.Fprintln(write, "one")
	resp, err := f.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	for _, next := range []string{"two", "three", ""} {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		if next != "" {
			fmt.Fprintln(write, next)
		}
	}
	write.Close()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// Where there is no engine, or one that breaks off, the client is told in the form that it
// knows.
func TestNoEngine(t *testing.T) {
	f := newFake(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	broken := f.get("/v1.41/info")
	if !strings.HasPrefix(broken, `{"message":"mybr docker-proxy: the Docker daemon broke off: `) {
		t.Errorf("have %s", broken)
	}
	proxy := New(Config{Docker: "/nowhere/docker.sock", Warn: t.Logf})
	f.proxy += "2"
	serve(t, f.proxy, proxy)
	want := `{"message":"mybr docker-proxy: no Docker daemon answers at unix:///nowhere/docker.sock: dial unix /nowhere/docker.sock: connect: no such file or directory"}` + "\n"
	for _, request := range []string{"GET /info HTTP/1.1\r\nHost: docker\r\n\r\n", attachUpgrade} {
		conn := f.dial(f.proxy)
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(conn, request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || string(body) != want {
			t.Errorf("%d %s, %v", resp.StatusCode, body, err)
		}
	}
}
