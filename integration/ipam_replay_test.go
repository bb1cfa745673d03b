package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// TestIPAMOutlives ends and starts the processes under networks whose addresses are
// mybr's.
func TestIPAMOutlives(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr's IPAM driver")
	}
	t.Parallel()
	liveRestore := world.Config{DockerArgs: []string{"--live-restore"}}
	for _, test := range []struct {
		name string
		test func(*testing.T, *world.World)
		cfg  world.Config
		full bool // only make test-full runs it: others show both halves of it
	}{
		{name: "docker_stops", test: func(t *testing.T, w *world.World) { ipamReplay(t, w, false, w.RestartDocker) }},
		{name: "docker_killed", full: true, test: func(t *testing.T, w *world.World) { ipamReplay(t, w, false, w.KillDocker, w.StartDocker) }},
		{name: "docker_stops_live_restore", cfg: liveRestore, full: true,
			test: func(t *testing.T, w *world.World) { ipamReplay(t, w, true, w.RestartDocker) }},
		{name: "docker_killed_live_restore", cfg: liveRestore,
			test: func(t *testing.T, w *world.World) { ipamReplay(t, w, true, w.KillDocker, w.StartDocker) }},
		{name: "both_killed_live_restore", cfg: liveRestore,
			test: func(t *testing.T, w *world.World) {
				ipamReplay(t, w, true, w.KillDocker, w.KillMybr, w.StartMybr, w.StartDocker)
			}},
		{name: "mybr_killed_after_replay", cfg: liveRestore,
			test: func(t *testing.T, w *world.World) {
				ipamReplay(t, w, true, w.RestartDocker, w.KillMybr, w.StartMybr)
			}},
		{name: "mybr_killed", test: func(t *testing.T, w *world.World) { ipamReplay(t, w, true, w.KillMybr, w.StartMybr) }},
		{name: "reboot", test: func(t *testing.T, w *world.World) { ipamReplay(t, w, false, w.Reboot) }},
		{name: "wire", test: replayOnTheWire},
		{name: "nothing_repeated", test: nothingRepeated},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.full {
				world.Full(t)
			}
			t.Parallel()
			test.test(t, world.New(t, test.cfg))
		})
	}
}

// ipamReplay ends processes in some way and starts them again: the containers that
// run on, and those that start again, have addresses of their own.
func ipamReplay(t *testing.T, w *world.World, runOn bool, events ...func()) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/24", "--ip-range", "10.77.0.64/26", "--gateway", "10.77.0.254", "--aux-address", "router=10.77.0.65")
	pooled(w, "mybr", "auto")
	pooled(w, "bridge", "dockers")
	w.Docker("network", "create", "-d", "mybr", "--subnet", "10.79.0.0/24", "plain")
	networks := []string{"n0", "auto", "dockers", "plain"}
	restart := []string{"--restart", "always"}
	for _, n := range networks {
		w.Idle("a-"+n, append(restart, "--net", n)...)
		w.Idle("gone-"+n, "--net", n)
		w.Docker("rm", "-f", "gone-"+n)
	}
	w.Idle("fixed", append(restart, "--net", "n0", "--ip", "10.77.0.9", "--mac-address", "02:42:00:00:00:07")...)
	before := map[string]string{}
	for _, n := range networks {
		before[n] = subnet(w, n)
		before["a-"+n] = w.Addr("a-"+n, n)
	}
	held := leases(t, w)
	for _, event := range events {
		event()
	}
	names := []string{"fixed"}
	for _, n := range networks {
		names = append(names, "a-"+n)
	}
	for _, name := range names {
		w.Eventually(30*time.Second, func() error {
			if got := w.Docker("inspect", "-f", "{{.State.Running}}", name); got != "true" {
				return fmt.Errorf("%s is not running: %s", name, w.Docker("inspect", "-f", "{{json .State}}", name))
			}
			return nil
		})
	}
	for _, n := range networks {
		if have := subnet(w, n); have != before[n] {
			t.Errorf("%s has subnet %s, had %s", n, have, before[n])
		}
		if have := w.Addr("a-"+n, n); runOn && have != before["a-"+n] {
			t.Errorf("a-%s has address %s, had %s", n, have, before["a-"+n])
		}
	}
	has(t, w, "fixed", "n0", "10.77.0.9")
	after := leases(t, w)
	if runOn && fmt.Sprint(after) != fmt.Sprint(held) {
		t.Errorf("leases are %v, were %v", after, held)
	}
	for pool, addrs := range held {
		if len(after[pool]) != len(addrs) {
			t.Errorf("leases of %s are %v, were %v", pool, after[pool], addrs)
		}
	}
	// Nothing is given away twice.
	seen := map[string]string{}
	for _, n := range networks {
		for i := range 3 {
			name := fmt.Sprint("new-", n, i)
			w.Idle(name, "--net", n)
			names = append(names, name)
		}
	}
	for _, name := range names {
		addr := ipv4(t, w.Container(name), "eth0")
		if other := seen[addr]; other != "" {
			t.Errorf("%s and %s both have %s", name, other, addr)
		}
		seen[addr] = name
	}
	denied(t, w, "RequestPool: request pool 10.77.0.0/24: invalid pool request: Pool overlaps with other one on this address space: 10.77.0.0/24, which another network has in address space mybr-local",
		"network", "create", "-d", "mybr", "--ipam-driver", "mybr", "--subnet", "10.77.0.0/24", "second")
	w.Docker(append([]string{"rm", "-f"}, names...)...)
	w.Docker(append([]string{"network", "rm"}, networks...)...)
	if left := leases(t, w); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// tap puts a plugin named tap between Docker and mybr, and keeps the requests for
