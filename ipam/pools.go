package ipam

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// AddressPool is a range of addresses that is cut into subnets of equal size.
type AddressPool struct {
	Base netip.Prefix // masked
	Size int          // prefix length of the subnets, from Base.Bits() to 31 or, of IPv6, 127
}

// DefaultAddressPools returns the IPv4 subnets that Docker chooses from by default:
// 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in subnets of /20
// (https://docs.docker.com/engine/network/, "Automatic subnet allocation").
func DefaultAddressPools() []AddressPool {
	var pools []AddressPool
	for second := byte(17); second <= 31; second++ {
		pools = append(pools, AddressPool{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, second}), 16), 16})
	}
	return append(pools, AddressPool{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168}), 16), 20})
}

// uniqueLocal returns the IPv6 subnets that are chosen from by default: the 65,536 of
// /64 behind a global ID (RFC 4193, 3.1), 40 bits that no two hosts are likely to share.
func uniqueLocal(globalID [5]byte) AddressPool {
	a := [16]byte{0xfd}
	copy(a[1:], globalID[:])
	return AddressPool{netip.PrefixFrom(netip.AddrFrom16(a), 48), 64}
}

// poolsOf returns where a subnet is chosen from: the pools of the family which the operator
// gave, or else its default. If a size is asked for, they are cut into subnets of that size,
// and those that have no room for one are left out.
func (d *Driver) poolsOf(tx Tx, want wantedPool) ([]AddressPool, error) {
	var pools []AddressPool
	for _, p := range d.pools {
		if model.FamilyOf(p.Base.Addr()) == want.family {
			pools = append(pools, p)
		}
	}
	if len(pools) == 0 && want.family == model.IPv4 {
		pools = DefaultAddressPools()
	} else if len(pools) == 0 {
		id, err := tx.GlobalID()
		if err != nil {
			return nil, err
		}
		pools = []AddressPool{uniqueLocal(id)}
	}
	if want.size == 0 {
		return pools, nil
	}
	var wide []AddressPool
	for _, p := range pools {
		if p.Base.Bits() <= want.size {
			wide = append(wide, AddressPool{p.Base, want.size})
		}
	}
	if len(wide) == 0 {
		return nil, model.Invalid("no default %s subnet is as wide as /%d: give a subnet (--subnet), or mybr wider ones (--address-pool)", want.family, want.size)
	}
	return wide, nil
}

// ParseAddressPools reads the values of the flag --address-pool, each as
// `base=172.17.0.0/12,size=16` (dockerd's --default-address-pool has the same form);
// host bits of base are dropped. No value means DefaultAddressPools, and a family that
// no value is of keeps its default.
//
// Be aware: a value has a comma in it, so a flag type that splits at commas won't do.
func ParseAddressPools(values []string) ([]AddressPool, error) {
	if len(values) == 0 {
		return DefaultAddressPools(), nil
	}
	pools := make([]AddressPool, len(values))
	for i, value := range values {
		p, err := parseAddressPool(value)
		if err != nil {
			return nil, fmt.Errorf("address pool %q: %w", value, err)
		}
		pools[i] = p
	}
	return pools, nil
}

func parseAddressPool(value string) (p AddressPool, err error) {
	size := ""
	for _, field := range strings.Split(value, ",") {
		name, text, _ := strings.Cut(field, "=")
		switch {
		case name == "base" && !p.Base.IsValid():
			if p.Base, err = parsePrefix("base", text); err != nil {
				return p, err
			}
			if err = checkPrefix("base", text, p.Base); err != nil {
				return p, err
			}
		case name == "size" && size == "":
			if size = text; size == "" {
				return p, model.Invalid("size: empty")
			}
		case name == "base" || name == "size":
			return p, model.Invalid("%s is there twice", name)
		default:
			return p, model.Invalid("field %q is unknown: want base=SUBNET,size=BITS", field)
		}
	}
	switch {
	case !p.Base.IsValid():
		return p, model.Invalid("base is missing: want base=SUBNET,size=BITS")
	case size == "":
		return p, model.Invalid("size is missing: want base=SUBNET,size=BITS")
	}
	if p.Base.Addr().Is6() && p.Base.Addr().IsLinkLocalUnicast() {
		return p, model.Invalid("base %s is link-local (fe80::/10), which every link has addresses of", p.Base)
	}
	longest := p.Base.Addr().BitLen() - 1 // two addresses: a gateway and a container
	if p.Size, err = strconv.Atoi(size); err != nil || p.Size < p.Base.Bits() || p.Size > longest {
		return p, model.Invalid("size %q is not a prefix length from %d, that of base, to %d", size, p.Base.Bits(), longest)
	}
	return p, nil
}
