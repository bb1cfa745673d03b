package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The networks and endpoints of the commands' tests, by their first letters.
var (
	front, back, old = strings.Repeat("4f2a91c0", 8), strings.Repeat("91c0de00", 8), strings.Repeat("91aa0000", 8)
	web, webBack, db = strings.Repeat("e0000001", 8), strings.Repeat("e0000002", 8), strings.Repeat("d0000003", 8)
)

// records are three networks, of which one has both families, one is internal, and one is
// routed and has no name any more; and containers, of which one is on two networks.
func records() model.Snapshot {
	pre, ap, addr := netip.MustParsePrefix, netip.MustParseAddrPort, netip.MustParseAddr
	return model.Snapshot{
		Networks: []model.Network{
			{ID: front, Bridge: "br-4f2a91c04f2a", Owned: true, ICC: true, MTU: 1450, HostBinding: addr("192.0.2.2"), Trusted: []string{"eth1"},
				Routes: []model.Route{{Destination: pre("10.1.0.0/16"), NextHop: addr("172.18.0.9")}},
				V4:     model.Subnet{Prefix: pre("172.18.0.0/16"), Gateway: addr("172.18.0.1"), Address: pre("172.18.0.1/16"), Masquerade: true},
				V6:     model.Subnet{Prefix: pre("fd00:18::/64"), Gateway: addr("fd00:18::1"), Address: pre("fd00:18::1/64"), SNAT: addr("2001:db8::2")}},
			{ID: old, Bridge: "lan0", ICC: true,
				V4: model.Subnet{Prefix: pre("10.9.0.0/24"), Gateway: addr("10.9.0.254"), Address: pre("10.9.0.1/24"), Mode: model.ModeRouted}},
			{ID: back, Bridge: "br-91c0de0091c0", Owned: true, Internal: true,
				V4: model.Subnet{Prefix: pre("172.19.0.0/16"), Address: pre("172.19.0.1/16")}},
		},
		Endpoints: []*model.Endpoint{
			{ID: web, NetworkID: front, MAC: model.MAC{2, 0, 0, 0, 0, 1}, V4: pre("172.18.0.2/16"), V6: pre("fd00:18::2/64"), Sandbox: "/run/docker/netns/1",
				Ports: []model.PortBinding{
					{Proto: model.TCP, Host: ap("0.0.0.0:8080"), Container: ap("172.18.0.2:80"), Count: 1},
					{Proto: model.TCP, Host: ap("[::]:8080"), Container: ap("[fd00:18::2]:80"), Count: 1},
					{Proto: model.UDP, Host: ap("127.0.0.1:5300"), Container: ap("172.18.0.2:53"), Count: 10},
				}},
			{ID: webBack, NetworkID: back, MAC: model.MAC{2, 0, 0, 0, 0, 2}, V4: pre("172.19.0.2/16"), Sandbox: "/run/docker/netns/1"},
			{ID: db, NetworkID: old, MAC: model.MAC{2, 0, 0, 0, 0, 3}, V4: pre("10.9.0.2/24"), OpenV4: []model.PortSpan{{Proto: model.TCP, First: 5432, Count: 1}}},
		},
	}
}

func pools() []view.Pool {
	pre, addr := netip.MustParsePrefix, netip.MustParseAddr
	return []view.Pool{
		{ID: "mybr-local/172.18.0.0/16", Space: "mybr-local", Prefix: pre("172.18.0.0/16"), Size: 65534, Used: 2, Rests: 1, Kept: 3, Free: 65528, Next: addr("172.18.0.4")},
		{ID: "mybr-local/10.9.0.0/24", Space: "mybr-local", Prefix: pre("10.9.0.0/24"), Range: pre("10.9.0.4/30"), Size: 4, Used: 5},
		{ID: "mybr-local/fd00:18::/64", Space: "mybr-local", Prefix: pre("fd00:18::/64"), Size: 1<<64 - 1, Used: 2, Free: 1<<64 - 1, Next: addr("fd00:18::3")},
	}
}

