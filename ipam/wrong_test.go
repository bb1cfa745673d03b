package ipam

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/model"
)

// Each wrong input has its exact error, and leaves the records as they were. There
// is a pool 10.0.0.0/24 with the sub-pool 10.0.0.0/29, in which .1 is the gateway's,
// .9 auxiliary, and .2 to .7 are endpoints'; a pool 10.9.0.0/16; and a pool fd00:1::/64
// with a sub-pool of four, in which ::1 is the gateway's, and ::2 and ::3 are endpoints'.
func TestWrongInputs(t *testing.T) {
	d, s := newDriver(t)
	id := pool(t, d, "10.0.0.0/24", "10.0.0.0/29")
	pool(t, d, "10.9.0.0/16", "")
	id6 := pool(t, d, "fd00:1::/64", "fd00:1::/126")
	want(t, d, id6, "gateway", "", "fd00:1::1/64")
	want(t, d, id6, mac2, "", "fd00:1::2/64")
	want(t, d, id6, mac3, "", "fd00:1::3/64")
	want(t, d, id, "gateway", "", "10.0.0.1/24")
	want(t, d, id, "aux", "10.0.0.9", "10.0.0.9/24")
	for last := byte(2); last <= 7; last++ {
		mac := model.MAC{2, 0x42, 0, 0, 0, last}
		want(t, d, id, mac.String(), "", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), 24).String())
	}
	ctx := context.Background()
	requestPool := func(space, subnet, sub string, v6 bool, options ...string) error {
		_, err := d.RequestPool(ctx, &helper.RequestPoolRequest{AddressSpace: space, Pool: subnet, SubPool: sub, V6: v6, Options: pairs(options)})
		return err
	}
	requestAddress := func(poolID, address string, options ...string) error {
		_, err := d.RequestAddress(ctx, &helper.RequestAddressRequest{PoolID: poolID, Address: address, Options: pairs(options)})
		return err
	}
	local, gateway := SpaceLocal, []string{keyType, typeGateway}
	before := dump(t, s)
	for _, c := range []struct {
		call func() error
		kind error
		want string
	}{
		{func() error { return requestPool("", "10.1.0.0/24", "", false) }, model.ErrInvalid,
			`request pool 10.1.0.0/24: address space "" is unknown: want mybr-local or mybr-global`},
		{func() error { return requestPool("LocalDefault", "", "", false) }, model.ErrInvalid,
			`request pool: address space "LocalDefault" is unknown: want mybr-local or mybr-global`},
		{func() error { return requestPool(local, "2001:db8::/64", "", false) }, model.ErrInvalid,
			`request pool 2001:db8::/64: subnet 2001:db8::/64 is one of IPv6, and IPv4 is asked for`},
		{func() error { return requestPool(local, "10.1.0.0/24", "", true) }, model.ErrInvalid,
			`request pool 10.1.0.0/24: subnet 10.1.0.0/24 is one of IPv4, and IPv6 is asked for`},
		{func() error { return requestPool(local, "::ffff:10.1.0.0/120", "", false) }, model.ErrInvalid,
			`request pool ::ffff:10.1.0.0/120: subnet ::ffff:10.1.0.0/120 overlaps ::ffff:0:0/96 (IPv4-mapped), which no host can have addresses of`},
		{func() error { return requestPool(local, "::ffff:10.1.0.0/120", "", true) }, model.ErrInvalid,
			`request pool ::ffff:10.1.0.0/120: subnet ::ffff:10.1.0.0/120 overlaps ::ffff:0:0/96 (IPv4-mapped), which no host can have addresses of`},
		{func() error { return requestPool(local, "::ffff:0:0/95", "", true) }, model.ErrInvalid,
			`request pool ::ffff:0:0/95: subnet ::ffff:0:0/95 overlaps ::ffff:0:0/96 (IPv4-mapped), which no host can have addresses of`},
		{func() error { return requestPool(local, "::/0", "", true) }, model.ErrInvalid,
			`request pool ::/0: subnet ::/0 overlaps ::/128 (unspecified), which no host can have addresses of`},
		{func() error { return requestPool(local, "::/128", "", true) }, model.ErrInvalid,
			`request pool ::/128: subnet ::/128 is any of that size, which has no address for both a gateway and a container: want a prefix length of 127 at most`},
		{func() error { return requestPool(local, "::1/128", "", true) }, model.ErrInvalid,
			`request pool ::1/128: subnet ::1/128 overlaps ::1/128 (loopback), which no host can have addresses of`},
		{func() error { return requestPool(local, "ff02::/64", "", true) }, model.ErrInvalid,
			`request pool ff02::/64: subnet ff02::/64 overlaps ff00::/8 (multicast), which no host can have addresses of`},
		{func() error { return requestPool(local, "f000::/4", "", true) }, model.ErrInvalid,
			`request pool f000::/4: subnet f000::/4 overlaps ff00::/8 (multicast), which no host can have addresses of`},
		{func() error { return requestPool(local, "fe80::/10", "", true) }, model.ErrInvalid,
			`request pool fe80::/10: subnet fe80::/10 clashes with the Link-Local prefix 'fe80::/64': want exactly that or nothing of it`},
		{func() error { return requestPool(local, "fe80::/65", "", true) }, model.ErrInvalid,
			`request pool fe80::/65: subnet fe80::/65 clashes with the Link-Local prefix 'fe80::/64': want exactly that or nothing of it`},
		{func() error { return requestPool(local, "fe80::1%eth0/64", "", true) }, model.ErrInvalid,
			`request pool fe80::1%eth0/64: subnet "fe80::1%eth0/64" is not in CIDR notation, like 172.18.0.0/16`},
		{func() error { return requestPool(local, "2001:db8::/129", "", true) }, model.ErrInvalid,
			`request pool 2001:db8::/129: subnet "2001:db8::/129" is not in CIDR notation, like 172.18.0.0/16`},
		{func() error { return requestPool(local, "", "2001:db8::/65", true) }, model.ErrInvalid,
			`request pool: sub-pool 2001:db8::/65 (--ip-range) needs a subnet (--subnet)`},
		{func() error { return requestPool(local, "2001:db8::/64", "2001:db8:0:1::/65", true) }, model.ErrInvalid,
			`request pool 2001:db8::/64: sub-pool 2001:db8:0:1::/65 (--ip-range) is not part of the subnet`},
		{func() error { return requestPool(local, "2001:db8::/64", "2001:db8::/63", true) }, model.ErrInvalid,
			`request pool 2001:db8::/64: sub-pool 2001:db8::/63 (--ip-range) is not part of the subnet`},
		{func() error { return requestPool(local, "2001:db8::/64", "10.1.0.0/65", true) }, model.ErrInvalid,
			`request pool 2001:db8::/64: sub-pool "10.1.0.0/65" is not in CIDR notation, like 172.18.0.0/16`},
		{func() error { return requestPool(local, "2001:db8::/16", "10.1.0.0/24", true) }, model.ErrInvalid,
			`request pool 2001:db8::/16: sub-pool 10.1.0.0/24 (--ip-range) is not part of the subnet`},
		{func() error { return requestPool(local, "2001:db8::/64", "2001:db8::/128", true) }, model.ErrInvalid,
			`request pool 2001:db8::/64: sub-pool 2001:db8::/128 (--ip-range) has no address that a container can have`},
		{func() error { return requestPool(local, "fd00:1::/64", "", true) }, model.ErrConflict,
			`request pool fd00:1::/64: invalid pool request: Pool overlaps with other one on this address space: fd00:1::/64, which another network has in address space mybr-local`},
		{func() error { return requestPool(local, "fd00:1:0:0:8000::/65", "", true) }, model.ErrConflict,
			`request pool fd00:1:0:0:8000::/65: invalid pool request: Pool overlaps with other one on this address space: fd00:1::/64, which another network has in address space mybr-local`},
		{func() error { return requestPool(local, "fd00::/8", "", true) }, model.ErrConflict,
			`request pool fd00::/8: invalid pool request: Pool overlaps with other one on this address space: fd00:1::/64, which another network has in address space mybr-local`},
		{func() error { return requestPool(local, "10.1.0.0", "", false) }, model.ErrInvalid,
			`request pool 10.1.0.0: subnet "10.1.0.0" is not in CIDR notation, like 172.18.0.0/16`},
		{func() error { return requestPool(local, "10.1.0.0/33", "", false) }, model.ErrInvalid,
			`request pool 10.1.0.0/33: subnet "10.1.0.0/33" is not in CIDR notation, like 172.18.0.0/16`},
		{func() error { return requestPool(local, "10.1.0.256/24", "", false) }, model.ErrInvalid,
			`request pool 10.1.0.256/24: subnet "10.1.0.256/24" is not in CIDR notation, like 172.18.0.0/16`},
		{func() error { return requestPool(local, "0.0.0.0/0", "", false) }, model.ErrInvalid,
			`request pool 0.0.0.0/0: subnet 0.0.0.0/0 overlaps 0.0.0.0/8 (this network), which no host can have addresses of`},
		{func() error { return requestPool(local, "127.1.0.0/16", "", false) }, model.ErrInvalid,
			`request pool 127.1.0.0/16: subnet 127.1.0.0/16 overlaps 127.0.0.0/8 (loopback), which no host can have addresses of`},
		{func() error { return requestPool(local, "239.0.0.0/24", "", false) }, model.ErrInvalid,
			`request pool 239.0.0.0/24: subnet 239.0.0.0/24 overlaps 224.0.0.0/4 (multicast), which no host can have addresses of`},
		{func() error { return requestPool(local, "255.255.255.0/24", "", false) }, model.ErrInvalid,
			`request pool 255.255.255.0/24: subnet 255.255.255.0/24 overlaps 255.255.255.255/32 (broadcast), which no host can have addresses of`},
		{func() error { return requestPool(local, "", "10.1.0.0/25", false) }, model.ErrInvalid,
			`request pool: sub-pool 10.1.0.0/25 (--ip-range) needs a subnet (--subnet)`},
		{func() error { return requestPool(local, "10.1.0.0/24", "10.1.1.0/25", false) }, model.ErrInvalid,
			`request pool 10.1.0.0/24: sub-pool 10.1.1.0/25 (--ip-range) is not part of the subnet`},
		{func() error { return requestPool(local, "10.1.0.0/24", "10.1.0.0/23", false) }, model.ErrInvalid,
			`request pool 10.1.0.0/24: sub-pool 10.1.0.0/23 (--ip-range) is not part of the subnet`},
		{func() error { return requestPool(local, "10.1.0.0/24", "10.1.0.0/32", false) }, model.ErrInvalid,
			`request pool 10.1.0.0/24: sub-pool 10.1.0.0/32 (--ip-range) has no address that a container can have`},
		{func() error { return requestPool(local, "10.1.0.0/24", "some", false) }, model.ErrInvalid,
			`request pool 10.1.0.0/24: sub-pool "some" is not in CIDR notation, like 172.18.0.0/16`},
		{func() error { return requestPool(local, "10.1.0.0/24", "2001:db8::/64", false) }, model.ErrInvalid,
			`request pool 10.1.0.0/24: sub-pool 2001:db8::/64 (--ip-range) is not part of the subnet`},
		{func() error { return requestPool(local, "10.1.0.0/24", "", false, "foo", "1", "bar", "2") }, model.ErrInvalid,
			`request pool 10.1.0.0/24: option "bar" (--ipam-opt) is unknown`},
		{func() error { return requestPool(local, "10.0.0.0/24", "10.0.0.0/29", false) }, model.ErrConflict,
			`request pool 10.0.0.0/24: invalid pool request: Pool overlaps with other one on this address space: 10.0.0.0/24, which another network has in address space mybr-local`},
		{func() error { return requestPool(local, "10.9.3.0/24", "", false) }, model.ErrConflict,
			`request pool 10.9.3.0/24: invalid pool request: Pool overlaps with other one on this address space: 10.9.0.0/16, which another network has in address space mybr-local`},

		{func() error { return requestAddress("nowhere", "") }, model.ErrNotFound,
			`request address: pool nowhere: not found`},
		{func() error { return requestAddress("", "10.0.0.1") }, model.ErrNotFound,
			`request address 10.0.0.1: pool : not found`},
		{func() error { return requestAddress(id, "10.0.0.1/24") }, model.ErrInvalid,
			`request address 10.0.0.1/24: "10.0.0.1/24" is not an address like 172.18.0.2`},
		{func() error { return requestAddress(id, "10.0.0") }, model.ErrInvalid,
			`request address 10.0.0: "10.0.0" is not an address like 172.18.0.2`},
		{func() error { return requestAddress(id, "2001:db8::1") }, model.ErrInvalid,
			`request address 2001:db8::1: not an address of pool mybr-local/10.0.0.0/24/10.0.0.0/29`},
		{func() error { return requestAddress(id, "::ffff:10.0.0.20") }, model.ErrInvalid,
			`request address ::ffff:10.0.0.20: "::ffff:10.0.0.20" is an IPv4-mapped address: want 10.0.0.20`},
		{func() error { return requestAddress(id6, "fd00:1::9%eth0") }, model.ErrInvalid,
			`request address fd00:1::9%eth0: "fd00:1::9%eth0" has a zone, which no address of a pool has`},
		{func() error { return requestAddress(id6, "10.0.0.20") }, model.ErrInvalid,
			`request address 10.0.0.20: not an address of pool mybr-local/fd00:1::/64/fd00:1::/126`},
		{func() error { return requestAddress(id6, "fd00:1:0:1::", gateway...) }, model.ErrInvalid,
			`request address fd00:1:0:1::: not an address of pool mybr-local/fd00:1::/64/fd00:1::/126`},
		{func() error { return requestAddress(id6, "fd00:1::", gateway...) }, model.ErrInvalid,
			`request address fd00:1::: the address of any router (subnet-router anycast) of pool mybr-local/fd00:1::/64/fd00:1::/126`},
		{func() error { return requestAddress(id6, "fd00:1::1", keyMAC, mac1) }, model.ErrConflict,
			`request address fd00:1::1: Address already in use in pool mybr-local/fd00:1::/64/fd00:1::/126 as its gateway`},
		{func() error { return requestAddress(id6, "", keyMAC, mac1) }, model.ErrConflict,
			`request address: pool mybr-local/fd00:1::/64/fd00:1::/126 is exhausted: all 3 addresses of fd00:1::/126 are in use`},
		{func() error { return requestAddress(id, "10.0.1.1") }, model.ErrInvalid,
			`request address 10.0.1.1: not an address of pool mybr-local/10.0.0.0/24/10.0.0.0/29`},
		{func() error { return requestAddress(id, "10.0.0.0", gateway...) }, model.ErrInvalid,
			`request address 10.0.0.0: the network address of pool mybr-local/10.0.0.0/24/10.0.0.0/29`},
		{func() error { return requestAddress(id, "10.0.0.255", keyMAC, mac1) }, model.ErrInvalid,
			`request address 10.0.0.255: the broadcast address of pool mybr-local/10.0.0.0/24/10.0.0.0/29`},
		{func() error { return requestAddress(id, "10.0.0.1", keyMAC, mac1) }, model.ErrConflict,
			`request address 10.0.0.1: Address already in use in pool mybr-local/10.0.0.0/24/10.0.0.0/29 as its gateway`},
		{func() error { return requestAddress(id, "10.0.0.9", keyMAC, mac1) }, model.ErrConflict,
			`request address 10.0.0.9: Address already in use in pool mybr-local/10.0.0.0/24/10.0.0.0/29 as an auxiliary address`},
		{func() error { return requestAddress(id, "10.0.0.9", gateway...) }, model.ErrConflict,
			`request address 10.0.0.9: Address already in use in pool mybr-local/10.0.0.0/24/10.0.0.0/29 as an auxiliary address`},
		{func() error { return requestAddress(id, "10.0.0.3", keyMAC, mac2) }, model.ErrConflict,
			`request address 10.0.0.3: Address already in use in pool mybr-local/10.0.0.0/24/10.0.0.0/29 by the endpoint with MAC address 02:42:00:00:00:03`},
		{func() error { return requestAddress(id, "10.0.0.3") }, model.ErrConflict,
			`request address 10.0.0.3: Address already in use in pool mybr-local/10.0.0.0/24/10.0.0.0/29 by the endpoint with MAC address 02:42:00:00:00:03`},
		{func() error { return requestAddress(id, "", keyMAC, mac1) }, model.ErrConflict,
			`request address: pool mybr-local/10.0.0.0/24/10.0.0.0/29 is exhausted: all 7 addresses of 10.0.0.0/29 are in use`},
		{func() error { return requestAddress(id, "", keyMAC, "02:42:00:00:00") }, model.ErrInvalid,
			`request address: option com.docker.network.endpoint.macaddress: "02:42:00:00:00" is not the MAC address of an endpoint`},
		{func() error { return requestAddress(id, "", keyMAC, "00:00:00:00:00:00") }, model.ErrInvalid,
			`request address: option com.docker.network.endpoint.macaddress: "00:00:00:00:00:00" is not the MAC address of an endpoint`},
		{func() error { return requestAddress(id, "", keyMAC, "") }, model.ErrInvalid,
			`request address: option com.docker.network.endpoint.macaddress: "" is not the MAC address of an endpoint`},
		{func() error { return requestAddress(id, "", keyType, "router") }, model.ErrInvalid,
			`request address: option RequestAddressType: "router" is unknown: want com.docker.network.gateway`},
		{func() error { return requestAddress(id, "10.0.0.20", "colour", "blue") }, model.ErrInvalid,
			`request address 10.0.0.20: option "colour" is unknown`},

		{func() error {
			return d.ReleaseAddress(ctx, &helper.ReleaseAddressRequest{PoolID: id, Address: "10.0.0.2/24"})
		}, model.ErrInvalid, `release address 10.0.0.2/24: "10.0.0.2/24" is not an address like 172.18.0.2`},
		{func() error { return d.ReleaseAddress(ctx, &helper.ReleaseAddressRequest{PoolID: id}) }, model.ErrInvalid,
			`release address: "" is not an address like 172.18.0.2`},
	} {
		err := c.call()
		if err == nil || err.Error() != c.want {
			t.Errorf("have %v\nwant %s", err, c.want)
		} else if !errors.Is(err, c.kind) {
			t.Errorf("%v: want it to be of kind %q", err, c.kind)
		}
		if after := dump(t, s); !reflect.DeepEqual(after, before) {
			t.Fatalf("%s: have %+v, want %+v", c.want, after, before)
		}
	}
}

