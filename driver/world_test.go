package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// IDs as long as Docker's.
var (
	netA = strings.Repeat("a1", 32)
	netB = strings.Repeat("b2", 32)
	ep1  = strings.Repeat("e1", 32)
	ep2  = strings.Repeat("e2", 32)
	ep3  = strings.Repeat("e3", 32)
)

const sandbox = "/var/run/docker/netns/5f4f711ce5c2"

var ctx = context.Background()

// world is a driver with a real store and everything else made up.
type world struct {
	*Driver
	t     testing.TB
	store *store.Store
	sync  *fakeSync
	ports *fakePorts
	host  *fakeLinks
	said  []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{t: t, store: s, ports: &fakePorts{store: s, owner: map[uint16]string{}}, host: &fakeLinks{}}
	w.sync = &fakeSync{store: s, links: w.host}
	w.restart()
	return w
}

// restart replaces the driver as a new process would.
func (w *world) restart() {
	var mu sync.Mutex
	w.Driver = New(Config{Store: w.store, Sync: w.sync, Ports: w.ports, Links: w.host, Warn: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		w.said = append(w.said, fmt.Sprintf(format, args...))
	}})
}

// fakeSync makes the fake links match the store.
type fakeSync struct {
	mu    sync.Mutex
	store *store.Store
	links *fakeLinks
	fail  func(n int) error // n counts from 1
	n     int
	about []string // of the last call
}

func (s *fakeSync) Sync(_ context.Context, about ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.about = about
	if s.fail != nil {
		if err := s.fail(s.n); err != nil {
			return err
		}
	}
	snap := s.store.Snapshot()
	var made []model.Link
	for _, n := range snap.Networks {
		if n.Owned {
			made = append(made, model.Link{Name: n.Bridge, Kind: "bridge", Alias: link.AliasNetwork + n.ID, Addresses: []netip.Prefix{n.V4.Address}})
		}
	}
	for _, e := range snap.Endpoints {
		made = append(made, model.Link{Name: e.HostIface(), Kind: "veth", Alias: link.AliasEndpoint + e.ID})
		if e.Sandbox == "" {
			made = append(made, model.Link{Name: e.PeerIface(), Kind: "veth"})
		}
	}
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	s.links.made = made
	return nil
}

type fakeLinks struct {
	mu      sync.Mutex
	foreign []model.Link
	made    []model.Link
	gone    map[string]bool
	err     error
}

func (l *fakeLinks) Links() ([]model.Link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	links := append([]model.Link(nil), l.foreign...)
	for _, m := range l.made {
		if !l.gone[m.Name] {
			links = append(links, m)
		}
	}
	return links, l.err
}

// fakePorts gives each request its first port, or one from 32768 on.
type fakePorts struct {
	mu       sync.Mutex
	store    *store.Store // what is recorded there is not given back
	owner    map[uint16]string
	released int
	reqs     []model.PortRequest // of the last call
}

func (p *fakePorts) Reserve(owner string, reqs []model.PortRequest) ([]model.PortBinding, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reqs = reqs
	var got []model.PortBinding
	var mine []uint16
	for _, r := range reqs {
		port := r.First
		for port == 0 {
			for c := uint16(32768); port == 0; c++ {
				if p.owner[c] == "" || p.owner[c] == owner && !used(got, c) {
					port = c
				}
			}
		}
		if h := p.owner[port]; h != "" && h != owner {
			return nil, nil, conflict("Bind for 0.0.0.0:%d failed: port is already allocated", port)
		}
		if p.owner[port] == "" {
			mine = append(mine, port)
		}
		p.owner[port] = owner
		host := r.HostIP
		if !host.IsValid() {
			host = netip.IPv4Unspecified()
		}
		got = append(got, model.PortBinding{Proto: r.Proto, Host: netip.AddrPortFrom(host, port), Container: r.Container, Count: 1})
	}
	return got, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.released++
		for _, e := range p.store.Snapshot().Endpoints {
			if e.ID == owner {
				for _, b := range e.Ports {
					mine = slices.DeleteFunc(mine, func(m uint16) bool { return m == b.Host.Port() })
				}
			}
		}
		for _, m := range mine {
			delete(p.owner, m)
		}
	}, nil
}

func used(got []model.PortBinding, port uint16) bool {
	for _, b := range got {
		if b.Host.Port() == port {
			return true
		}
	}
	return false
}

