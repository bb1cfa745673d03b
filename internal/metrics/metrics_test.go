package metrics

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/mybr/mybr/internal/view"
)

var update = flag.Bool("update", false, "write golden files anew")

// sources are fixed ones, of which each series has another number.
func sources() Sources {
	v := view.View{
		Networks: []view.Network{
			{ID: "4f2a91c0d3e54f2a91c0d3e5", Bridge: "br-4f2a91c0d3e5", Settings: []view.Setting{{Name: "mybr.egress", Value: "none"}}}, {ID: "71", Bridge: "lan0"}, {ID: "72", Bridge: "gone"},
		},
		Endpoints: []view.Endpoint{{ID: "e0", Sandbox: "/run/docker/netns/1"}, {ID: "e1", Sandbox: "/run/docker/netns/2"}, {ID: "e2"}},
		Ports: []view.Port{
			{Proto: "tcp", Host: netip.MustParseAddrPort("0.0.0.0:8000"), Count: 10, Carried: view.ByNAT, Network: "71", Traffic: &view.Traffic{Connections: 41}},
			{Proto: "udp", Host: netip.MustParseAddrPort("[2001:db8::2]:53"), Count: 1, Carried: view.ByNAT, Network: "4f2a91c0d3e54f2a91c0d3e5", Traffic: &view.Traffic{Connections: 42}},
			{Proto: "tcp", Host: netip.MustParseAddrPort("127.0.0.1:8080"), Count: 1, Carried: view.ByProcess, Network: "71"},
			{Proto: "sctp", Container: netip.MustParseAddrPort("10.0.0.2:80"), Count: 3, Carried: view.Directly, Network: "72"},
		},
		Pools: []view.Pool{{ID: "mybr-local/172.18.0.0/16", Used: 31, Rests: 32, Kept: 33, Free: 34}},
	}
	return Sources{
		Version: "1.2.3",
		View:    func(context.Context) (view.View, error) { return v, nil },
		Bridges: func() (map[string]Bridge, error) {
			return map[string]Bridge{
				"br-4f2a91c0d3e5": {From: Count{1, 2, 3}, To: Count{4, 5, 6}}, "lan0": {From: Count{7, 8, 9}, To: Count{10, 11, 12}},
				"docker0": {From: Count{1, 1, 1}},
			}, nil
		},
		Relayed: func() (tcp, udp Relayed) { return Relayed{25, 20, 3, 2, 1000, 2000}, Relayed{9, 8, 0, 0, 70, 80} },
		Named: func() Named {
			n := Named{Refused: 54, Unreachable: 55, To: 56, From: 57, Answered: 61, Refusals: 62, Failed: 63, Malformed: 64, Dropped: 65}
			n.TLS.Begun, n.TLS.Ended, n.HTTP.Begun, n.HTTP.Ended = 51, 41, 52, 50
			return n
		},
		Drift:  func() map[string]Drift { return map[string]Drift{"links": {5, 4, 9}, "firewall": {}} },
		Health: func() Health { return Health{Ready: true} },
		Store:  func() (int64, error) { return 65536, nil },
		Denied: func() (map[string]Denied, uint64) { return map[string]Denied{"71": {71, 72}, "gone": {1, 1}}, 73 },
		Read:   func(string, error) {},
	}
}

// methods are some of Docker's.
func methods() []string { return []string{"NetworkDriver.CreateNetwork", "NetworkDriver.Join"} }

