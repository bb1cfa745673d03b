package page

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/view"
)

var update = flag.Bool("update", false, "write golden files anew")

// then is when everything happened.
var then = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

const hostile = `<script>alert(1)</script>"'&`

// busyHost has one of everything.
func busyHost() Config {
	prefix, addr, at := netip.MustParsePrefix, netip.MustParseAddr, netip.MustParseAddrPort
	front, back, lab := "4f2a91c0d3e5aa4f2a91c0d3e5aa", "71c3d00aa1f2bb71c3d00aa1f2bb", "9e00bb12cd34cc9e00bb12cd34cc"
	v := view.View{
		Networks: []view.Network{
			{ID: front, Bridge: "br-4f2a91c0d3e5", Owned: true, MTU: 1450, ICC: true, Endpoints: 2, Subnets: []view.Subnet{
				{Family: "ipv4", Prefix: prefix("172.18.0.0/16"), Gateway: addr("172.18.0.1"), Address: prefix("172.18.0.1/16"), Mode: "nat", Masquerade: true},
				{Family: "ipv6", Prefix: prefix("fd5c:94d1:77ab:1::/64"), Gateway: addr("fd5c:94d1:77ab:1::1"), Address: prefix("fd5c:94d1:77ab:1::1/64"), Mode: "routed"},
			}},
			{ID: back, Bridge: "br-71c3d00aa1f2", Owned: true, Internal: true, Endpoints: 2, Subnets: []view.Subnet{
				{Family: "ipv4", Prefix: prefix("172.19.0.0/16"), Mode: "isolated"},
			}},
			{ID: lab, Bridge: "lab0", ICC: true, Subnets: []view.Subnet{
				{Family: "ipv4", Prefix: prefix("10.64.0.0/24"), Gateway: addr("10.64.0.1"), Address: prefix("10.64.0.1/24"), Mode: "nat", Masquerade: true, SNAT: addr("192.0.2.7")},
			}},
		},
		Endpoints: []view.Endpoint{
			{ID: "a1b2c3d4e5f60718", Network: front, Bridge: "br-4f2a91c0d3e5", Veth: "vetha1b2c3d4e5", MAC: "02:42:ac:12:00:02",
				IPv4: prefix("172.18.0.2/16"), IPv6: prefix("fd5c:94d1:77ab:1::2/64"), Sandbox: "/run/docker/netns/1"},
			{ID: "b2c3d4e5f6071829", Network: front, Bridge: "br-4f2a91c0d3e5", Veth: "vethb2c3d4e5f6", MAC: "02:42:ac:12:00:03",
				IPv4: prefix("172.18.0.3/16"), IPv6: prefix("fd5c:94d1:77ab:1::3/64"), Sandbox: "/run/docker/netns/2"},
			{ID: "c3d4e5f60718293a", Network: back, Bridge: "br-71c3d00aa1f2", Veth: "vethc3d4e5f607", MAC: "02:42:ac:13:00:02",
				IPv4: prefix("172.19.0.2/16"), Sandbox: "/run/docker/netns/2"},
			{ID: "d4e5f60718293a4b", Network: back, Bridge: "br-71c3d00aa1f2", Veth: "vethd4e5f60718", MAC: "02:42:ac:13:00:03", IPv4: prefix("172.19.0.3/16")},
		},
		Ports: []view.Port{
			{Proto: "tcp", Host: at("0.0.0.0:8080"), Container: at("172.18.0.2:80"), Count: 1, Carried: view.ByNAT, Network: front,
				Bridge: "br-4f2a91c0d3e5", Endpoint: "a1b2c3d4e5f60718", Traffic: &view.Traffic{Connections: 1374}},
			{Proto: "udp", Host: at("0.0.0.0:20000"), Container: at("172.18.0.3:20000"), Count: 100, Carried: view.ByNAT, Network: front,
				Bridge: "br-4f2a91c0d3e5", Endpoint: "b2c3d4e5f6071829", Traffic: &view.Traffic{}},
			{Proto: "tcp", Host: at("127.0.0.1:5432"), Container: at("172.18.0.3:5432"), Count: 1, Carried: view.ByProcess, Network: front,
				Bridge: "br-4f2a91c0d3e5", Endpoint: "b2c3d4e5f6071829"},
			{Proto: "tcp", Host: at("[::]:8080"), Container: at("172.18.0.2:80"), Count: 1, Carried: view.ByProcess, Network: front,
				Bridge: "br-4f2a91c0d3e5", Endpoint: "a1b2c3d4e5f60718"},
			{Proto: "tcp", Container: at("[fd5c:94d1:77ab:1::2]:80"), Count: 1, Carried: view.Directly, Network: front,
				Bridge: "br-4f2a91c0d3e5", Endpoint: "a1b2c3d4e5f60718"},
		},
		Pools: []view.Pool{
			{ID: "mybr-local/172.18.0.0/16", Space: "mybr-local", Prefix: prefix("172.18.0.0/16"), Size: 65534, Used: 3, Rests: 1, Free: 65530, Next: addr("172.18.0.5")},
			{ID: "mybr-local/10.64.0.0/24", Space: "mybr-local", Prefix: prefix("10.64.0.0/24"), Range: prefix("10.64.0.128/28"), Size: 16, Used: 15, Kept: 1},
			{ID: "mybr-local/fd5c:94d1:77ab:1::/64", Space: "mybr-local", Prefix: prefix("fd5c:94d1:77ab:1::/64"), Size: 1<<64 - 1, Used: 3, Free: 1<<64 - 4, Next: addr("fd5c:94d1:77ab:1::5")},
		},
	}
	return Config{
		Host: "docker1",
		View: func(context.Context) (view.View, error) { return v, nil },
		Health: func(context.Context) Health {
			return Health{Version: "1.2.3", Since: then.Add(-50 * time.Hour), Ready: true, Firewall: "iptables (nf_tables)",
				Healed: []Healed{{"firewall", 2, then.Add(-3 * time.Hour)}, {"links", 1, then}}}
		},
		Events: func() []Event {
			return []Event{
				{At: then, Kind: "healed", Text: "link br-4f2a91c0d3e5: bring it up; changed by ip (pid 4711)", Wrong: true},
				{At: then.Add(-time.Minute), Kind: "endpoint made", Text: "a1b2c3d4e5f6 on br-4f2a91c0d3e5, 172.18.0.2"},
				{At: then.Add(-2 * time.Minute), Kind: "network made", Text: "4f2a91c0d3e5 172.18.0.0/16"},
			}
		},
		Findings: func(context.Context) Exam {
			return Exam{At: then, Findings: []Finding{
				{Name: "forwarding", Verdict: Fine, Seen: "net.ipv4.ip_forward is 1"},
				{Name: "mtu", Verdict: Warning, Seen: "br-71c3d00aa1f2 has an MTU of 1500, and eth0 of 1420: large packets are lost", Mend: "docker network create -o com.docker.network.driver.mtu=1420 …"},
				{Name: "conntrack", Verdict: Note, Seen: "the table is 61 % full"},
				{Name: "engine", Verdict: Unknown, Seen: "it is not asked from here"},
				{Name: "clock", Verdict: Fine, Seen: "it has not been set since the records were made"},
			}}
		},
		Drawing: func(v view.View) ([]byte, error) { return picture(len(v.Endpoints)), nil },
	}
}