func decode[T any](t testing.TB, text string) *T {
	t.Helper()
	v := new(T)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// createNetwork asks for a network with a subnet such as 10.1.0.0/24; opts is the
// JSON of the options, "" for none.
func (w *world) createNetwork(id, subnet, opts string) error {
	if opts == "" {
		opts = "{}"
	}
	p := netip.MustParsePrefix(subnet)
	r := decode[network.CreateNetworkRequest](w.t, fmt.Sprintf(
		`{"NetworkID":%q,"Options":%s,"IPv4Data":[{"AddressSpace":"LocalDefault","Gateway":"%s/%d","Pool":%q}],"IPv6Data":[]}`,
		id, opts, p.Addr().Next(), p.Bits(), subnet))
	return w.CreateNetwork(ctx, r)
}

// user is the options of a network with these -o options, as JSON.
func user(keysAndValues ...string) string {
	m := map[string]string{}
	for i := 0; i < len(keysAndValues); i += 2 {
		m[keysAndValues[i]] = keysAndValues[i+1]
	}
	text, _ := json.Marshal(map[string]any{"com.docker.network.enable_ipv6": false, "com.docker.network.generic": m})
	return string(text)
}

func (w *world) createEndpoint(netID, id, addr string) (*network.CreateEndpointResponse, error) {
	return w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netID, EndpointID: id,
		Interface: &network.EndpointInterface{Address: addr}, Options: map[string]any{}})
}

func (w *world) join(netID, id string) error {
	_, err := w.Join(ctx, &network.JoinRequest{NetworkID: netID, EndpointID: id, SandboxKey: sandbox})
	return err
}

func (w *world) pec(netID, id, ports string) error {
	r := decode[network.ProgramExternalConnectivityRequest](w.t, fmt.Sprintf(
		`{"NetworkID":%q,"EndpointID":%q,"Options":{"com.docker.network.endpoint.exposedports":[],"com.docker.network.portmap":%s}}`, netID, id, ports))
	return w.ProgramExternalConnectivity(ctx, r)
}

// running makes network netA with ep1 joined and publishing 8080.
func (w *world) running() {
	w.t.Helper()
	must(w.t, w.createNetwork(netA, "10.1.0.0/24", ""))
	_, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
	must(w.t, err)
	must(w.t, w.join(netA, ep1))
	must(w.t, w.pec(netA, ep1, port8080))
}

const port8080 = `[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080}]`

func (w *world) endpointRecord(id string) model.Endpoint {
	w.t.Helper()
	for _, e := range w.store.Snapshot().Endpoints {
		if e.ID == id {
			return e
		}
	}
	w.t.Fatalf("no endpoint %s", short(id))
	return model.Endpoint{}
}

func (w *world) networkRecord(id string) model.Network {
	w.t.Helper()
	for _, n := range w.store.Snapshot().Networks {
		if n.ID == id {
			return n
		}
	}
	w.t.Fatalf("no network %s", short(id))
	return model.Network{}
}

// unchanged fails the test if do changes a record or leaves a port reserved.
func (w *world) unchanged(do func()) {
	w.t.Helper()
	have, ports := w.store.Snapshot(), fmt.Sprint(w.ports.owner)
	do()
	if now := w.store.Snapshot(); !reflect.DeepEqual(now, have) {
		w.t.Errorf("the records changed from\n%+v to\n%+v", have, now)
	}
	if now := fmt.Sprint(w.ports.owner); now != ports {
		w.t.Errorf("the ports changed from %s to %s", ports, now)
	}
}

func wantErr(t testing.TB, err, kind error, text string) {
	t.Helper()
	if err == nil || err.Error() != text {
		t.Errorf("have error %v\nwant       %s", err, text)
	}
	if !errors.Is(err, kind) {
		t.Errorf("error %v is not of kind %v", err, kind)
	}
}

// portsFollow frees the ports of endpoints that have no record, as a real sync does.
type portsFollow struct {
	*fakeSync
	ports *fakePorts
}

func (s portsFollow) Sync(ctx context.Context, about ...string) error {
	known := map[string]bool{}
	for _, e := range s.store.Snapshot().Endpoints {
		known[e.ID] = true
	}
	s.ports.mu.Lock()
	for port, owner := range s.ports.owner {
		if !known[owner] && len(owner) == len(ep1) {
			delete(s.ports.owner, port)
		}
	}
	s.ports.mu.Unlock()
	return s.fakeSync.Sync(ctx, about...)
}