func scrapeOf(t testing.TB, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func full() *Metrics {
	m := New(sources(), methods())
	m.Request("NetworkDriver.CreateNetwork", OK, 30*time.Millisecond)
	m.Request("NetworkDriver.CreateNetwork", Failed, 30*time.Millisecond)
	m.Request("/../../etc/passwd", Refused, time.Millisecond)
	m.Request("NetworkDriver.Join", GivenUp, time.Millisecond)
	m.FullPass(errors.New("no such link"), 300*time.Millisecond)
	m.DeltaPass(nil, 3*time.Millisecond)
	return m
}

// TestGolden compares all that is told of fixed sources, save what the client library tells of
// the process.
func TestGolden(t *testing.T) {
	var own strings.Builder
	for line := range strings.Lines(scrapeOf(t, full())) {
		if !regexp.MustCompile(`^(# (HELP|TYPE) )?(go|process)_`).MatchString(line) {
			own.WriteString(line)
		}
	}
	compare(t, "testdata/scrape.txt", own.String())
	compare(t, "../../docs/metrics.md", Reference())
}

func compare(t *testing.T, path, got string) {
	t.Helper()
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
}

// Every family that is listed is told of, with the type, the help and the labels that it is
// listed with, and no other.
func TestFamiliesAreWhatIsTold(t *testing.T) {
	told, err := full().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	listed := byName()
	for _, family := range told {
		name := family.GetName()
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		f, ok := listed[name]
		if !ok {
			t.Errorf("%s is not listed", name)
			continue
		}
		delete(listed, name)
		if kind := strings.ToLower(family.GetType().String()); kind != f.Type || family.GetHelp() != f.Help {
			t.Errorf("%s is a %s, listed as %s; help %q, listed as %q", name, kind, f.Type, family.GetHelp(), f.Help)
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
			}
			if want := slices.Sorted(slices.Values(f.Labels)); !slices.Equal(labels, want) {
				t.Errorf("%s has the labels %q, listed %q", name, labels, want)
			}
		}
	}
	for name := range listed {
		t.Errorf("%s is listed and not told", name)
	}
}

