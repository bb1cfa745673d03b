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
	"net/http/httptest"
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

// serve answers calls on a throw-away server whose first pass has ended.
func serve(t *testing.T, calls map[string]call) (url string, log *journal, h *handler) {
	t.Helper()
	logger, j := newLog()
	h = &handler{calls: calls, ready: closed(), stopping: make(chan struct{}), log: logger}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL, j, h
}

func post(t *testing.T, url, body string) (status int, answer string) {
	t.Helper()
	resp, err := http.Post(url, "", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if have := resp.Header.Get("Content-Type"); have != contentType {
		t.Errorf("Content-Type %q, want %q", have, contentType)
	}
	return resp.StatusCode, strings.TrimSuffix(string(text), "\n")
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
	url, _, _ := serve(t, map[string]call{
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
	const empty = "the request has no body: Docker lost its connection to mybr, and its retries are empty; try again"
	long := strings.Repeat("x", 100)
	for name, c := range map[string]struct{ path, body, want string }{
		"empty":           {"NetworkDriver.CreateNetwork", "", empty},
		"blank":           {"NetworkDriver.CreateNetwork", " \r\n\t", empty},
		"garbage":         {"NetworkDriver.CreateNetwork", "garbage", "the request is not JSON: invalid character 'g' looking for beginning of value (byte 1)"},
		"binary":          {"NetworkDriver.CreateNetwork", "\x00\x01", `the request is not JSON: invalid character '\x00' looking for beginning of value (byte 1)`},
		"truncated":       {"NetworkDriver.CreateNetwork", `{"NetworkID":"a`, "the request is not JSON: unexpected end of JSON input (byte 15)"},
		"trailing":        {"NetworkDriver.CreateNetwork", `{"NetworkID":"a"}x`, "the request is not JSON: invalid character 'x' after top-level value (byte 18)"},
		"two objects":     {"NetworkDriver.CreateNetwork", `{"NetworkID":"a"}{}`, "the request is not JSON: invalid character '{' after top-level value (byte 18)"},
		"single quotes":   {"NetworkDriver.CreateNetwork", `{'NetworkID':'a'}`, `the request is not JSON: invalid character '\'' looking for beginning of object key string (byte 2)`},
		"null":            {"NetworkDriver.CreateNetwork", "null", "the request is null: want an object"},
		"array":           {"NetworkDriver.CreateNetwork", "[]", "the request is an array: want an object"},
		"string":          {"NetworkDriver.CreateNetwork", `"x"`, "the request is a string: want an object"},
		"number":          {"NetworkDriver.CreateNetwork", "-5", "the request is a number: want an object"},
		"truth":           {"NetworkDriver.CreateNetwork", "true", "the request is a truth value: want an object"},
		"ID a number":     {"NetworkDriver.CreateNetwork", `{"NetworkID": 512}`, "the request's NetworkID (byte 17) is 512: want a string"},
		"ID a truth":      {"NetworkDriver.CreateNetwork", `{"NetworkID": true, "Options":{}}`, "the request's NetworkID (byte 18) is true: want a string"},
		"ID an object":    {"NetworkDriver.CreateNetwork", `{"NetworkID": {"a":1}}`, "the request's NetworkID (byte 15) is an object: want a string"},
		"ID an array":     {"NetworkDriver.CreateNetwork", `{"NetworkID": ["a"]}`, "the request's NetworkID (byte 15) is an array: want a string"},
		"options a text":  {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":"b"}`, `the request's Options (byte 30) is "b": want an object`},
		"options a long":  {"NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":"` + long + `"}`, `the request's Options (byte 129) is "` + long[:longestValue] + `…": want an object`},
		"data an object":  {"NetworkDriver.CreateNetwork", `{"IPv4Data":{"Pool":"a"}}`, "the request's IPv4Data (byte 13) is an object: want an array"},
		"deep":            {"NetworkDriver.CreateNetwork", `{"IPv4Data":[{"Pool":"a"},{"Pool":7}]}`, "the request's IPv4Data.Pool (byte 35) is 7: want a string"},
		"deep aux":        {"NetworkDriver.CreateNetwork", `{"IPv4Data":[{"AuxAddresses":[1]}]}`, "the request's IPv4Data.AuxAddresses (byte 30) is an array: want an object"},
		"interface":       {"NetworkDriver.CreateEndpoint", `{"Interface":"x"}`, `the request's Interface (byte 16) is "x": want an object`},
		"MAC":             {"NetworkDriver.CreateEndpoint", `{"Interface":{"MacAddress":[2,66]}}`, "the request's Interface.MacAddress (byte 28) is an array: want a string"},
		"V6 a text":       {"IpamDriver.RequestPool", `{"V6":"false"}`, `the request's V6 (byte 13) is "false": want true or false`},
		"an IPAM option":  {"IpamDriver.RequestPool", `{"Options":{"a":1}}`, "the request's Options (byte 17) is 1: want a string"},
		"too large":       {"NetworkDriver.CreateNetwork", `{"NetworkID":"` + strings.Repeat("a", largestBody) + `"}`, "the request is larger than 8388608 bytes"},
		"too large blank": {"NetworkDriver.CreateNetwork", strings.Repeat(" ", largestBody+1), "the request is larger than 8388608 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			status, have := post(t, url+"/"+c.path, c.body)
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
	url, _, _ := serve(t, map[string]call{"/x": action(func(_ context.Context, r *network.DeleteNetworkRequest) error {
		have = len(r.NetworkID)
		return nil
	})})
	frame := len(`{"NetworkID":""}`)
	status, body := post(t, url+"/x", `{"NetworkID":"`+strings.Repeat("a", largestBody-frame)+`"}`)
	if status != http.StatusOK || body != "{}" || have != largestBody-frame {
		t.Errorf("%d %s with %d bytes", status, body, have)
	}
}

func TestUnknownFieldsAreToleratedAndAnswersEncoded(t *testing.T) {
	url, log, _ := serve(t, map[string]call{
		"/NetworkDriver.Join": route(func(_ context.Context, r *network.JoinRequest) (*network.JoinResponse, error) {
			return &network.JoinResponse{Gateway: r.SandboxKey}, nil
		}),
	})
	status, body := post(t, url+"/NetworkDriver.Join",
		`{"NetworkID":"0123456789abcdef","EndpointID":"fedcba9876543210","SandboxKey":"key","Newer":{"x":[1,null]}}`)
	if status != http.StatusOK || !strings.Contains(body, `"Gateway":"key"`) {
		t.Errorf("%d %s", status, body)
	}
	entries := log.entries(t)
	if len(entries) != 1 {
		t.Fatalf("%d log entries for one request: %s", len(entries), log)
	}
	e := entries[0]
	if e["method"] != "NetworkDriver.Join" || e["network"] != "0123456789ab" || e["endpoint"] != "fedcba987654" || e["level"] != "info" || e["took"] == "" {
		t.Errorf("log entry %v", e)
	}
}

func TestStatusOfErrors(t *testing.T) {
	for want, err := range map[int]error{
		http.StatusBadRequest:          fmt.Errorf("create network x: %w option", model.ErrInvalid),
		http.StatusInternalServerError: fmt.Errorf("Bind for 0.0.0.0:80 failed: %w", model.ErrConflict),
	} {
		url, log, _ := serve(t, map[string]call{"/x": action(func(context.Context, *struct{}) error { return err })})
		status, body := post(t, url+"/x", "{}")
		if status != want || body != both(err.Error()) {
			t.Errorf("%d %s, want %d %s", status, body, want, err)
		}
		if e := log.entries(t); len(e) != 1 || e[0]["error"] != err.Error() {
			t.Errorf("log %v", e)
		}
	}
	// 404 would make Docker think that the call does not exist.
	if have := statusOf(model.ErrNotFound); have != http.StatusInternalServerError {
		t.Errorf("not found: %d", have)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	url, _, _ := serve(t, map[string]call{"/A.B": action(func(context.Context, *struct{}) error { return nil })})
	for _, path := range []string{"/", "/A.C", "/a.b", "/A.B/", "//A.B", "/x/../A.B"} {
		if status, body := post(t, url+path, "{}"); status != http.StatusNotFound || body != both("unknown call "+path) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		req, _ := http.NewRequest(method, url+"/A.B", nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "POST" || strings.TrimSpace(string(body)) != both("method "+method+": want POST") {
			t.Errorf("%s: %d %s", method, resp.StatusCode, body)
		}
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	panics := true
	url, log, _ := serve(t, map[string]call{
		"/x": once(action(func(context.Context, *struct{}) error {
			if panics {
				panic("out of luck")
			}
			return nil
		})),
	})
	status, body := post(t, url+"/x", "{}")
	if want := both("mybr crashed in this call (see its log): out of luck"); status != http.StatusInternalServerError || body != want {
		t.Errorf("%d %s, want 500 %s", status, body, want)
	}
	e := log.entries(t)
	if len(e) != 1 || e[0]["level"] != "error" || !strings.Contains(fmt.Sprint(e[0]["stack"]), "TestPanicIsAnAnswer") {
		t.Errorf("log %v", e)
	}
	panics = false
	if status, body := post(t, url+"/x", "{}"); status != http.StatusOK || body != "{}" {
		t.Errorf("after the panic: %d %s", status, body)
	}
}

// The Host header is empty on Engine 20.10 and made up later; there is never a
// Content-Type.
func TestRequestsAsDockerSendsThem(t *testing.T) {
	url, _, _ := serve(t, map[string]call{
		"/Plugin.Activate": constant(func(context.Context) (*struct{ Implements []string }, error) {
			return &struct{ Implements []string }{[]string{"NetworkDriver", "IpamDriver"}}, nil
		}),
	})
	for _, host := range []string{"", "plugin.moby.localhost"} {
		for _, body := range []string{"", "{}", "null"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
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
			t.Fatal("it did not come to pass")
		}
		time.Sleep(2 * time.Millisecond)
	}
}