// picture stands for a drawing: mind that its style is its own.
func picture(n int) []byte {
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 120"><style>rect{fill:#0969da}text{fill:#fff;font:20px sans-serif}</style><rect width="600" height="120" rx="8"/><text x="20" y="65">a drawing of %d endpoints</text></svg>`, n)
}

// brokenHost has everything that can be wrong, with texts that would like to run.
func brokenHost() Config {
	c := busyHost()
	v, _ := c.View(context.Background())
	v.Networks[0].Bridge, v.Endpoints[0].Veth, v.Unknown = hostile, hostile, "connections could not be counted: "+hostile
	c.Host = hostile
	c.View = func(context.Context) (view.View, error) { return v, nil }
	c.Health = func(context.Context) Health {
		return Health{Version: hostile, Since: then, Ready: true, Failed: "link br0: no such device\n" + hostile, Unknown: hostile, Differences: []Difference{
			{Aspect: "firewall", Changes: []string{"iptables nat: -A MYBR-PORTS -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:80", hostile}},
			{Aspect: "links", Changes: []string{"link br-4f2a91c0d3e5: bring it up"}, Error: hostile},
		}}
	}
	c.Drawing = func(v view.View) ([]byte, error) { return picture(0), errors.New(hostile) }
	c.Events = func() []Event { return []Event{{At: then, Kind: hostile, Text: hostile, Wrong: true}} }
	c.Findings = func(context.Context) Exam {
		return Exam{At: then, Error: hostile, Findings: []Finding{{Name: hostile, Verdict: Fault, Seen: hostile, Mend: hostile}}}
	}
	return c
}

