package ipam

import (
	"net/netip"
	"strconv"
	"strings"
)

// AddressPool is a range of addresses that is cut into subnets of equal size.
type AddressPool struct {
	Base netip.Prefix // masked
	Size int          // prefix length of the subnets, from Base.Bits() to 31
}

// DefaultAddressPools returns the subnets that Docker chooses from by default:
// 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in subnets of /20
// (https://docs.docker.com/engine/network/, "Automatic subnet allocation").
func DefaultAddressPools() []AddressPool {
	var pools []AddressPool
	for second := byte(17); second <= 31; second++ {
		pools = append(pools, AddressPool{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, second}), 16), 16})
	}
	return append(pools, AddressPool{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168}), 16), 20})
}

// ParseAddressPools reads the values of the flag --address-pool, each as
// `base=172.17.0.0/12,size=16` (dockerd's --default-address-pool has the same form);
// host bits of base are dropped. No value means DefaultAddressPools.
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
	if p.Size, err = strconv.Atoi(size); err != nil || p.Size < p.Base.Bits() || p.Size > 31 {
		return p, invalid("size %q is not a prefix length from %d, that of base, to 31", size, p.Base.Bits())
	}
	return p, nil
}