func happened() []event.Event {
	return []event.Event{
		{Kind: event.Started},
		{Kind: event.NetworkCreated, Network: front, Bridge: "br-4f2a91c04f2a", Addresses: []string{"172.18.0.0/16", "fd00:18::/64"}},
		{Kind: event.Changed, Aspect: "links", Changes: []string{"link br-4f2a91c04f2a: add", "link br-4f2a91c04f2a: bring up", `link br-4f2a91c04f2a: alias "mybr fwd=\"6\"" -> "mybr fwd=46"`}},
		{Kind: event.EndpointCreated, Network: front, Bridge: "br-4f2a91c04f2a", Endpoint: web, Addresses: []string{"172.18.0.2/16"}},
		{Kind: event.PortPublished, Network: front, Bridge: "br-4f2a91c04f2a", Endpoint: web, Ports: []string{"tcp 0.0.0.0:8080 -> 172.18.0.2:80"}},
		{Kind: event.Healed, Aspect: "firewall", Changes: []string{"iptables nat: -A MYBR-PORTS -p tcp"}, More: 4, By: "iptables (pid 77)"},
		{Kind: event.Fight, Aspect: "links", Changes: []string{"link br-4f2a91c04f2a: bring up"}, By: "ip (pid 78)"},
		{Kind: event.Failed, Error: "firewall: iptables-restore: exit status 4"},
		{Kind: event.Recovered},
		{Kind: event.Lost, Missed: 17},
	}
}

// denials are of a container that is there, of one that is gone, and of nobody.
func denials(at time.Time) []plugin.Denial {
	return []plugin.Denial{
		{Network: front, Endpoint: web, Address: "192.0.2.7", Port: 22, Protocol: "tcp", Count: 12, First: at, Last: at.Add(time.Hour)},
		{Network: front, Endpoint: web, Name: "git.example.com", Address: "192.0.2.9", Port: 22, Protocol: "tcp", Count: 2, First: at, Last: at},
		{Network: front, Endpoint: web, Address: "2001:db8:1234:5678:9abc:def0:1234:5678", Port: 123, Protocol: "udp", Count: 1, Let: 1, First: at, Last: at},
		{Network: front, Endpoint: strings.Repeat("f0000009", 8), Name: "example.com", Port: 443, Protocol: "tcp", Count: 9, Let: 4, First: at, Last: at},
		{Network: old, Address: "ff02::2", Protocol: "icmp", Count: 3, First: at, Last: at},
		{Network: old, Endpoint: db, Address: "192.0.2.8", Protocol: "protocol 47", Count: 3, First: at, Last: at},
	}
}

// fake is a mybr and a Docker whose answers are the tests'.
type fake struct {
	dir    string
	status plugin.Status
	diff   []plugin.Difference // of status --diff, and of sync
	view   view.View
	events []event.Event
	web    string // a container's name
	ports  func(plugin.Ports) (changed []plugin.Binding, refused string)
	denied plugin.Denied
}

