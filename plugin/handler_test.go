package plugin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/ipam"
	"github.com/docker/go-plugins-helpers/network"
	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/model"
)

const testWithin = 10 * time.Second

// journal collects log lines; it may be written and read at the same time.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.b = bytes.Buffer{}
}

// entries returns the log's lines as objects.
func (j *journal) entries(t *testing.T) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(j.String()) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

func newLog() (*logrus.Logger, *journal) {
	j := new(journal)
	log := logrus.New()
	log.SetOutput(j)
	log.SetFormatter(&logrus.JSONFormatter{})
	return log, j
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// server answers calls on a socket of its own, with the server that Docker gets.
type server struct {
	t      *testing.T
	socket string
	log    *journal
	stop   func() // ends the server and its connections; it may be called again
	*handler
}

// serve starts a server whose first pass has ended, until the test ends.
func serve(t *testing.T, calls map[string]call) *server {
	t.Helper()
	log, j := newLog()
	s := &server{t: t, socket: filepath.Join(t.TempDir(), "mybr.sock"), log: j}
	s.handler = &handler{calls: calls, ready: closed(), stopping: make(chan struct{}), log: log}
	ln, err := listen(t.Context(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	s.start(ln, s.handler)
	return s
}

// start serves ln with h until the test ends.
func (s *server) start(ln net.Listener, h http.Handler) {
	s.run(ln, newServer(h, s.handler.log))
}

// run is start for a server.
func (s *server) run(ln net.Listener, srv *http.Server) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(ln) // http.ErrServerClosed
	}()
	s.stop = func() {
		srv.Close()
		<-ended
	}
	s.t.Cleanup(s.stop)
}

// do sends one request, as Docker's client does.
func (s *server) do(ctx context.Context, method, path, body string) (*http.Response, string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket)
	}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://mybr"+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, strings.TrimSuffix(string(text), "\n"), err
}

// post makes a call that is answered. Other goroutines may make calls, too.
func (s *server) post(path, body string) (status int, answer string) {
	s.t.Helper()
	resp, text, err := s.do(s.t.Context(), http.MethodPost, path, body)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	if have := resp.Header.Get("Content-Type"); have != contentType {
		s.t.Errorf("Content-Type %q, want %q", have, contentType)
	}
	return resp.StatusCode, text
}

// both is an error's body.
func both(text string) string {
	return strings.TrimSuffix(string(failure(errors.New(text))), "\n")
}

func TestErrorsAreInBothProtocolsFields(t *testing.T) {
	if have, want := both(`a "b"`), `{"Err":"a \"b\"","Error":"a \"b\""}`; have != want {
		t.Errorf("have %s, want %s", have, want)
	}
}

