package ipam

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// hostRoutes are the routes that the host is said to have.
type hostRoutes []netip.Prefix

func (r hostRoutes) Routes() ([]netip.Prefix, error) { return r, nil }

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// records gives a store's transactions to the driver.
type records struct{ store *store.Store }

func (r records) View(fn func(Tx) error) error {
	return r.store.View(func(tx *store.Tx) error { return fn(tx) })
}

func (r records) Update(fn func(Tx) error) error {
	_, err := r.store.Update(func(tx *store.Tx) error { return fn(tx) })
	return err
}

func openStore(t tester, path string) *store.Store {
	t.Helper()
	s, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newDriver returns a driver on a fresh store.
func newDriver(t *testing.T, routes ...string) (*Driver, *store.Store) {
	t.Helper()
	s := openStore(t, filepath.Join(t.TempDir(), "mybr.db"))
	t.Cleanup(func() { _ = s.Close() })
	return New(Config{Store: records{s}, Routes: hostRoutes(prefixes(routes...))}), s
}

type world struct {
	Pools  []model.Pool
	Leases map[string][]model.Lease // in use
	Rests  map[string][]model.Lease
}

// dump is everything that the store holds of this package's.
func dump(t tester, s *store.Store) world {
	t.Helper()
	w := world{Leases: map[string][]model.Lease{}, Rests: map[string][]model.Lease{}}
	err := s.View(func(tx *store.Tx) error {
		w.Pools = tx.Pools()
		for _, p := range w.Pools {
			for l := range tx.Leases(p.ID, netip.Addr{}) {
				of := w.Leases
				if l.Kind == model.LeaseResting {
					of = w.Rests
				}
				of[p.ID] = append(of[p.ID], l)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// poolRequest is as Docker makes it, which says the family of a subnet beside it.
func poolRequest(space, subnet, sub string) *helper.RequestPoolRequest {
	return &helper.RequestPoolRequest{AddressSpace: space, Pool: subnet, SubPool: sub, V6: strings.Contains(subnet, ":")}
}

func pool(t tester, d *Driver, subnet, sub string) string {
	t.Helper()
	r, err := d.RequestPool(context.Background(), poolRequest(SpaceLocal, subnet, sub))
	if err != nil {
		t.Fatal(err)
	}
	return r.PoolID
}

// ask requests an address: what is "gateway", "aux" or a MAC.
func ask(d *Driver, poolID, what, addr string) (string, error) {
	r := &helper.RequestAddressRequest{PoolID: poolID, Address: addr}
	switch what {
	case "gateway":
		r.Options = map[string]string{keyType: typeGateway}
	case "aux":
	default:
		r.Options = map[string]string{keyMAC: what, "com.docker.network.endpoint.name": "web"}
	}
	resp, err := d.RequestAddress(context.Background(), r)
	if err != nil {
		return "", err
	}
	return resp.Address, nil
}

func want(t tester, d *Driver, poolID, what, addr, want string) {
	t.Helper()
	if have, err := ask(d, poolID, what, addr); err != nil || have != want {
		t.Fatalf("%s %q of %s: have %s %v, want %s", what, addr, poolID, have, err, want)
	}
}

func refused(t tester, d *Driver, poolID, what, addr, want string) {
	t.Helper()
	if have, err := ask(d, poolID, what, addr); err == nil || err.Error() != want {
		t.Fatalf("%s %q of %s: have %s %v, want %s", what, addr, poolID, have, err, want)
	}
}

func release(t tester, d *Driver, poolID, a string) {
	t.Helper()
	if err := d.ReleaseAddress(context.Background(), &helper.ReleaseAddressRequest{PoolID: poolID, Address: a}); err != nil {
		t.Fatal(err)
	}
}

func releasePool(t tester, d *Driver, id string) {
	t.Helper()
	if err := d.ReleasePool(context.Background(), &helper.ReleasePoolRequest{PoolID: id}); err != nil {
		t.Fatal(err)
	}
}

const (
	mac1 = "02:42:00:00:00:01"
	mac2 = "02:42:00:00:00:02"
	mac3 = "02:42:00:00:00:03"
)

func TestCapabilitiesAndSpaces(t *testing.T) {
	d, _ := newDriver(t)
	c, err := d.GetCapabilities(context.Background())
	if err != nil || *c != (CapabilitiesResponse{RequiresMACAddress: true, RequiresRequestReplay: true}) {
		t.Errorf("have %+v %v", c, err)
	}
	a, err := d.GetDefaultAddressSpaces(context.Background())
	if err != nil || *a != (helper.AddressSpacesResponse{LocalDefaultAddressSpace: "mybr-local", GlobalDefaultAddressSpace: "mybr-global"}) {
		t.Errorf("have %+v %v", a, err)
	}
}

// The life of one network, call by call as Docker makes them. In each family the
// addresses are those that follow one text.
func TestOneNetwork(t *testing.T) {
	for _, c := range []struct{ text, given, subnet, sub string }{
		{"10.198.7.", "10.198.7.9/24", "10.198.7.0/24", "10.198.7.64/26"},
		{"2001:db8:7::", "2001:db8:7::9/64", "2001:db8:7::/64", "2001:db8:7::64/126"},
		{"fe80::", "fe80::1/64", "fe80::/64", "fe80::64/126"},
		{"2001:db8::ffff:ffff:0:", "2001:db8::ffff:ffff:0:9/32", "2001:db8::/32", "2001:db8::ffff:ffff:0:64/126"},
	} {
		t.Run(c.subnet, func(t *testing.T) { oneNetwork(t, c.text, c.given, c.subnet, c.sub) })
	}
}

func oneNetwork(t *testing.T, text, given, subnet, sub string) {
	d, s := newDriver(t)
	id := pool(t, d, given, sub) // host bits are dropped
	if id != "mybr-local/"+subnet+"/"+sub {
		t.Fatalf("have %s", id)
	}
	addr := func(last string) string { return text + last }
	with := func(last string) string {
		return netip.PrefixFrom(netip.MustParseAddr(addr(last)), netip.MustParsePrefix(subnet).Bits()).String()
	}
	want(t, d, id, "gateway", addr("1"), with("1")) // outside the sub-pool
	want(t, d, id, "aux", addr("200"), with("200")) // too
	want(t, d, id, mac1, "", with("64"))            // the ends of a sub-pool are addresses like any other
	want(t, d, id, mac2, "", with("65"))
	want(t, d, id, mac3, addr("250"), with("250")) // --ip outside the sub-pool
	for range 2 {
		want(t, d, id, "gateway", addr("1"), with("1"))
		want(t, d, id, "gateway", "", with("1"))
		want(t, d, id, "aux", addr("200"), with("200"))
		want(t, d, id, mac2, "", with("65"))
		want(t, d, id, mac2, addr("65"), with("65"))
		want(t, d, id, mac3, "", with("250"))
	}
	if n := len(dump(t, s).Leases[id]); n != 5 {
		t.Errorf("have %d leases, want 5", n)
	}
	for range 2 {
		for _, last := range []string{"64", "65", "250", "1", "200"} {
			release(t, d, id, addr(last))
		}
	}
	if n := len(dump(t, s).Leases[id]); n != 0 {
		t.Errorf("have %d leases, want none", n)
	}
	for range 2 {
		releasePool(t, d, id)
		release(t, d, id, addr("1"))
	}
	if w := dump(t, s); len(w.Pools) != 0 {
		t.Errorf("have %+v, want nothing", w)
	}
}

func TestGatewayWithoutWish(t *testing.T) {
	d, _ := newDriver(t)
	for _, c := range []struct{ subnet, sub, want string }{
		{"10.0.0.0/24", "", "10.0.0.1/24"},
		{"10.1.0.0/16", "10.1.5.0/24", "10.1.5.0/16"},
		{"10.2.0.0/24", "10.2.0.0/25", "10.2.0.1/24"},
		{"10.3.0.6/31", "", "10.3.0.6/31"},
		{"10.4.0.6/32", "", "10.4.0.6/32"},
		{"fd00:1::/64", "", "fd00:1::1/64"},
		{"fd00:2::/48", "fd00:2:0:5::/64", "fd00:2:0:5::/48"},
		{"fd00:3::/64", "fd00:3::/65", "fd00:3::1/64"},
		{"fd00:4::6/127", "", "fd00:4::6/127"},
		{"fd00:5::6/128", "", "fd00:5::6/128"},
		{"fe80::/64", "fe80::8000/113", "fe80::8000/64"},
	} {
		id := pool(t, d, c.subnet, c.sub)
		want(t, d, id, "gateway", "", c.want)
		want(t, d, id, "gateway", "", c.want)
	}
}

// Releasing a pool takes its addresses along: the next network begins anew.
func TestReleasePoolReleasesItsAddresses(t *testing.T) {
	d, _ := newDriver(t)
	id := pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, "gateway", "", "10.0.0.1/24")
	want(t, d, id, mac1, "", "10.0.0.2/24")
	releasePool(t, d, id)
	id = pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, "gateway", "", "10.0.0.1/24")
	want(t, d, id, mac2, "", "10.0.0.2/24")
}

func TestSmallSubnets(t *testing.T) {
	d, _ := newDriver(t)
	two := pool(t, d, "10.0.0.0/31", "") // RFC 3021
	want(t, d, two, "gateway", "10.0.0.1", "10.0.0.1/31")
	want(t, d, two, mac1, "", "10.0.0.0/31")
	refused(t, d, two, mac2, "", "request address: pool mybr-local/10.0.0.0/31 is exhausted: all 2 addresses of 10.0.0.0/31 are in use")
	one := pool(t, d, "10.0.0.9/32", "")
	want(t, d, one, mac1, "10.0.0.9", "10.0.0.9/32")
	refused(t, d, one, mac2, "", "request address: pool mybr-local/10.0.0.9/32 is exhausted: all 1 addresses of 10.0.0.9/32 are in use")
	last := pool(t, d, "255.255.254.0/31", "")
	want(t, d, last, mac1, "", "255.255.254.0/31")
	four := pool(t, d, "10.0.1.0/30", "")
	want(t, d, four, mac1, "", "10.0.1.1/30")
	want(t, d, four, mac2, "", "10.0.1.2/30")
	two = pool(t, d, "fd00:1::/127", "") // RFC 6164
	want(t, d, two, "gateway", "fd00:1::1", "fd00:1::1/127")
	want(t, d, two, mac1, "", "fd00:1::/127")
	refused(t, d, two, mac2, "", "request address: pool mybr-local/fd00:1::/127 is exhausted: all 2 addresses of fd00:1::/127 are in use")
	last = pool(t, d, "fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126", "") // there are no broadcasts
	for a, mac := range map[string]string{"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": mac3, "fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe": mac2} {
		want(t, d, last, mac, a, a+"/126")
	}
	want(t, d, last, mac1, "", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffd/126")
	refused(t, d, last, "aux", "", "request address: pool "+last+" is exhausted: all 3 addresses of fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126 are in use")
	refused(t, d, four, mac3, "", "request address: pool mybr-local/10.0.1.0/30 is exhausted: all 2 addresses of 10.0.1.0/30 are in use")
}

// An address that was released rests until all others were used.
func TestRoundRobin(t *testing.T) {
	d, _ := newDriver(t)
	id := pool(t, d, "10.0.0.0/29", "")
	want(t, d, id, "gateway", "", "10.0.0.1/29")
	want(t, d, id, mac1, "", "10.0.0.2/29")
	for _, next := range []string{"10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.3"} {
		want(t, d, id, mac2, "", next+"/29")
		release(t, d, id, next)
	}
	// Not even when it was named, and would have been the next.
	want(t, d, id, mac2, "10.0.0.4", "10.0.0.4/29")
	release(t, d, id, "10.0.0.4")
	want(t, d, id, mac3, "", "10.0.0.5/29")
	// But rather than none, it is.
	want(t, d, id, "aux", "10.0.0.3", "10.0.0.3/29")
	want(t, d, id, "aux", "10.0.0.4", "10.0.0.4/29")
	want(t, d, id, mac2, "", "10.0.0.6/29")
	release(t, d, id, "10.0.0.6")
	want(t, d, id, mac2, "", "10.0.0.6/29")
}

// A gateway is no turn in the round.
func TestGatewayLeavesTheRoundAlone(t *testing.T) {
	d, _ := newDriver(t)
	id := pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, mac1, "", "10.0.0.1/24")
	want(t, d, id, mac2, "", "10.0.0.2/24")
	release(t, d, id, "10.0.0.1")
	release(t, d, id, "10.0.0.2")
	want(t, d, id, "gateway", "", "10.0.0.1/24")
	want(t, d, id, mac3, "", "10.0.0.3/24")
}

// Docker's retries and its daemon's restarts outlive the process.
func TestAnswersOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	s := openStore(t, path)
	d := New(Config{Store: records{s}, Routes: hostRoutes(nil)})
	id := pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, "gateway", "", "10.0.0.1/24")
	want(t, d, id, mac1, "", "10.0.0.2/24")
	want(t, d, id, mac2, "", "10.0.0.3/24")
	release(t, d, id, "10.0.0.3")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	defer s.Close()
	d = New(Config{Store: records{s}, Routes: hostRoutes(nil)})
	want(t, d, id, mac1, "", "10.0.0.2/24")
	want(t, d, id, mac3, "", "10.0.0.4/24")
}

// Many at once get different addresses, equal requests the same one.
func TestConcurrentRequests(t *testing.T) {
	d, s := newDriver(t)
	id := pool(t, d, "10.0.0.0/24", "")
	var mu sync.Mutex
	got := map[string][]string{}
	var wg sync.WaitGroup
	for i := range 120 {
		wg.Go(func() {
			mac := model.MAC{2, 0, 0, 0, 0, byte(1 + i/2)}.String()
			a, err := ask(d, id, mac, "")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[a] = append(got[a], mac)
		})
	}
	wg.Wait()
	if len(got) != 60 || len(dump(t, s).Leases[id]) != 60 {
		t.Errorf("have %d addresses and %d leases, want 60", len(got), len(dump(t, s).Leases[id]))
	}
	for a, macs := range got {
		if len(macs) != 2 || macs[0] != macs[1] {
			t.Errorf("%s went to %v", a, macs)
		}
	}
}

type brokenRoutes struct{}

func (brokenRoutes) Routes() ([]netip.Prefix, error) { return nil, errors.New("netlink is gone") }

func TestRoutesThatCannotBeRead(t *testing.T) {
	_, s := newDriver(t)
	d := New(Config{Store: records{s}, Routes: brokenRoutes{}})
	before := dump(t, s)
	_, err := d.RequestPool(context.Background(), &helper.RequestPoolRequest{AddressSpace: SpaceLocal})
	if err == nil || err.Error() != "request pool: read the routes of the host: netlink is gone" {
		t.Errorf("have %v", err)
	}
	if after := dump(t, s); !reflect.DeepEqual(before, after) {
		t.Errorf("have %+v, want %+v", after, before)
	}
	pool(t, d, "10.0.0.0/24", "") // a given subnet doesn't ask for them
}