// newFake serves them until the test ends.
func newFake(t *testing.T) *fake {
	t.Helper()
	taken := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	s := records()
	f := &fake{
		dir: t.TempDir(), events: happened(), web: "web",
		status: plugin.Status{Version: "v1.2.3", PID: 42, Since: taken.Add(-time.Hour), Ready: true, Networks: 3, Endpoints: 3, Firewall: "iptables (nf_tables)",
			Healed: map[string]plugin.Healed{"links": {Times: 2, Changes: 3, Last: taken.Add(-time.Minute), By: "ip (pid 78)"}}},
		view: view.Of(s, view.Facts{Taken: taken, Pools: pools(), Traffic: map[model.PortBinding]view.Traffic{
			s.Endpoints[0].Ports[0]: {Connections: 1234}, s.Endpoints[0].Ports[1]: {},
		}}),
	}
	f.denied = plugin.Denied{Version: 1, Forgotten: 7, Lost: 2, Denied: denials(taken)}
	for i := range f.events {
		f.events[i].Version, f.events[i].Seq, f.events[i].Time = event.Version, uint64(i), taken.Add(time.Duration(i)*time.Second)
	}
	answer := func(what func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(what()) } // a client that has gone fails by itself
	}
	mybr := http.NewServeMux()
	mybr.HandleFunc("GET /v1/status", answer(func() any { return f.status }))
	mybr.HandleFunc("GET /v1/diff", answer(func() any { return f.diff }))
	mybr.HandleFunc("GET /v1/view", answer(func() any { return f.view }))
	mybr.HandleFunc("GET /v1/denied", answer(func() any { return f.denied }))
	mybr.HandleFunc("GET /v1/denied/follow", func(w http.ResponseWriter, _ *http.Request) {
		for _, d := range f.denied.Denied {
			d.Version = 1
			_ = json.NewEncoder(w).Encode(d)
		}
	})
	mybr.HandleFunc("GET /v1/suggest", answer(func() any {
		return plugin.Suggestion{Version: 1, List: "192.0.2.7:22/tcp,[2001:db8::7]:123/udp", New: []string{"192.0.2.7:22/tcp"}, Left: f.denied.Denied[4:], Own: 1, Unheard: f.denied.Unheard}
	}))
	mybr.HandleFunc("POST /v1/sync", answer(func() any { return f.diff }))
	mybr.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		list := f.events[len(f.events)-1:]
		if r.URL.Query().Get("history") == "200" {
			list = f.events
		}
		for _, e := range list {
			_ = json.NewEncoder(w).Encode(e)
		}
	})
	mybr.HandleFunc("POST /v1/ports", func(w http.ResponseWriter, r *http.Request) {
		var what plugin.Ports
		_ = json.NewDecoder(r.Body).Decode(&what) // what is missing is seen in what it asks for
		changed, refused := f.ports(what)
		if refused != "" {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": refused})
			return
		}
		_ = json.NewEncoder(w).Encode(changed)
	})
	docker := http.NewServeMux()
	docker.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	docker.HandleFunc("GET /v1.41/containers/json", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`[{"Names":[` + string(must(json.Marshal("/"+f.web))) + `],"NetworkSettings":{"Networks":{"front":{"EndpointID":"` + web + `","Gateway":"172.18.0.1"},"back":{"EndpointID":"` + webBack + `"}}}}]`))
	})
	docker.HandleFunc("GET /v1.41/networks", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`[{"Id":"` + front + `","Name":"front"},{"Id":"` + back + `","Name":"back"}]`))
	})
	for name, h := range map[string]http.Handler{"mybr.sock": mybr, "docker.sock": docker} {
		ln, err := net.Listen("unix", filepath.Join(f.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: h}
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(ln) }()
		t.Cleanup(func() { server.Close(); <-ended })
	}
	return f
}

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

// run runs a command against the fake, with Docker's names unless args say otherwise.
func (f *fake) run(args string) (code int, stdout, stderr string) {
	words := append(strings.Fields(args), "--run-dir", f.dir)
	var out, errs bytes.Buffer
	code = run(context.Background(), words, &out, &errs)
	return code, out.String(), strings.ReplaceAll(errs.String(), f.dir, "DIR")
}

// golden compares what a command printed, and its exit status, with a file.
func golden(t *testing.T, name, args string, code int, stdout, stderr string) {
	t.Helper()
	have := "$ mybr " + args + "\n" + stdout
	for line := range strings.Lines(stderr) {
		have += "stderr: " + line
	}
	if code != 0 {
		have += "exit status " + string(rune('0'+code)) + "\n"
	}
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("%s: have\n%s\nwant\n%s", path, have, want)
	}
}