func TestWrongRequests(t *testing.T) {
	ran := false
	s := serve(t, map[string]call{
		"/NetworkDriver.CreateNetwork": action(func(context.Context, *network.CreateNetworkRequest) error {
			ran = true
			return nil
		}),
		"/NetworkDriver.CreateEndpoint": action(func(context.Context, *network.CreateEndpointRequest) error {
			ran = true
			return nil
		}),
		"/IpamDriver.RequestPool": action(func(context.Context, *ipam.RequestPoolRequest) error {
			ran = true
			return nil
		}),
	})
	noObject := func(body string) string {
		return fmt.Sprintf("the request is %q: want a JSON object (when its connection to mybr breaks, Docker repeats the call without a body: try again)", body)
	}
	const object = "map[string]interface {}"
	long := strings.Repeat("x", 100)
	for name, c := range map[string]struct{ path, body, want string }{
		"empty":           {"NetworkDriver.CreateNetwork", "", noObject("")},
		"blank":           {"NetworkDriver.CreateNetwork", " \r\n\t", noObject("")},
		"garbage":         {"NetworkDriver.CreateNetwork", "garbage", noObject("garbage")},
		"binary":          {"NetworkDriver.CreateNetwork", "\x00\x01", noObject("\x00\x01")},
		"null":            {"NetworkDriver.CreateNetwork", "null", noObject("null")},
		"array":           {"NetworkDriver.CreateNetwork", "[]", noObject("[]")},
		"string":          {"NetworkDriver.CreateNetwork", `"x"`, noObject(`"x"`)},
		"number":          {"NetworkDriver.CreateNetwork", "-5", noObject("-5")},
		"truth":           {"NetworkDriver.CreateNetwork", "true", noObject("true")},
		"long":            {"NetworkDriver.CreateNetwork", long, noObject(long[:longestValue] + "…")},
		"truncated":       {"NetworkDriver.CreateNetwork", `{"NetworkID":"a`, "the request is not JSON: unexpected end of JSON input"},
		"trailing":        {"NetworkDriver.CreateNetwork", `{"NetworkID":"a"}x`, "the request is not JSON: invalid character 'x' after top-level value"},
		"two objects":     {"NetworkDriver.CreateNetwork", `{"NetworkID":"a"}{}`, "the request is not JSON: invalid character '{' after top-level value"},
		"single quotes":   {"NetworkDriver.CreateNetwork", `{'NetworkID':'a'}`, `the request is not JSON: invalid character '\'' looking for beginning of object key string`},
		"ID a number":     {"NetworkDriver.CreateNetwork", `{"NetworkID": 512}`, `the request's NetworkID: want string, have number: …{"NetworkID": 512`},
		"ID a truth":      {"NetworkDriver.CreateNetwork", `{"NetworkID": true, "Options":{}}`, `the request's NetworkID: want string, have bool: …{"NetworkID": true`},
		"ID an object":    {"NetworkDriver.CreateNetwork", `{"NetworkID": {"a":1}}`, `the request's NetworkID: want string, have object: …{"NetworkID": {`},
		"options a text":  {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":"b"}`, "the request's Options: want " + object + `, have string: …{"NetworkID":"a","Options":"b"`},
		"options a long":  {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":"` + long + `"}`, "the request's Options: want " + object + ", have string: …" + long[:longestValue-1] + `"`},
		"data an object":  {"NetworkDriver.CreateNetwork", `{"IPv4Data":{"Pool":"a"}}`, `the request's IPv4Data: want []*network.IPAMData, have object: …{"IPv4Data":{`},
		"deep":            {"NetworkDriver.CreateNetwork", `{"IPv4Data":[{"Pool":"a"},{"Pool":7}]}`, `the request's IPv4Data.Pool: want string, have number: …{"IPv4Data":[{"Pool":"a"},{"Pool":7`},
		"deep aux":        {"NetworkDriver.CreateNetwork", `{"IPv4Data":[{"AuxAddresses":[1]}]}`, "the request's IPv4Data.AuxAddresses: want " + object + `, have array: …{"IPv4Data":[{"AuxAddresses":[`},
		"interface":       {"NetworkDriver.CreateEndpoint", `{"Interface":"x"}`, `the request's Interface: want network.EndpointInterface, have string: …{"Interface":"x"`},
		"V6 a text":       {"IpamDriver.RequestPool", `{"V6":"false"}`, `the request's V6: want bool, have string: …{"V6":"false"`},
		"an IPAM option":  {"IpamDriver.RequestPool", `{"Options":{"a":1}}`, `the request's Options: want string, have number: …{"Options":{"a":1`},
		"too large":       {"NetworkDriver.CreateNetwork", `{"NetworkID":"` + strings.Repeat("a", largestBody) + `"}`, "the request is larger than 8388608 bytes"},
		"too large blank": {"NetworkDriver.CreateNetwork", strings.Repeat(" ", largestBody+1), "the request is larger than 8388608 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			status, have := s.post("/"+c.path, c.body)
			if status != http.StatusBadRequest || have != both(c.want) {
				t.Errorf("%d %s\nwant 400 %s", status, have, both(c.want))
			}
		})
	}
	if ran {
		t.Error("a wrong request was carried out")
	}
}

func TestLargestRequestIsTaken(t *testing.T) {
	var have int
	s := serve(t, map[string]call{"/x": action(func(_ context.Context, r *network.DeleteNetworkRequest) error {
		have = len(r.NetworkID)
		return nil
	})})
	frame := len(`{"NetworkID":""}`)
	status, body := s.post("/x", `{"NetworkID":"`+strings.Repeat("a", largestBody-frame)+`"}`)
	if status != http.StatusOK || body != "{}" || have != largestBody-frame {
		t.Errorf("%d %s with %d bytes", status, body, have)
	}
}

func TestUnknownFieldsAreToleratedAndAnswersEncoded(t *testing.T) {
	s := serve(t, map[string]call{
		"/NetworkDriver.Join": route(func(_ context.Context, r *network.JoinRequest) (*network.JoinResponse, error) {
			return &network.JoinResponse{Gateway: r.SandboxKey}, nil
		}),
	})
	status, body := s.post("/NetworkDriver.Join",
		`{"NetworkID":"0123456789abcdef","EndpointID":"fedcba9876543210","SandboxKey":"key","Newer":{"x":[1,null]}}`)
	if status != http.StatusOK || !strings.Contains(body, `"Gateway":"key"`) {
		t.Errorf("%d %s", status, body)
	}
	entries := s.log.entries(t)
	if len(entries) != 1 {
		t.Fatalf("%d log entries for one request: %s", len(entries), s.log)
	}
	e := entries[0]
	if e["method"] != "NetworkDriver.Join" || e["network"] != "0123456789ab" || e["endpoint"] != "fedcba987654" || e["sandbox"] != "key" || e["level"] != "info" || e["took"] == "" {
		t.Errorf("log entry %v", e)
	}
}

func TestStatusOfErrors(t *testing.T) {
	for want, err := range map[int]error{
		http.StatusBadRequest:          fmt.Errorf("create network x: %w option", model.ErrInvalid),
		http.StatusInternalServerError: fmt.Errorf("Bind for 0.0.0.0:80 failed: %w", model.ErrConflict),
	} {
		s := serve(t, map[string]call{"/x": action(func(context.Context, *struct{}) error { return err })})
		status, body := s.post("/x", "{}")
		if status != want || body != both(err.Error()) {
			t.Errorf("%d %s, want %d %s", status, body, want, err)
		}
		if e := s.log.entries(t); len(e) != 1 || e[0]["error"] != err.Error() {
			t.Errorf("log %v", e)
		}
	}
	// 404 would make Docker think that the call does not exist.
	if have := statusOf(model.ErrNotFound); have != http.StatusInternalServerError {
		t.Errorf("not found: %d", have)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	s := serve(t, map[string]call{"/A.B": action(func(context.Context, *struct{}) error { return nil })})
	for _, path := range []string{"/", "/A.C", "/a.b", "/A.B/", "//A.B", "/x/../A.B"} {
		if status, body := s.post(path, "{}"); status != http.StatusNotFound || body != both("unknown call "+path) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		resp, body, err := s.do(t.Context(), method, "/A.B", "")
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "POST" || body != both("method "+method+": want POST") {
			t.Errorf("%s: %d %s", method, resp.StatusCode, body)
		}
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	panics := true
	s := serve(t, map[string]call{
		"/x": action(func(context.Context, *struct{}) error {
			if panics {
				panic("out of luck")
			}
			return nil
		}),
	})
	status, body := s.post("/x", "{}")
	if want := both("mybr crashed in this call (see its log): out of luck"); status != http.StatusInternalServerError || body != want {
		t.Errorf("%d %s, want 500 %s", status, body, want)
	}
	e := s.log.entries(t)
	if len(e) != 1 || e[0]["level"] != "error" || !strings.Contains(fmt.Sprint(e[0]["stack"]), "TestPanicIsAnAnswer") {
		t.Errorf("log %v", e)
	}
	panics = false
	if status, body := s.post("/x", "{}"); status != http.StatusOK || body != "{}" {
		t.Errorf("after the panic: %d %s", status, body)
	}
}

// The Host header is empty on Engine 20.10 and made up later; there is never a
// Content-Type.
func TestRequestsAsDockerSendsThem(t *testing.T) {
	s := serve(t, map[string]call{
		"/Plugin.Activate": constant(func(context.Context) (*struct{ Implements []string }, error) {
			return &struct{ Implements []string }{[]string{"NetworkDriver", "IpamDriver"}}, nil
		}),
	})
	for _, host := range []string{"", "plugin.moby.localhost"} {
		for _, body := range []string{"", "{}", "null"} {
			conn, err := net.Dial("unix", s.socket)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST /Plugin.Activate HTTP/1.1\r\nHost: %s\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\nAccept: %s\r\n\r\n%s",
				host, len(body), contentType, body)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			have, _ := io.ReadAll(resp.Body)
			conn.Close()
			if resp.StatusCode != 200 || string(have) != `{"Implements":["NetworkDriver","IpamDriver"]}`+"\n" {
				t.Errorf("host %q, body %q: %d %s", host, body, resp.StatusCode, have)
			}
		}
	}
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testWithin); !cond(); {
		if time.Now().After(deadline) {
			t.Fatal("it has not become true")
		}
		time.Sleep(2 * time.Millisecond)
	}
}