func pairs(list []string) map[string]string {
	if len(list) == 0 {
		return nil
	}
	m := map[string]string{}
	for i := 0; i < len(list); i += 2 {
		m[list[i]] = list[i+1]
	}
	return m
}

// Keys that Docker adds by itself are no reason to refuse.
func TestDockersOwnKeysAreIgnored(t *testing.T) {
	d, _ := newDriver(t)
	p, err := d.RequestPool(context.Background(), &helper.RequestPoolRequest{AddressSpace: SpaceGlobal, Pool: "10.0.0.0/24",
		Options: map[string]string{"com.docker.network.ipam.serial": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := d.RequestAddress(context.Background(), &helper.RequestAddressRequest{PoolID: p.PoolID,
		Options: map[string]string{"com.docker.network.ipam.serial": "true", "com.docker.network.new": "1", keyMAC: mac1}})
	if err != nil || a.Address != "10.0.0.1/24" {
		t.Errorf("have %+v %v", a, err)
	}
}

func TestParseAddressPools(t *testing.T) {
	for _, none := range [][]string{nil, {}} {
		have, err := ParseAddressPools(none)
		if err != nil || !reflect.DeepEqual(have, DefaultAddressPools()) || len(have) != 16 {
			t.Errorf("have %v %v, want the defaults", have, err)
		}
	}
	have, err := ParseAddressPools([]string{"base=172.17.0.0/12,size=16", "size=31,base=10.0.0.0/8", "base=fd12:3456::1/48,size=64", "base=2001:db8::/126,size=127"})
	want := []AddressPool{{netip.MustParsePrefix("172.16.0.0/12"), 16}, {netip.MustParsePrefix("10.0.0.0/8"), 31},
		{netip.MustParsePrefix("fd12:3456::/48"), 64}, {netip.MustParsePrefix("2001:db8::/126"), 127}}
	if err != nil || !reflect.DeepEqual(have, want) {
		t.Errorf("have %v %v, want %v", have, err, want)
	}
	for value, want := range map[string]string{
		"":                              `field "" is unknown: want base=SUBNET,size=BITS`,
		"10.0.0.0/8":                    `field "10.0.0.0/8" is unknown: want base=SUBNET,size=BITS`,
		"base=10.0.0.0/8":               `size is missing: want base=SUBNET,size=BITS`,
		"size=24":                       `base is missing: want base=SUBNET,size=BITS`,
		"base=10.0.0.0/8,size=24,x=1":   `field "x=1" is unknown: want base=SUBNET,size=BITS`,
		"base=10.0.0.0/8,size=24,":      `field "" is unknown: want base=SUBNET,size=BITS`,
		"base=10.0.0.0,size=24":         `base "10.0.0.0" is not in CIDR notation, like 172.18.0.0/16`,
		"base=,size=24":                 `base "" is not in CIDR notation, like 172.18.0.0/16`,
		"base=2001:db8::/32,size=31":    `size "31" is not a prefix length from 32, that of base, to 127`,
		"base=2001:db8::/32,size=128":   `size "128" is not a prefix length from 32, that of base, to 127`,
		"base=ff00::/16,size=64":        `base ff00::/16 overlaps ff00::/8 (multicast), which no host can have addresses of`,
		"base=::/0,size=64":             `base ::/0 overlaps ::/128 (unspecified), which no host can have addresses of`,
		"base=fe80::/64,size=64":        `base fe80::/64 is link-local (fe80::/10), which every link has addresses of`,
		"base=fe80::/10,size=64":        `base fe80::/10 clashes with the Link-Local prefix 'fe80::/64': want exactly that or nothing of it`,
		"base=224.0.0.0/8,size=24":      `base 224.0.0.0/8 overlaps 224.0.0.0/4 (multicast), which no host can have addresses of`,
		"base=10.0.0.0/16,size=8":       `size "8" is not a prefix length from 16, that of base, to 31`,
		"base=10.0.0.0/16,size=32":      `size "32" is not a prefix length from 16, that of base, to 31`,
		"base=10.0.0.0/16,size=big":     `size "big" is not a prefix length from 16, that of base, to 31`,
		"base=10.0.0.0/16,size=":        `size: empty`,
		"base=10.0.0.0/8,base=11.0.0/8": `base is there twice`,
		"size=24,size=24":               `size is there twice`,
	} {
		_, err := ParseAddressPools([]string{"base=10.0.0.0/8,size=24", value})
		if want = `address pool "` + value + `": ` + want; err == nil || err.Error() != want || !errors.Is(err, model.ErrInvalid) {
			t.Errorf("have %v, want %s", err, want)
		}
	}
}
