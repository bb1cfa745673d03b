package driver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/docker/go-plugins-helpers/network"

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

	clock   *clock
	noIPv6  error           // for restart
	alive   map[string]bool // engines that run, for restart
	options map[string]any  // of networks that dualNetwork makes, beside the user's
}

func newWorld(t testing.TB) *world {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{t: t, store: s, clock: &clock{at: time.Unix(1700000000, 0)}, ports: &fakePorts{store: s, owner: map[uint16]string{}}, host: &fakeLinks{taken: map[string]bool{}}}
	w.sync = &fakeSync{store: s, links: w.host, shared: map[*model.Endpoint]model.Endpoint{}}
	t.Cleanup(w.sync.check(t))
	w.restart()
	return w
}

// restart replaces the driver as a new process would.
func (w *world) restart() {
	var mu sync.Mutex
	w.Driver = New(Config{Store: records{w.store}, Now: w.clock.now, Sync: w.sync, Ports: w.ports, Links: w.host, IPv6: w.noIPv6, Lives: func(engine string) bool { return w.alive[engine] }, Warn: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		w.said = append(w.said, fmt.Sprintf(format, args...))
	}})
}

// records is a store as the driver sees it.
type records struct{ *store.Store }

func (r records) View(fn func(Tx) error) error {
	return r.Store.View(func(tx *store.Tx) error { return fn(tx) })
}

func (r records) Update(fn func(Tx) error) (func() error, error) {
	undo, err := r.Store.Update(func(tx *store.Tx) error { return fn(tx) })
	return func() error { return r.Revert(undo) }, err
}

// clock stands still until it is set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// fakeSync makes the fake links match the store.
type fakeSync struct {
	mu    sync.Mutex
	store *store.Store
	links *fakeLinks
	fail  func(n int) error // n counts from 1
	n     int
	about []string // of the last call

	shared map[*model.Endpoint]model.Endpoint // records of snapshots, as they were when they were seen first
}

// check makes a function that fails the test if a shared record has changed since it was seen.
func (s *fakeSync) check(t testing.TB) func() {
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for e, was := range s.shared {
			if !reflect.DeepEqual(*e, was) {
				t.Errorf("somebody has written to a record that snapshots share: it is %+v, and was %+v", *e, was)
			}
		}
	}
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
			made = append(made, model.Link{Name: n.Bridge, Kind: "bridge", Alias: model.AliasNetwork + n.ID, Addresses: []netip.Prefix{n.V4.Address, n.V6.Address}})
		}
	}
	for _, e := range snap.Endpoints {
		if _, seen := s.shared[e]; !seen && s.shared != nil {
			s.shared[e] = e.Clone()
		}
		made = append(made, model.Link{Name: e.HostIface(), Kind: "veth", Alias: model.AliasEndpoint + e.ID})
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
	taken   map[string]bool // into a sandbox
	err     error
}

func (l *fakeLinks) Links() ([]model.Link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	links := append([]model.Link(nil), l.foreign...)
	for _, m := range l.made {
		if !l.gone[m.Name] && !l.taken[m.Name] {
			links = append(links, m)
		}
	}
	return links, l.err
}

// fakePorts gives each request its first port, or one from 32768 on, to one owner alone.
type fakePorts struct {
	mu       sync.Mutex
	store    *store.Store // what is recorded there is not given back
	owner    map[uint16]string
	hasIPv6  bool // of the host
	refuse   error
	released int
	reqs     []model.PortRequest // of the last call
}