// newHost has nothing on it yet.
func newHost() Config {
	return Config{
		View:   func(context.Context) (view.View, error) { return view.View{}, nil },
		Health: func(context.Context) Health { return Health{Version: "dev", Since: then} },
		Events: func() []Event { return nil },
	}
}

func handlerOf(t testing.TB, c Config) http.Handler {
	t.Helper()
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(t testing.TB, h http.Handler, path, tag string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if tag != "" {
		r.Header.Set("If-None-Match", tag)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestGolden(t *testing.T) {
	for name, c := range map[string]Config{"busy": busyHost(), "broken": brokenHost(), "new": newHost()} {
		got := get(t, handlerOf(t, c), "/", "").Body.String()
		got = regexp.MustCompile(`\?v=[0-9a-f]+`).ReplaceAllString(got, "?v=0")
		path := "testdata/" + name + ".html"
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is out of date: run make generate. It should be:\n%s", path, got)
		}
		// Nothing that policy would not let load, and no text that runs.
		if m := regexp.MustCompile(`(?i)<script>|<script [^>]*>[^<]|<style|\bstyle=|\bon\w+=|javascript:|https?://`).FindString(got); m != "" {
			t.Errorf("%s has %q", name, m)
		}
	}
}

// The headline says the worst that there is.
func TestHeadline(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"good: The host matches the records": func(*Config) {},
		"bad: mybr can’t read its records": func(c *Config) {
			c.View = func(context.Context) (view.View, error) { return view.View{}, errors.New("no") }
		},
		"odd: The host is being made to match the records": func(c *Config) { c.Health = func(context.Context) Health { return Health{} } },
		"bad: The host does not match the records": func(c *Config) {
			c.Health = func(context.Context) Health { return Health{Ready: true, Failed: "no"} }
		},
		"bad: The host differs from the records in 1 place": func(c *Config) {
			c.Health = func(context.Context) Health {
				return Health{Ready: true, Differences: []Difference{{Aspect: "links", Changes: []string{"x"}}}}
			}
		},
		"bad: The doctor has found 2 faults": func(c *Config) {
			c.Findings = func(context.Context) Exam {
				return Exam{Findings: []Finding{{Verdict: Fault}, {Verdict: Fault}, {Verdict: Warning}}}
			}
		},
		"odd: Not all of the host could be looked at": func(c *Config) {
			c.Health = func(context.Context) Health { return Health{Ready: true, Unknown: "no\nnor this"} }
		},
	} {
		c := busyHost()
		change(&c)
		wantHeadline(t, c, want)
	}
	c := busyHost()
	c.Health = func(context.Context) Health {
		return Health{Ready: true, Differences: []Difference{{Aspect: "firewall", Error: "the lock is held"}}}
	}
	wantHeadline(t, c, "odd: Not all of the host could be looked at")
}

func wantHeadline(t *testing.T, c Config, want string) {
	t.Helper()
	text := get(t, handlerOf(t, c), "/", "").Body.String()
	tone, headline, _ := strings.Cut(want, ": ")
	if !strings.Contains(text, `class="health `+tone+`"`) || !strings.Contains(text, "<title>"+headline+" ·") {
		t.Errorf("%s is not said: %.400s", want, text)
	}
}

// Long tables are cut, and say so.
func TestManyRows(t *testing.T) {
	c := busyHost()
	v, _ := c.View(t.Context())
	for i := range maxRows + 3 - len(v.Endpoints) {
		v.Endpoints = append(v.Endpoints, view.Endpoint{ID: fmt.Sprintf("%012d", i)})
	}
	c.View = func(context.Context) (view.View, error) { return v, nil }
	text := get(t, handlerOf(t, c), "/", "").Body.String()
	if n := strings.Count(text, `data-label="Endpoint"`) - len(v.Ports); n != maxRows || !strings.Contains(text, "And 3 more") {
		t.Errorf("%d rows", n)
	}
}

// What has not changed is not sent again, and what is asked for by many at once is read once.
func TestAnswersAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := busyHost()
		v, _ := c.View(t.Context())
		var asked atomic.Int32
		c.View = func(context.Context) (view.View, error) {
			asked.Add(1)
			time.Sleep(time.Millisecond)
			return v, nil
		}
		h := handlerOf(t, c)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if w := get(t, h, "/", ""); w.Code != http.StatusOK {
					t.Errorf("%d", w.Code)
				}
			})
		}
		all.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("it was read %d times", n)
		}
		tag := get(t, h, "/", "").Header().Get("ETag")
		time.Sleep(2 * freshFor)
		if w := get(t, h, "/", tag); w.Code != http.StatusNotModified || w.Body.Len() > 0 || asked.Load() != 2 {
			t.Errorf("%d with %d bytes, read %d times", w.Code, w.Body.Len(), asked.Load())
		}
		v.Ports = v.Ports[1:]
		time.Sleep(2 * freshFor)
		if w := get(t, h, "/", tag); w.Code != http.StatusOK || w.Header().Get("ETag") == tag {
			t.Errorf("a change: %d", w.Code)
		}
	})
}