// Each command's text and JSON, of one world.
func TestGolden(t *testing.T) {
	f := newFake(t)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(f.dir, "docker.sock"))
	differing := []plugin.Difference{{Aspect: "links", Changes: []string{"link br-4f2a91c04f2a: bring up", "link br-4f2a91c04f2a: MTU 1400 -> 1450"}},
		{Aspect: "firewall", Changes: []string{}, Error: "no lock"}}
	for _, c := range []struct {
		name, args string
		diff       []plugin.Difference
	}{
		{"status", "status", nil},
		{"status-diff", "status --diff", differing},
		{"status-same", "status --diff", []plugin.Difference{}},
		{"network-ls", "network ls", nil},
		{"network-inspect", "network inspect front 91aa br-91c0de0091c0", nil},
		{"endpoint-ls", "endpoint ls", nil},
		{"endpoint-ls-some", "endpoint ls back", nil},
		{"ports", "ports", nil},
		{"ports-some", "ports web", nil},
		{"pool-ls", "pool ls", nil},
		{"events", "events --history", nil},
		{"events-new", "events", nil},
		{"denied", "denied", nil},
		{"denied-unnamed", "denied lan0 --docker none", nil},
		{"denied-follow", "denied --follow", nil},
		{"egress-suggest", "egress suggest front", nil},
		{"egress-suggest-one", "egress suggest front --container web", nil},
		{"sync", "sync", differing},
		{"sync-nothing", "sync", []plugin.Difference{}},
		{"ports-unnamed", "ports --docker none", nil},
		{"network-ls-unnamed", "network ls --docker none", nil},
		{"endpoint-ls-unnamed", "endpoint ls --docker none", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.diff = c.diff
			code, stdout, stderr := f.run(c.args)
			golden(t, c.name+".txt", c.args, code, stdout, stderr)
			code, stdout, stderr = f.run(c.args + " -o json")
			golden(t, c.name+".json", c.args+" -o json", code, stdout, stderr)
			for line := range strings.SplitSeq(strings.TrimSpace(stdout), "\n}\n") { // documents, or lines
				var v struct{ Version int }
				if !strings.HasSuffix(line, "}") {
					line += "}"
				}
				first, _, _ := strings.Cut(line, "\n{")
				if err := json.Unmarshal([]byte(first), &v); err != nil || v.Version != 1 {
					t.Errorf("version %d, %v in %q", v.Version, err, first)
				}
			}
		})
	}
}

// That nothing is heard is a failure, behind what there is.
func TestGoldenOfUnheard(t *testing.T) {
	f := newFake(t)
	f.denied.Unheard = "the kernel can't\x1b tell"
	for name, args := range map[string]string{"denied-unheard.txt": "denied --docker none", "egress-suggest-unheard.txt": "egress suggest lan0 --docker none"} {
		code, stdout, stderr := f.run(args)
		golden(t, name, args, code, stdout, stderr)
		if code != exitFailed {
			t.Errorf("mybr %s: exit %d", args, code)
		}
	}
}

// An empty world has headings and lists.
func TestGoldenOfNothing(t *testing.T) {
	f := newFake(t)
	f.view = view.Of(model.Snapshot{}, view.Facts{})
	t.Setenv("DOCKER_HOST", "unix:///nowhere") // nobody is asked
	for _, args := range []string{"network ls", "endpoint ls", "ports", "pool ls"} {
		code, stdout, stderr := f.run(args)
		golden(t, "nothing-"+strings.ReplaceAll(args, " ", "-")+".txt", args, code, stdout, stderr)
	}
}

// Without names everything works, and a line says why there are none.
func TestWithoutDocker(t *testing.T) {
	f := newFake(t)
	for host, want := range map[string]string{
		"":                       "",
		"tcp://192.0.2.9:2375":   `DOCKER_HOST "tcp://192.0.2.9:2375": want unix:///PATH`,
		"unix:///nowhere/d.sock": "ask Docker on /nowhere/d.sock: dial unix /nowhere/d.sock: connect: no such file or directory",
	} {
		t.Setenv("DOCKER_HOST", host)
		code, stdout, stderr := f.run("ports")
		note, found := strings.CutPrefix(stderr, "mybr: names of containers and networks are missing: ")
		if code != 0 || !strings.Contains(stdout, "e0000001e000") || strings.Count(stderr, "\n") > 1 || host != "" && (!found || note != want+"\n") {
			t.Errorf("%q: exit %d\n%s%s", host, code, stdout, stderr)
		}
	}
	t.Setenv("DOCKER_HOST", "unix:///nowhere")
	if code, stdout, stderr := f.run("ports --docker " + filepath.Join(f.dir, "docker.sock")); code != 0 || stderr != "" || !strings.Contains(stdout, " web ") {
		t.Errorf("--docker: exit %d\n%s%s", code, stdout, stderr)
	}
	f.web = "w\x1b[31m"
	if code, stdout, _ := f.run("ports --docker " + filepath.Join(f.dir, "docker.sock")); code != 0 || !strings.Contains(stdout, ` w\x1b[31m `) {
		t.Errorf("a nasty name: exit %d\n%q", code, stdout)
	}
	f.view.Unknown = "no\nlock"
	if code, _, stderr := f.run("ports --docker none"); code != 0 || stderr != "mybr: not all could be read: no; lock\n" {
		t.Errorf("unknown: exit %d %q", code, stderr)
	}
}

