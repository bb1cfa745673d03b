package ipam

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/store"
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

// poolsOf returns where subnets of a family are chosen from: the pools of that family
// which the operator gave, or else its default.
func (d *Driver) poolsOf(tx *store.Tx, v6 bool) ([]AddressPool, error) {
	var given []AddressPool
	for _, p := range d.pools {
		if p.Base.Addr().Is6() == v6 {
			given = append(given, p)
		}
	}
	switch {
	case len(given) > 0:
		return given, nil
	case !v6:
		return DefaultAddressPools(), nil
	}
	id, err := tx.GlobalID()
	return []AddressPool{uniqueLocal(id)}, err
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
			return nil, wrap(err, "address pool", strconv.Quote(value))
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
		case name == "size" && size == "":
			if size = text; size == "" {
				return p, invalid("size: empty")
			}
		case name == "base" || name == "size":
			return p, invalid("%s is there twice", name)
		default:
			return p, invalid("field %q is unknown: want base=SUBNET,size=BITS", field)
		}
	}
	switch {
	case !p.Base.IsValid():
		return p, invalid("base is missing: want base=SUBNET,size=BITS")
	case size == "":
		return p, invalid("size is missing: want base=SUBNET,size=BITS")
	}
	if own := netip.MustParsePrefix(linkLocal); p.Base.Overlaps(own) {
		return p, invalid("base %s: clash with the Link-Local prefix '%s'", p.Base, own)
	}
	longest := p.Base.Addr().BitLen() - 1 // two addresses: a gateway and a container
	if p.Size, err = strconv.Atoi(size); err != nil || p.Size < p.Base.Bits() || p.Size > longest {
		return p, invalid("size %q is not a prefix length from %d, that of base, to %d", size, p.Base.Bits(), longest)
	}
	return p, nil
}
