package docker

import (
	"context"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// engine serves answers by path, with an API version, until the test ends.
func engine(t *testing.T, version string, answers map[string]string) Client {
	t.Helper()
	c := Client{Socket: filepath.Join(t.TempDir(), "docker.sock")}
	ln, err := net.Listen("unix", c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.Method+" "+r.URL.Path]
		switch {
		case answer == "wait":
			<-r.Context().Done()
		case r.URL.Path == "/_ping":
			w.Header().Set("Api-Version", version)
		case !ok:
			http.Error(w, `{"message":"page not found"}`, http.StatusNotFound)
		default:
			_, _ = w.Write([]byte(answer))
		}
	})}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close() })
	return c
}

const (
	containers = `[
		{"Names":["/other/alias","/web"],"NetworkSettings":{"Networks":{"front":{"EndpointID":"e1","NetworkID":"n1"},"back":{"EndpointID":"e2"}}}},
		{"Names":["/created"],"NetworkSettings":{"Networks":{"front":{"EndpointID":""}}}},
		{"Names":[],"NetworkSettings":{"Networks":{"front":{"EndpointID":"e3"}}}},
		{"Names":["/hostnet"],"NetworkSettings":null}]`
	networks = `[{"Id":"n1","Name":"front","Driver":"mybr"},{"Id":"n2","Name":"back"}]`
)

// The gateway is the one that the Engine would have publish a container's ports.
func TestGateway(t *testing.T) {
	four, six := attachment{EndpointID: "4", Gateway: "10.0.0.1"}, attachment{EndpointID: "6", IPv6Gateway: "fd00::1"}
	both, internal := attachment{EndpointID: "46", Gateway: "10.1.0.1", IPv6Gateway: "fd01::1"}, attachment{EndpointID: "0"}
	first := four
	first.EndpointID, first.GwPriority = "p", 1
	last := both
	last.EndpointID, last.GwPriority = "l", -1
	for _, c := range []struct {
		all  map[string]attachment
		want Gateway
	}{
		{map[string]attachment{}, Gateway{}},
		{map[string]attachment{"a": internal}, Gateway{}},
		{map[string]attachment{"a": internal, "b": four}, Gateway{"4", "b"}},
		{map[string]attachment{"a": six, "b": four}, Gateway{"4", "b"}},
		{map[string]attachment{"a": six, "b": internal}, Gateway{"6", "a"}},
		{map[string]attachment{"a": four, "b": both}, Gateway{"46", "b"}},
		{map[string]attachment{"a": four, "b": both, "c": first}, Gateway{"p", "c"}},
		{map[string]attachment{"a": last, "b": four}, Gateway{"4", "b"}},
		{map[string]attachment{"b": {EndpointID: "x", Gateway: "10.3.0.1"}, "a": four}, Gateway{"4", "a"}},
	} {
		if have := gatewayOf(c.all); have != c.want {
			t.Errorf("%v: have %v, want %v", c.all, have, c.want)
		}
	}
	c := engine(t, "1.41", map[string]string{"GET /v1.41/networks": "[]", "GET /v1.41/containers/json": `[{"Names":["/web"],"NetworkSettings":{"Networks":{
		"front":{"EndpointID":"e1","Gateway":"","IPv6Gateway":""},"back":{"EndpointID":"e2","Gateway":"10.0.0.1","GwPriority":3}}}}]`})
	n, err := c.Names(t.Context())
	if want := (Gateway{"e2", "back"}); err != nil || !maps.Equal(n.Gateways, map[string]Gateway{"e1": want, "e2": want}) {
		t.Errorf("%+v %v", n, err)
	}
}

// The version is the Engine's own: no other is answered.
func TestNames(t *testing.T) {
	for _, version := range []string{"1.41", "1.54"} {
		c := engine(t, version, map[string]string{
			"GET /v" + version + "/containers/json": containers, "GET /v" + version + "/networks": networks,
		})
		n, err := c.Names(t.Context())
		if err != nil || !maps.Equal(n.Containers, map[string]string{"e1": "web", "e2": "web", "e3": ""}) ||
			!maps.Equal(n.Networks, map[string]string{"n1": "front", "n2": "back"}) {
			t.Errorf("%s: %+v %v", version, n, err)
		}
	}
}

func TestNamesThatCanNotBeHad(t *testing.T) {
	for name, c := range map[string]struct {
		client Client
		want   string
	}{
		"nobody":     {Client{Socket: filepath.Join(t.TempDir(), "none.sock")}, "connect: no such file or directory"},
		"an error":   {engine(t, "1.41", nil), `/v1.41/`},
		"no version": {engine(t, "../x", nil), `API version "../x" is no number`},
		"no JSON": {engine(t, "1.41", map[string]string{"GET /v1.41/containers/json": "{", "GET /v1.41/networks": "{"}),
			"unexpected end of JSON input"},
	} {
		n, err := c.client.Names(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), "ask Docker on "+c.client.Socket+": ") || !strings.Contains(err.Error(), c.want) || n.Containers != nil {
			t.Errorf("%s: %+v %v", name, n, err)
		}
	}
}

// An Engine that does not answer keeps nobody waiting for long.
func TestNamesThatTakeTooLong(t *testing.T) {
	c := engine(t, "1.41", map[string]string{"GET /_ping": "wait"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Names(ctx); err == nil || !strings.Contains(err.Error(), "deadline exceeded") {
		t.Error(err)
	}
}

func TestParseHost(t *testing.T) {
	for host, want := range map[string]string{"unix:///run/x.sock": "/run/x.sock", "/run/x.sock": "/run/x.sock",
		"tcp://1.2.3.4:2375": "", "ssh://me@host": "", "": "", "unix://x": "", "x": ""} {
		have, err := ParseHost(host)
		if have != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", host, have, err, want)
		}
	}
}

// A question of another kind is of the Engine's own version, too, and its answer is whole or none.
func TestGet(t *testing.T) {
	const long = "/v1.51/long"
	c := engine(t, "1.51", map[string]string{"GET /v1.51/info": "{}", "GET " + long: strings.Repeat("x", maxAnswer+1)})
	if body, err := c.Get(t.Context(), "/info"); err != nil || string(body) != "{}" {
		t.Errorf("%q %v", body, err)
	}
	for path, want := range map[string]string{"/long": "more than 33554432 bytes", "/none": "404 Not Found"} {
		body, err := c.Get(t.Context(), path)
		if body != nil || err == nil || !strings.HasPrefix(err.Error(), "ask Docker on "+c.Socket+": GET /v1.51"+path+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d bytes, %v", path, len(body), err)
		}
	}
}