// A client that goes does not spoil the answer of the others.
func TestClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := busyHost()
		v, _ := c.View(t.Context())
		c.View = func(ctx context.Context) (view.View, error) {
			time.Sleep(time.Second)
			return v, ctx.Err()
		}
		h := handlerOf(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan bool)
		go func() {
			defer close(first)
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		}()
		synctest.Wait()
		cancel()
		if w := get(t, h, "/", ""); !strings.Contains(w.Body.String(), "The host matches the records") {
			t.Errorf("%d %.300s", w.Code, w.Body)
		}
		<-first
	})
}

func TestFiles(t *testing.T) {
	h := handlerOf(t, busyHost())
	page := get(t, h, "/", "").Body.String()
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(page, -1) {
		w := get(t, h, "/"+m[1], "")
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: %d", m[1], w.Code)
		}
	}
	w := get(t, h, "/topology.svg", "")
	if w.Header().Get("Content-Type") != "image/svg+xml" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "sandbox") ||
		!strings.Contains(w.Body.String(), "a drawing of 4 endpoints") {
		t.Errorf("the drawing: %v %s", w.Header(), w.Body)
	}
	for path, want := range map[string]int{"/files/page.html": 404, "/page.html": 404, "/../page.go": 404, "/style.css": 200} {
		if got := get(t, h, path, "").Code; got != want && got != http.StatusTemporaryRedirect && got != http.StatusMovedPermanently {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if got := get(t, handlerOf(t, newHost()), "/topology.svg", "").Code; got != 404 {
		t.Errorf("a drawing that there is not: %d", got)
	}
}

func TestLarge(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 65534: "65534", 999_999: "999999", 1_000_000: "1.0·10⁶", 12_345_678: "1.2·10⁷", 1<<64 - 1: "2⁶⁴ or more", 1<<64 - 4: "1.8·10¹⁹",
	} {
		if got := large(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
