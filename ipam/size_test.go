package ipam

import (
	"context"
	"errors"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/model"
)

// 0.0.0.0/24 and ::/80 are no subnets but ask for any of that size, of those that are chosen
// from by default: the next that is free.
func TestSubnetsOfASize(t *testing.T) {
	d, s := newDriver(t, "172.17.0.0/23", "fd00::/120")
	d.pools = []AddressPool{{prefixes("172.17.0.0/16")[0], 16}, {prefixes("10.0.0.0/8")[0], 24}, {prefixes("fd00::/56")[0], 64}}
	ask := func(subnet, sub string) (string, error) {
		r, err := d.RequestPool(context.Background(), poolRequest(SpaceLocal, subnet, sub))
		if err != nil {
			return "", err
		}
		return r.Pool, nil
	}
	for _, c := range []struct{ subnet, want string }{
		{"0.0.0.0/24", "172.17.2.0/24"}, {"0.0.0.0/24", "172.17.3.0/24"}, {"0.0.0.0/31", "172.17.4.0/31"}, {"0.0.0.0/20", "172.17.16.0/20"},
		{"0.0.0.0/12", "10.0.0.0/12"}, // as wide as no subnet of the first range
		{"::/80", "fd00::1:0:0:0/80"}, {"::/64", "fd00:0:0:1::/64"}, {"::/127", "fd00::100/127"},
	} {
		if have, err := ask(c.subnet, ""); err != nil || have != c.want {
			t.Errorf("%s: have %s %v, want %s", c.subnet, have, err, c.want)
		}
	}
	before := dump(t, s)
	for _, c := range []struct {
		subnet, sub string
		kind        error
		want        string
	}{
		{"0.0.0.0/7", "", model.ErrInvalid, "no default IPv4 subnet is as wide as /7: give a subnet (--subnet), or mybr wider ones (--address-pool)"},
		{"::/48", "", model.ErrInvalid, "no default IPv6 subnet is as wide as /48: give a subnet (--subnet), or mybr wider ones (--address-pool)"},
		{"0.0.0.0/32", "", model.ErrInvalid, "subnet 0.0.0.0/32 is any of that size, which has no address for both a gateway and a container: want a prefix length of 31 at most"},
		{"0.0.0.0/0", "", model.ErrInvalid, "subnet 0.0.0.0/0 overlaps 0.0.0.0/8 (this network), which no host can have addresses of"},
		{"0.0.0.1/32", "", model.ErrInvalid, "subnet 0.0.0.1/32 overlaps 0.0.0.0/8 (this network), which no host can have addresses of"},
		{"0.0.0.0/24", "0.0.0.0/28", model.ErrInvalid, "sub-pool 0.0.0.0/28 (--ip-range) needs a subnet (--subnet), and 0.0.0.0/24 is any of that size"},
		{"0.0.0.0/16", "", model.ErrConflict, "every default IPv4 subnet is in use by another network or by a route of the host: give a subnet (--subnet), or mybr more of them (--address-pool)"},
	} {
		if c.kind == model.ErrConflict {
			d.pools = d.pools[:1]
		}
		if have, err := ask(c.subnet, c.sub); err == nil || err.Error() != "request pool "+c.subnet+": "+c.want || !errors.Is(err, c.kind) {
			t.Errorf("%s: have %s %v, want %s", c.subnet, have, err, c.want)
		}
	}
	_, err := d.RequestPool(context.Background(), &helper.RequestPoolRequest{AddressSpace: SpaceLocal, Pool: "0.0.0.0/24", V6: true})
	if want := "request pool 0.0.0.0/24: subnet 0.0.0.0/24 is one of IPv4, and IPv6 is asked for"; err == nil || err.Error() != want {
		t.Errorf("have %v, want %s", err, want)
	}
	if after := dump(t, s); len(after.Pools) != len(before.Pools) {
		t.Errorf("have %+v, want %+v", after, before)
	}
}

// By default there is room for any of the sizes that Docker's own pools have room for.
func TestDefaultSubnetsOfASize(t *testing.T) {
	d, _ := newDriver(t)
	for _, c := range []struct{ subnet, want string }{{"0.0.0.0/28", "172.17.0.0/28"}, {"0.0.0.0/16", "172.18.0.0/16"}} {
		if r, err := d.RequestPool(context.Background(), poolRequest(SpaceLocal, c.subnet, "")); err != nil || r.Pool != c.want {
			t.Errorf("%s: have %+v %v, want %s", c.subnet, r, err, c.want)
		}
	}
	if r, err := d.RequestPool(context.Background(), poolRequest(SpaceLocal, "::/96", "")); err != nil || prefixes(r.Pool)[0].Bits() != 96 || r.Pool[:2] != "fd" {
		t.Errorf("have %+v %v, want a unique local subnet of 96 bits", r, err)
	}
}

// After dockerd has started, a request for a size may be a repetition, of which the subnet
// is not known. It must not keep other pools from being asked for again.
func TestSizeDuringReplay(t *testing.T) {
	d, s := newDriver(t)
	id := pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, "gateway", "", "10.0.0.1/24")
	sized := pool(t, d, "0.0.0.0/24", "")
	want(t, d, sized, "gateway", "", "172.17.0.1/24")
	if _, err := d.GetCapabilities(context.Background()); err != nil {
		t.Fatal(err)
	}
	again := pool(t, d, "0.0.0.0/24", "")
	refused(t, d, again, "gateway", "172.17.0.1", "request address 172.17.0.1: not an address of pool "+again)
	releasePool(t, d, again)
	if have := pool(t, d, "10.0.0.0/24", ""); have != id {
		t.Errorf("have %s, want %s again", have, id)
	}
	want(t, d, id, "gateway", "10.0.0.1", "10.0.0.1/24")
	if have := dump(t, s); len(have.Pools) != 2 || len(have.Leases[sized]) != 1 {
		t.Errorf("have %+v", have)
	}
}
