package ipam

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// poolsFrom asks for as many subnets of mybr's choice as are wanted.
func poolsFrom(t *testing.T, d *Driver, v6 bool, want ...string) {
	t.Helper()
	for _, want := range want {
		if have, err := anyPoolOf(d, SpaceLocal, v6); err != nil || have != want {
			t.Errorf("have %s %v, want %s", have, err, want)
		}
	}
}

// Without a word of the operator's, IPv6 subnets are the /64s of one random /48, which
// outlives the process and the networks, and is another one for everybody.
func TestUniqueLocalSubnets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	start := func() (*Driver, *store.Store) {
		s := openStore(t, path)
		return New(Config{Store: records{s}, Routes: hostRoutes(nil)}), s
	}
	d, s := start()
	first, err := anyPoolOf(d, SpaceLocal, true)
	if err != nil {
		t.Fatal(err)
	}
	subnet := netip.MustParsePrefix(first)
	if !netip.MustParsePrefix("fd00::/8").Contains(subnet.Addr()) || subnet.Bits() != 64 || netip.PrefixFrom(subnet.Addr(), 48).Masked().Addr() != subnet.Addr() {
		t.Errorf("have %s, want the first /64 of a /48 of fd00::/8", first)
	}
	next := func(n byte) string {
		a := subnet.Addr().As16()
		a[7] = n
		return netip.PrefixFrom(netip.AddrFrom16(a), 64).String()
	}
	poolsFrom(t, d, true, next(1))
	poolsFrom(t, d, false, "172.17.0.0/16")
	releasePool(t, d, SpaceLocal+"/"+first)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d, s = start()
	defer s.Close()
	poolsFrom(t, d, true, first, next(2))
	if have, err := anyPoolOf(d, SpaceGlobal, true); err != nil || have != first {
		t.Errorf("have %s %v, want %s in the other space", have, err, first)
	}
	other, _ := newDriver(t)
	if have, err := anyPoolOf(other, SpaceLocal, true); err != nil || netip.MustParsePrefix(have).Addr() == subnet.Addr() {
		t.Errorf("have %s %v on another host, want another /48", have, err)
	}
}

// What the operator gives of one family leaves the other family its default.
func TestPoolsOfEachFamily(t *testing.T) {
	given := func(routes []string, values ...string) *Driver {
		t.Helper()
		_, s := newDriver(t)
		pools, err := ParseAddressPools(values)
		if err != nil {
			t.Fatal(err)
		}
		return New(Config{Store: records{s}, Routes: hostRoutes(prefixes(routes...)), Pools: pools})
	}
	d := given(nil, "base=fd12:3456::/63,size=64", "base=10.0.0.0/24,size=24", "base=fd12:9999::/126,size=127")
	poolsFrom(t, d, true, "fd12:3456::/64", "fd12:3456:0:1::/64", "fd12:9999::/127", "fd12:9999::2/127")
	poolsFrom(t, d, false, "10.0.0.0/24")
	for v6, want := range map[bool]string{
		true:  "request pool: every default IPv6 subnet is in use by another network or by a route of the host: give a subnet (--subnet), or mybr more of them (--address-pool)",
		false: "request pool: every default IPv4 subnet is in use by another network or by a route of the host: give a subnet (--subnet), or mybr more of them (--address-pool)",
	} {
		if have, err := anyPoolOf(d, SpaceLocal, v6); err == nil || err.Error() != want || !errors.Is(err, model.ErrConflict) {
			t.Errorf("have %s %v, want %s", have, err, want)
		}
	}
	poolsFrom(t, given(nil, "base=fd12:3456::/48,size=64"), false, "172.17.0.0/16", "172.18.0.0/16")
	have, err := anyPoolOf(given(nil, "base=10.0.0.0/24,size=24"), SpaceLocal, true)
	if err != nil || netip.MustParsePrefix(have).Bits() != 64 || have[:2] != "fd" {
		t.Errorf("have %s %v, want an unique local subnet", have, err)
	}

	// Routes of the host are in the way, save those to about everything.
	d = given([]string{"::/0", "::/1", "8000::/1", "2000::/3", "fc00::/7", "fd00::/8", "10.0.0.0/8", "fe80::/64",
		"fd12:3456::5/128", "fd12:3456:0:2::/63"}, "base=fd12:3456::/61,size=64")
	pool(t, d, "fd12:3456:0:4::/80", "")
	poolsFrom(t, d, true, "fd12:3456:0:1::/64", "fd12:3456:0:5::/64")
	d = given([]string{"fd80::/9"}, "base=fd80::/48,size=64", "base=fd12::/48,size=64")
	poolsFrom(t, d, true, "fd12::/64")
}

// FuzzRequests asks for any pool and any address of it. What is granted can be granted:
// an address of the subnet that isn't given twice.
func FuzzRequests(f *testing.F) {
	for _, seed := range []struct {
		subnet, sub, addr string
		v6                bool
	}{
		{"10.0.0.0/24", "10.0.0.64/26", "10.0.0.9", false}, {"", "", "", false}, {"", "", "::1", true},
		{"fd00::1/64", "fd00::/80", "fd00::", true}, {"fe80::/64", "", "fe80::1%eth0", true}, {"fe80::/63", "", "", true},
		{"::/0", "", "", true}, {"::ffff:10.0.0.0/120", "", "::ffff:10.0.0.1", true}, {"2001:db8::/127", "2001:db8::1/128", "2001:db8::1", true},
		{"2001:db8::/128", "", "", true}, {"8000::/1", "", "", true}, {"fd00::/64", "10.0.0.0/24", "10.0.0.1", true},
		{"ff02::1/16", "", "ff02::1", true}, {"255.255.255.254/31", "", "", false}, {"fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", "", "", true},
	} {
		f.Add(seed.subnet, seed.sub, seed.addr, seed.v6)
	}
	f.Fuzz(func(t *testing.T, subnet, sub, addr string, v6 bool) {
		s := openStore(t, filepath.Join(t.TempDir(), "mybr.db"))
		defer s.Close()
		d := New(Config{Store: records{s}, Routes: hostRoutes(nil)})
		r, err := d.RequestPool(context.Background(), &helper.RequestPoolRequest{AddressSpace: SpaceLocal, Pool: subnet, SubPool: sub, V6: v6})
		if err != nil {
			if !errors.Is(err, model.ErrInvalid) || len(dump(t, s).Pools) != 0 {
				t.Fatalf("%q %q: have %v, want it refused as invalid, and nothing held", subnet, sub, err)
			}
			return
		}
		p := netip.MustParsePrefix(r.Pool)
		if p != p.Masked() || p.Addr().Is6() != v6 || p.Addr().Is4In6() {
			t.Fatalf("%q: have %s", subnet, p)
		}
		seen := map[netip.Prefix]bool{}
		for _, c := range []struct{ what, addr string }{{"gateway", ""}, {"aux", addr}, {mac1, ""}, {mac2, ""}} {
			have, err := ask(d, r.PoolID, c.what, c.addr)
			if err != nil {
				continue
			}
			a := netip.MustParsePrefix(have)
			if a.Bits() != p.Bits() || !p.Contains(a.Addr()) || seen[a] || p.Addr().BitLen()-p.Bits() > 1 && a.Addr() == p.Addr() {
				t.Fatalf("%s of %s: have %s, behind %v", c.what, r.PoolID, a, seen)
			}
			seen[a] = true
		}
		releasePool(t, d, r.PoolID)
	})
}