func (p *fakePorts) Reserve(owner string, reqs []model.PortRequest) ([]model.PortBinding, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reqs = reqs
	if p.refuse != nil {
		return nil, nil, p.refuse
	}
	var got []model.PortBinding
	var mine []uint16
	for _, r := range slices.SortedStableFunc(slices.Values(reqs), func(a, b model.PortRequest) int { return cmp.Compare(leeway(a), leeway(b)) }) {
		if r.V4.Host == netip.IPv4Unspecified() && r.V6.Host == netip.IPv6Unspecified() && !p.hasIPv6 {
			r.V6 = model.Target{}
		}
		port := r.First
		for ; port < r.Last && (p.owner[port] != "" && p.owner[port] != owner || used(got, r, port)); port++ {
		}
		for c := uint16(32768); port == 0; c++ {
			if h := p.owner[c]; (h == "" || h == owner) && !used(got, r, c) {
				port = c
			}
		}
		if h := p.owner[port]; h != "" && h != owner || used(got, r, port) {
			for _, m := range mine {
				delete(p.owner, m)
			}
			return nil, nil, model.Conflict("Bind for 0.0.0.0:%d failed: port is already allocated", port)
		}
		if p.owner[port] == "" {
			mine = append(mine, port)
		}
		p.owner[port] = owner
		for _, w := range []model.Target{r.V4, r.V6} {
			if w.Wanted() {
				got = append(got, model.PortBinding{Proto: r.Proto, Host: netip.AddrPortFrom(w.Host, port), Container: w.Container, Count: 1})
			}
		}
	}
	slices.SortFunc(got, func(a, b model.PortBinding) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), a.Host.Compare(b.Host), a.Container.Compare(b.Container))
	})
	return got, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.released++
		for _, e := range p.store.Snapshot().Endpoints {
			if e.PortOwner() == owner {
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

// used reports whether a request could not have a number beside what was given before.
func used(got []model.PortBinding, r model.PortRequest, port uint16) bool {
	for _, b := range got {
		for _, w := range []model.Target{r.V4, r.V6} {
			if w.Wanted() && b.Proto == r.Proto && b.Host.Port() == port && b.Host.Addr().Is4() == w.Host.Is4() {
				return true
			}
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

// userOptions are -o options.
func userOptions(keysAndValues ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(keysAndValues); i += 2 {
		m[keysAndValues[i]] = keysAndValues[i+1]
	}
	return m
}

// dualNetwork asks for a network with subnets of either family or both, as Engine 28 does.
func (w *world) dualNetwork(id string, user map[string]string, subnets ...string) error {
	generic := map[string]any{}
	for k, v := range user {
		generic[k] = v
	}
	r := &network.CreateNetworkRequest{NetworkID: id, Options: map[string]any{optGeneric: generic}}
	maps.Copy(r.Options, w.options)
	for _, f := range model.Families() {
		r.Options[enableKey(f)] = false
	}
	for _, text := range subnets {
		p := netip.MustParsePrefix(text)
		data := &network.IPAMData{AddressSpace: "LocalDefault", Pool: text, Gateway: netip.PrefixFrom(p.Addr().Next(), p.Bits()).String()}
		if f := model.FamilyOf(p.Addr()); f == model.IPv4 {
			r.IPv4Data = append(r.IPv4Data, data)
		} else {
			r.IPv6Data = append(r.IPv6Data, data)
		}
		r.Options[enableKey(model.FamilyOf(p.Addr()))] = true
	}
	return w.CreateNetwork(ctx, r)
}

// dualEndpoint makes an endpoint with addresses of either family or both.
func (w *world) dualEndpoint(netID, id string, addresses ...string) error {
	i := &network.EndpointInterface{}
	for _, a := range addresses {
		if p := netip.MustParsePrefix(a); p.Addr().Is4() {
			i.Address = a
		} else {
			i.AddressIPv6 = a
		}
	}
	_, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netID, EndpointID: id, Interface: i})
	return err
}

// publish is pec; only4 says that another network is the default route by IPv6.
func (w *world) publish(netID, id, ports string, only4 bool) error {
	r := decode[network.ProgramExternalConnectivityRequest](w.t, fmt.Sprintf(
		`{"NetworkID":%q,"EndpointID":%q,"Options":{%q:%v,%q:%s}}`, netID, id, optNoProxy64, only4, optPortMap, ports))
	return w.ProgramExternalConnectivity(ctx, r)
}

func (w *world) createEndpoint(netID, id, addr string) (*network.CreateEndpointResponse, error) {
	return w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netID, EndpointID: id,
		Interface: &network.EndpointInterface{Address: addr}, Options: map[string]any{}})
}

func (w *world) join(netID, id string) error {
	return w.joinSandbox(netID, id, sandboxOf(id))
}

func (w *world) joinSandbox(netID, id, key string) error {
	_, err := w.Join(ctx, &network.JoinRequest{NetworkID: netID, EndpointID: id, SandboxKey: key})
	return err
}

// Join is the driver's, after which Docker takes the interface into the sandbox.
func (w *world) Join(ctx context.Context, r *network.JoinRequest) (*network.JoinResponse, error) {
	res, err := w.Driver.Join(ctx, r)
	if err == nil {
		w.host.mu.Lock()
		w.host.taken[model.Endpoint{ID: r.EndpointID}.PeerIface()] = true
		w.host.mu.Unlock()
	}
	return res, err
}

// sandboxOf is that of a container with one endpoint.
func sandboxOf(id string) string {
	if id == ep1 {
		return sandbox
	}
	return sandbox + "-" + short(id)
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
			return *e
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

// webServer owns a port, and is no endpoint.
const webServer = "the web server"

// portsFollow frees the ports of endpoints that have no record, as a real sync does.
type portsFollow struct {
	*fakeSync
	ports *fakePorts
}

func (s portsFollow) Sync(ctx context.Context, about ...string) error {
	known := map[string]bool{}
	for _, e := range s.store.Snapshot().Endpoints {
		known[e.PortOwner()] = true
	}
	s.ports.mu.Lock()
	for port, owner := range s.ports.owner {
		if !known[owner] && owner != webServer {
			delete(s.ports.owner, port)
		}
	}
	s.ports.mu.Unlock()
	return s.fakeSync.Sync(ctx, about...)
}

func fmtPorts(ports []model.PortBinding) string {
	var texts []string
	for _, b := range ports {
		texts = append(texts, b.String())
	}
	return fmt.Sprint(texts)
}