// addresses.
type tap struct {
	mu   sync.Mutex
	seen []string
}

func newTap(t *testing.T, w *world.World) *tap {
	t.Helper()
	l, err := net.Listen("unix", w.Path("/run/docker/plugins/tap.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "mybr"})
	proxy.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", w.Path("/run/docker/plugins/mybr.sock"))
	}}
	p := &tap{}
	go http.Serve(l, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if method, ours := strings.CutPrefix(r.URL.Path, "/IpamDriver."); ours {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			p.mu.Lock()
			p.seen = append(p.seen, strings.TrimSpace(method+" "+strings.TrimSpace(string(body))))
			p.mu.Unlock()
		}
		proxy.ServeHTTP(rw, r)
	}))
	return p
}

// take gives what was seen since the last call.
func (p *tap) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return seen
}

// replayOnTheWire is what package ipam takes for granted of Docker: a repetition names
// subnets and addresses and no MACs, and comes before everything else.
func replayOnTheWire(t *testing.T, w *world.World) {
	p := newTap(t, w)
	w.Docker("network", "create", "-d", "mybr", "--ipam-driver", "tap", "--subnet", "10.77.0.0/24", "--ip-range", "10.77.0.0/25", "--aux-address", "router=10.77.0.9", "n0")
	w.Docker("network", "create", "-d", "mybr", "--ipam-driver", "tap", "n1")
	w.Idle("web", "--net", "n0")
	w.Idle("ben", "--net", "n1", "--mac-address", "02:42:00:00:00:07")
	onTheWire(t, "new", p.take(),
		"RequestAddress 10.77.0.0/24 gateway",
		"RequestAddress 10.77.0.0/24 mac",
		"RequestAddress 10.77.0.0/24 fixed 10.77.0.9",
		"RequestAddress 172.18.0.0/16 gateway",
		"RequestAddress 172.18.0.0/16 mac",
		"RequestPool",
		"RequestPool 10.77.0.0/24 10.77.0.0/25")
	w.KillDocker()
	w.StartDocker()
	seen := p.take()
	ends := slices.IndexFunc(seen, func(s string) bool { return strings.HasPrefix(s, "Release") })
	if ends < 0 {
		t.Fatalf("no address of a container that ended is released: %q", seen)
	}
	onTheWire(t, "repeated", seen[:ends],
		"RequestAddress 10.77.0.0/24 gateway fixed 10.77.0.1",
		"RequestAddress 10.77.0.0/24 fixed 10.77.0.2",
		"RequestAddress 10.77.0.0/24 fixed 10.77.0.9",
		"RequestAddress 172.18.0.0/16 gateway fixed 172.18.0.1",
		"RequestAddress 172.18.0.0/16 fixed 172.18.0.2",
		"RequestPool 10.77.0.0/24 10.77.0.0/25",
		"RequestPool 172.18.0.0/16")
	onTheWire(t, "behind", seen[ends:], "ReleaseAddress 10.77.0.0/24 fixed 10.77.0.2", "ReleaseAddress 172.18.0.0/16 fixed 172.18.0.2")
}

// onTheWire compares requests in any order, those without a body aside.
func onTheWire(t *testing.T, when string, seen []string, want ...string) {
	t.Helper()
	var have []string
	for _, line := range seen {
		method, body, _ := strings.Cut(line, " ")
		if body == "" {
			continue
		}
		var r struct {
			Pool, SubPool, PoolID, Address string
			Options                        map[string]string
		}
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		words := []string{method}
		if r.PoolID != "" {
			id := strings.Split(r.PoolID, "/") // space, address, bits
			words = append(words, id[1]+"/"+id[2])
		}
		if r.Options["RequestAddressType"] != "" {
			words = append(words, "gateway")
		}
		if r.Options["com.docker.network.endpoint.macaddress"] != "" {
			words = append(words, "mac")
		}
		if r.Address != "" {
			words = append(words, "fixed", r.Address)
		}
		have = append(have, strings.TrimSpace(strings.Join(append(words, r.Pool, r.SubPool), " ")))
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("%s:\nhave %s\nwant %s", when, strings.Join(have, "\n     "), strings.Join(want, "\n     "))
	}
}

// nothingRepeated has Docker ask for the capabilities and repeat nothing, as it does if
// mybr was away when it started, and when a managed plugin is enabled again; then a
// second network with a subnet that is held is refused, and the first one keeps all it
// has.
func nothingRepeated(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/24")
	pooled(w, "mybr", "n1", "--subnet", "10.78.0.0/24")
	before := leases(t, w)
	call(t, w, "IpamDriver.GetCapabilities", "")
	for i, subnet := range []string{"10.77.0.0/24", "10.77.0.0/24", "10.78.0.0/24"} {
		want := "RequestPool: request pool " + subnet
		if i == 0 {
			want = "RequestAddress: request address"
		}
		denied(t, w, want+": invalid pool request: Pool overlaps with other one on this address space: "+subnet+", which another network has in address space mybr-local",
			"network", "create", "-d", "mybr", "--ipam-driver", "mybr", "--subnet", subnet, "second")
		if have := leases(t, w); fmt.Sprint(have) != fmt.Sprint(before) {
			t.Errorf("leases are %v, were %v", have, before)
		}
	}
	w.Idle("web", "--net", "n0")
	w.Idle("ben", "--net", "n1")
	has(t, w, "web", "n0", "10.77.0.2")
	has(t, w, "ben", "n1", "10.78.0.2")
}