// What is told keeps Prometheus' conventions, by the client library's linter and, where it is
// installed, promtool's.
func TestConventions(t *testing.T) {
	text := scrapeOf(t, full())
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	promtool := exec.Command("promtool", "check", "metrics")
	promtool.Stdin = strings.NewReader(text)
	switch out, err := promtool.CombinedOutput(); {
	case errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true":
		t.Log("promtool is not installed (Debian: prometheus)")
	case err != nil || len(out) > 0:
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// With however many ports, networks and pools there are so many series, and what is left out
// is counted; the totals count all.
func TestSeriesAreBounded(t *testing.T) {
	s := sources()
	v, _ := s.View(t.Context())
	bridges := map[string]Bridge{}
	v.Networks, v.Ports, v.Pools = nil, nil, nil
	for i := range Limit + 7 {
		id := fmt.Sprintf("%012d", i)
		v.Networks = append(v.Networks, view.Network{ID: id, Bridge: "br" + id})
		bridges["br"+id] = Bridge{}
		v.Pools = append(v.Pools, view.Pool{ID: id})
		for range 2 { // the same twice is told once
			v.Ports = append(v.Ports, view.Port{
				Proto: "tcp", Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(i+1)), Count: 1, Carried: view.ByNAT, Traffic: &view.Traffic{},
			})
		}
	}
	s.View = func(context.Context) (view.View, error) { return v, nil }
	s.Bridges = func() (map[string]Bridge, error) { return bridges, nil }
	text := scrapeOf(t, New(s, nil))
	for series, want := range map[string]int{
		`(?m)^mybr_port_connections_total\{`: Limit / 2, `(?m)^mybr_network_bytes_total\{`: 2 * Limit, `(?m)^mybr_pool_addresses\{`: 4 * Limit,
		`(?m)^mybr_series_omitted\{kind="ports"\} 514$`:                   1,
		`(?m)^mybr_series_omitted\{kind="networks"\} 7$`:                  1,
		`(?m)^mybr_series_omitted\{kind="pools"\} 7$`:                     1,
		`(?m)^mybr_networks 507$`:                                         1,
		`(?m)^mybr_published_ports\{carried="nat",protocol="tcp"\} 1014$`: 1,
	} {
		if got := len(regexp.MustCompile(series).FindAllString(text, -1)); got != want {
			t.Errorf("%s: %d times, want %d", series, got, want)
		}
	}
}

// A source that can't be read takes only its own series away, and one says which it is. Labels
// that are no UTF-8 don't spoil an answer.
func TestSourcesThatFail(t *testing.T) {
	broken := errors.New("no")
	for name, c := range map[string]struct {
		change  func(*Sources)
		missing string
	}{
		"view":    {func(s *Sources) { s.View = func(context.Context) (view.View, error) { return view.View{}, broken } }, networks + " "},
		"bridges": {func(s *Sources) { s.Bridges = func() (map[string]Bridge, error) { return nil, broken } }, networkBytes + "{"},
		"store":   {func(s *Sources) { s.Store = func() (int64, error) { return 0, broken } }, storeBytes + " "},
	} {
		s := sources()
		c.change(&s)
		told := map[string]error{}
		s.Read = func(source string, err error) { told[source] = err }
		text := scrapeOf(t, New(s, methods()))
		for _, source := range []string{"view", "bridges", "store"} {
			want := fmt.Sprintf("mybr_source_up{source=%q} %d\n", source, map[bool]int{true: 0, false: 1}[source == name])
			if !strings.Contains(text, want) {
				t.Errorf("without %s there is no %s", name, want)
			}
		}
		if len(told) != 3 || told[name] != broken {
			t.Errorf("without %s: told of %v", name, told)
		}
		if strings.Contains(text, "\n"+c.missing) || !strings.Contains(text, "\nmybr_ready 1\n") {
			t.Errorf("without %s:\n%s", name, text)
		}
	}

	s := sources()
	s.View = func(context.Context) (view.View, error) {
		return view.View{Unknown: "no counters", Networks: []view.Network{{ID: "\xff", Bridge: "b\xffr\n\""}}}, nil
	}
	s.Bridges = func() (map[string]Bridge, error) { return map[string]Bridge{"b\xffr\n\"": {}}, nil }
	text := scrapeOf(t, New(s, methods()))
	if !strings.Contains(text, `bridge="b`+"\uFFFD"+`r\n\""`) || !strings.Contains(text, `mybr_source_up{source="view"} 0`) {
		t.Errorf("%s", text)
	}
}

// Requests are counted while a scrape hangs, and scrapes beside two are turned away.
func TestRequestsDontWaitForScrapes(t *testing.T) {
	s := sources()
	asked, hang := make(chan bool, 10), make(chan bool)
	s.View = func(context.Context) (view.View, error) {
		asked <- true
		<-hang
		return view.View{}, nil
	}
	m := New(s, methods())
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	var scrapes sync.WaitGroup
	for range scrapesAtOnce {
		scrapes.Go(func() {
			resp, err := http.Get(server.URL)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Contains(text, []byte("mybr_networks 0")) {
				t.Errorf("%v\n%s", err, text)
			}
		})
		<-asked
	}
	counted := make(chan bool)
	go func() {
		m.Request("NetworkDriver.Join", OK, time.Millisecond)
		m.DeltaPass(nil, time.Millisecond)
		close(counted)
	}()
	select {
	case <-counted:
	case <-time.After(10 * time.Second):
		t.Error("a request waits for a scrape")
	}
	resp, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one scrape more: %s", resp.Status)
	}
	close(hang)
	scrapes.Wait()
}

// A panic in a source spoils that scrape, and is told; the process goes on.
func TestCrash(t *testing.T) {
	s := sources()
	s.View = func(context.Context) (view.View, error) { panic("a record") }
	var told any
	s.Crashed = func(value any, stack []byte) {
		if told = value; !bytes.Contains(stack, []byte("TestCrash")) {
			t.Errorf("the stack is %s", stack)
		}
	}
	w := httptest.NewRecorder()
	New(s, nil).Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusInternalServerError || told != "a record" || !strings.Contains(w.Body.String(), "mybr crashed in this scrape") {
		t.Errorf("%d %v %s", w.Code, told, w.Body)
	}
}

// promNames are the names of mybr's metrics in a text, without what histograms and their
// queries add.
func promNames(text string) []string {
	found := map[string]bool{}
	for _, name := range regexp.MustCompile(`\bmybr_[a-z_]+`).FindAllString(text, -1) {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && byName()[base].Type == histogram {
				name = base
			}
		}
		found[name] = true
	}
	return slices.Sorted(maps.Keys(found))
}