// What does not say which one it means is refused, and what to do is said.
func TestFind(t *testing.T) {
	f := newFake(t)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(f.dir, "docker.sock"))
	for args, want := range map[string]string{
		"network inspect 91":     `network "91" could be any of 91aa000091aa, 91c0de0091c0: give more of the ID`,
		"network inspect x":      `network "x" is unknown: mybr network ls lists what there is`,
		"endpoint ls back x":     `network "x" is unknown: mybr network ls lists what there is`,
		"ports db":               `container "db" is unknown, or on no network of mybr's: mybr endpoint ls lists what there is`,
		"ports e":                `endpoint "e" could be any of e0000001e000, e0000002e000: give more of the ID`,
		"network inspect front ": "",
	} {
		code, _, stderr := f.run(args)
		if want == "" {
			if code != 0 {
				t.Errorf("%s: exit %d %q", args, code, stderr)
			}
		} else if code != exitFailed || stderr != "mybr: "+want+"\n" {
			t.Errorf("%s: exit %d %q, want %q", args, code, stderr, want)
		}
	}
	var out bytes.Buffer
	if code := run(context.Background(), []string{"network", "inspect", "", "--run-dir", f.dir}, &out, &out); code != exitFailed || !strings.Contains(out.String(), `network "" is unknown`) {
		t.Errorf("exit %d %s", code, out.String())
	}
	if code, stdout, _ := f.run("ports e0000001"); code != 0 || strings.Count(stdout, "\n") != 4 {
		t.Errorf("exit %d\n%s", code, stdout)
	}
}

// The shell is offered what there is, and nothing when mybr can't be asked.
func TestCompletion(t *testing.T) {
	f := newFake(t)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(f.dir, "docker.sock"))
	t.Setenv("MYBR_RUN_DIR", f.dir)
	for args, want := range map[string][]string{
		"network inspect ":       {"91aa000091aa\tlan0", "back\tbr-91c0de0091c0", "front\tbr-4f2a91c04f2a"},
		"network inspect front ": {"91aa000091aa\tlan0", "back\tbr-91c0de0091c0"},
		"network inspect f":      {"front\tbr-4f2a91c04f2a"},
		"endpoint ls b":          {"back\tbr-91c0de0091c0"},
		"port add ":              {"d0000003d000\ton 91aa000091aa", "web\ton back", "web\ton front"},
		"port add web ":          nil,
		"port rm web ":           {"127.0.0.1:5300-5309:53-62/udp", "8080:80/tcp"},
		"port rm web 8":          {"8080:80/tcp"},
		"port rm d0000003 ":      {"5432/tcp"},
		"ports ":                 {"d0000003d000\ton 91aa000091aa", "web\ton back", "web\ton front"},
		"ports --output ":        {"text", "json"},
		"network ": {"forget\tHave mybr forget networks that Docker has no more", "inspect\tShow networks with all that is on them", "ls\tList the networks",
			"set\tChange options of a network that is there"},
		"ports --run-dir /nowhere ": nil,
	} {
		var out, errs bytes.Buffer
		code := run(context.Background(), append([]string{"__complete"}, strings.Split(args, " ")...), &out, &errs)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		have := strings.Join(lines[:len(lines)-1], "\n") // the last one is for the shell's script
		if code != 0 || have != strings.Join(want, "\n") {
			t.Errorf("%q: exit %d\n%s\nwant\n%s\n%s", args, code, have, strings.Join(want, "\n"), errs.String())
		}
	}
}
