package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/metrics"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/view"
)

func TestCheckHTTP(t *testing.T) {
	at := func(s string) HTTPAddress {
		a, err := ParseHTTPAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for name, c := range map[string]struct {
		config Config
		want   string // in the error; "": there is none
	}{
		"off":                      {Config{}, ""},
		"loopback":                 {Config{HTTP: at("127.0.0.1:9180")}, ""},
		"loopback with a token":    {Config{HTTP: at("[::1]:9180"), HTTPTokenFile: "/t"}, ""},
		"a socket":                 {Config{HTTP: at("unix:///run/mybr/http.sock")}, ""},
		"everywhere":               {Config{HTTP: at("0.0.0.0:9180")}, "--http 0.0.0.0:9180: other hosts can reach it"},
		"everywhere with a token":  {Config{HTTP: at("[::]:9180"), HTTPTokenFile: "/t"}, "--http-allow-remote"},
		"allowed without a token":  {Config{HTTP: at("192.0.2.2:9180"), HTTPAllowRemote: true}, "want --http-token-file"},
		"allowed":                  {Config{HTTP: at("192.0.2.2:9180"), HTTPAllowRemote: true, HTTPTokenFile: "/t"}, ""},
		"allowed without anything": {Config{HTTPAllowRemote: true}, "--http-allow-remote: there is no --http"},
		"a token without anything": {Config{HTTPTokenFile: "/t"}, "--http-token-file: there is no --http"},
	} {
		err := c.config.CheckHTTP()
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// quiet is the operator's side of a mybr that has nothing to tell.
func quiet(ready <-chan struct{}) *admin {
	return &admin{
		ready: ready, compares: ready, firewall: func() string { return "" }, lastError: func() error { return nil }, late: func() error { return nil }, unheard: func() error { return nil },
		healings: func() map[string]reconcile.Healing { return nil },
		diffNow:  func(context.Context) ([]reconcile.Difference, error) { return nil, nil },
		view:     func(context.Context) (view.View, error) { return view.View{}, nil },
	}
}

// What is behind HTTP, with and without the token, before the first pass and after it. It is
// served as soon as the token can be read, and not before.
func TestSite(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	log, journal := newLog()
	c := Config{StateDir: dir, HTTP: HTTPAddress{Path: filepath.Join(dir, "http.sock")}, HTTPTokenFile: token, Log: log}
	ready := make(chan struct{})
	a := quiet(ready)
	h := &host{links: &link.Applier{}, ports: hostport.New(hostport.Config{}), denials: newDenials(func() model.Snapshot { return model.Snapshot{} }, log)}
	defer h.ports.Close()
	var err error
	if h.names, err = newNames(log, nil, h); err != nil { // nothing has names, so nothing is read
		t.Fatal(err)
	}
	told := &watchers{metrics: metrics.New(measured(c, a, h), []string{"NetworkDriver.Join"})}
	stop, err := serveSite(t.Context(), c, a, told)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	nettest.Eventually(t, testWithin, func() error {
		if text := journal.String(); !strings.Contains(text, "--http-token-file: open "+token) {
			return fmt.Errorf("the log has %s", text)
		}
		return nil
	})
	if _, err := os.Stat(c.HTTP.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a socket before there is a token: %v", err)
	}
	if err := os.WriteFile(token, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(path, password string) (int, string) {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.HTTP.Path)
		}}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://mybr"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("x", password)
		resp, err := client.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	nettest.Eventually(t, testWithin, func() error {
		if code, text := ask("/healthz", "0123456789abcdef"); code != http.StatusOK {
			return fmt.Errorf("/healthz: %d %s", code, text)
		}
		return nil
	})
	if info, err := os.Stat(c.HTTP.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz", "/style.css", "/topology.svg", "/none"} {
		if code, _ := ask(path, "guess"); code != http.StatusUnauthorized {
			t.Errorf("%s without the token: %d", path, code)
		}
	}
	for _, step := range []struct {
		path string
		code int
		text string
	}{
		{"/", 200, "The host is being made to match the records"},
		{"/metrics", 200, "\nmybr_ready 0\n"},
		{"/readyz", 503, "the first pass has not ended"},
		{"/style.css", 200, "color-scheme"},
		{"/none", 404, ""},
	} {
		if code, text := ask(step.path, "0123456789abcdef"); code != step.code || !strings.Contains(text, step.text) {
			t.Errorf("%s before the first pass: %d, want %d with %q: %.500s", step.path, code, step.code, step.text, text)
		}
	}
	close(ready)
	told.passed(reconcile.Passed{Full: true, Took: time.Second})
	told.metrics.Request("NetworkDriver.Join", "ok", time.Millisecond)
	if code, _ := ask("/readyz", "0123456789abcdef"); code != 200 {
		t.Errorf("/readyz after it: %d", code)
	}
	_, text := ask("/metrics", "0123456789abcdef")
	for _, want := range []string{"\nmybr_ready 1\n", `mybr_passes_total{kind="full",outcome="ok"} 1`, `mybr_requests_total{method="NetworkDriver.Join",outcome="ok"} 1`,
		`mybr_drift_found_total{aspect="host ports"} 0`, `mybr_source_up{source="bridges"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	stop()
	if _, err := os.Stat(c.HTTP.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's file is left: %v", err)
	}
}

// Why the metrics lack something is logged once, and again when it has been well meanwhile.
func TestLacks(t *testing.T) {
	log, journal := newLog()
	told := lacks(log)
	for range 3 {
		told("bridges", errors.New("bad \x1b"))
		told("view", nil)
	}
	told("bridges", nil)
	told("bridges", errors.New("bad \x1b"))
	if text := journal.String(); strings.Count(text, `"the metrics are not whole: bad \\x1b","source":"bridges"`) != 2 {
		t.Errorf("the log has %s", text)
	}
}

// An address that is taken is tried again, which is logged once, and served when it is free;
// nothing waits for it.
func TestAddressTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	log, journal := newLog()
	a, err := ParseHTTPAddress(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	close(ready)
	stop, err := serveSite(t.Context(), Config{HTTP: a, Log: log}, quiet(ready), &watchers{metrics: metrics.New(metrics.Sources{}, nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	nettest.Eventually(t, testWithin, func() error {
		if text := journal.String(); !strings.Contains(text, "are not served on "+a.String()) {
			return fmt.Errorf("the log has %s", text)
		}
		return nil
	})
	taken.Close()
	nettest.Eventually(t, testWithin, func() error {
		resp, err := http.Get("http://" + a.String() + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
	if n := strings.Count(journal.String(), "are not served"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
}

// The host is compared for the page only so often: sooner after a pass, later where it takes
// long, and behind a pass that is under way.
func TestComparisonIsRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		compared, takes, fails := 0, 100*time.Millisecond, error(nil)
		c := &comparison{}
		look := func() []reconcile.Difference {
			diff, _ := c.get(t.Context(), func(context.Context) ([]reconcile.Difference, error) {
				if fails != nil {
					return nil, fails
				}
				compared++
				time.Sleep(takes)
				return []reconcile.Difference{{Aspect: fmt.Sprint(compared)}}, nil
			})
			return diff
		}
		want := func(n int, why string) {
			t.Helper()
			if diff := look(); compared != n || diff[0].Aspect != fmt.Sprint(n) {
				t.Fatalf("%s: compared %d times, want %d; %v", why, compared, n, diff)
			}
		}
		want(1, "the first look")
		want(1, "a look at once")
		time.Sleep(compareShare * takes)
		want(1, "a look before compareEvery")
		time.Sleep(compareEvery)
		want(2, "one after it")
		c.old.Store(true)
		want(2, "one right after a pass")
		time.Sleep(compareShare * takes)
		want(3, "one a while after a pass")

		time.Sleep(compareEvery)
		fails = reconcile.ErrPassing
		want(3, "one while a pass is under way")
		fails = nil
		want(4, "one behind it")

		takes = time.Second
		time.Sleep(compareEvery)
		want(5, "one that takes long")
		time.Sleep(compareEvery)
		want(5, "one after compareEvery, which is too soon")
		time.Sleep(compareShare*takes - compareEvery)
		want(6, "one after a while")

		takes = 3 * time.Second
		time.Sleep(compareShare * takes)
		want(7, "one that takes very long")
		time.Sleep(compareLongest)
		want(8, "one after compareLongest")
	})
}
