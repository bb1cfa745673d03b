package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/model"
)

// This file reads what Docker and the operator wrote; behind it there are values.

// Keys of options that Docker adds by itself, and the value that marks a gateway.
const (
	keyPrefix     = "com.docker.network."
	keyIPAMPrefix = "com.docker.network.ipam."
	keyMAC        = "com.docker.network.endpoint.macaddress"
	keyType       = "RequestAddressType"
	typeGateway   = "com.docker.network.gateway"
)

// wantedPool is a RequestPool that can be granted, if nothing is in the way.
type wantedPool struct {
	space  string
	family model.Family
	prefix netip.Prefix // zero: any of the family
	size   int          // where prefix is zero: the prefix length that it must have; 0: the default
	sub    netip.Prefix // zero: none
}

// id is the pool's ID: no two pools of a space overlap, so their subnets name them.
func (w wantedPool) id() string {
	id := w.space + "/" + w.prefix.String()
	if w.sub.IsValid() {
		id += "/" + w.sub.String()
	}
	return id
}

func parsePool(r *helper.RequestPoolRequest) (w wantedPool, err error) {
	if r.AddressSpace != SpaceLocal && r.AddressSpace != SpaceGlobal {
		return w, model.Invalid("address space %q is unknown: want %s or %s", shorten(r.AddressSpace), SpaceLocal, SpaceGlobal)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Options)) {
		if !strings.HasPrefix(key, keyIPAMPrefix) {
			return w, model.Invalid("option %q (--ipam-opt) is unknown", shorten(key))
		}
	}
	w.space = r.AddressSpace
	if r.V6 {
		w.family = model.IPv6
	}
	if r.Pool == "" && r.SubPool != "" {
		return w, model.Invalid("sub-pool %s (--ip-range) needs a subnet (--subnet)", quoted(r.SubPool))
	} else if r.Pool == "" {
		return w, nil
	}
	if w.prefix, err = parsePrefix("subnet", r.Pool); err != nil {
		return w, err
	}
	sized := w.prefix.Addr().IsUnspecified() && w.prefix.Bits() > 0
	if !sized {
		if err := checkPrefix("subnet", r.Pool, w.prefix); err != nil {
			return w, err
		}
	}
	if have := model.FamilyOf(w.prefix.Addr()); have != w.family {
		return w, model.Invalid("subnet %s is one of %s, and %s is asked for", r.Pool, have, w.family)
	}
	if sized {
		return parseSize(w, r)
	}
	if r.SubPool == "" {
		return w, nil
	}
	if w.sub, err = parsePrefix("sub-pool", r.SubPool); err != nil {
		return w, err
	}
	if w.sub.Bits() < w.prefix.Bits() || !w.prefix.Contains(w.sub.Addr()) {
		return w, model.Invalid("sub-pool %s (--ip-range) is not part of the subnet", r.SubPool)
	}
	if rangeOf(model.Pool{Prefix: w.prefix, Sub: w.sub}).empty() {
		return w, model.Invalid("sub-pool %s (--ip-range) has no address that a container can have", r.SubPool)
	}
	return w, nil
}

// parseSize reads a request for any subnet of a size: 0.0.0.0/24 or ::/80, whose
// addresses no host could have (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.2).
func parseSize(w wantedPool, r *helper.RequestPoolRequest) (wantedPool, error) {
	w.prefix, w.size = netip.Prefix{}, w.prefix.Bits()
	if r.SubPool != "" {
		return w, model.Invalid("sub-pool %s (--ip-range) needs a subnet (--subnet), and %s is any of that size", quoted(r.SubPool), r.Pool)
	}
	if longest := w.family.Unspecified().BitLen() - 1; w.size > longest {
		return w, model.Invalid("subnet %s is any of that size, which has no address for both a gateway and a container: want a prefix length of %d at most", r.Pool, longest)
	}
	return w, nil
}

// parsePrefix reads a subnet, and drops its host bits.
func parsePrefix(noun, s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, model.Invalid("%s %q is not in CIDR notation, like 172.18.0.0/16", noun, shorten(s))
	}
	return p.Masked(), nil
}

// checkPrefix refuses a subnet in which no host can have an address.
func checkPrefix(noun, s string, p netip.Prefix) error {
	if err := model.CheckSubnet(p); err != nil {
		return model.Invalid("%s %s %w", noun, s, err)
	}
	return nil
}

// wantedAddress is a RequestAddress that can be granted, if nothing is in the way.
type wantedAddress struct {
	kind     model.LeaseKind
	mac      model.MAC  // of an endpoint
	addr     netip.Addr // zero: any
	repeated bool       // Docker may be repeating what it asked for before it started
}

func parseAddress(r *helper.RequestAddressRequest) (w wantedAddress, err error) {
	if err := checkPoolID(r.PoolID); err != nil {
		return w, err
	}
	w.kind = model.LeaseAux
	if r.Address != "" {
		if w.addr, err = parseAddr(r.Address); err != nil {
			return w, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Options)) {
		value := r.Options[key]
		switch {
		case key == keyType && value == typeGateway:
			w.kind = model.LeaseGateway
		case key == keyType:
			return w, model.Invalid("option %s: %q is unknown: want %s", key, shorten(value), typeGateway)
		case key == keyMAC:
			if w.mac, err = model.ParseMAC(value); err != nil || w.mac.IsZero() {
				return w, model.Invalid("option %s: %q is not the MAC address of an endpoint", key, shorten(value))
			}
		case !strings.HasPrefix(key, keyPrefix):
			return w, model.Invalid("option %q is unknown", shorten(key))
		}
	}
	switch {
	case w.kind == model.LeaseGateway:
		w.mac = model.MAC{}
	case !w.mac.IsZero():
		w.kind = model.LeaseEndpoint
	}
	return w, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, model.Invalid("%q is not an address like 172.18.0.2", shorten(s))
	case a.Zone() != "":
		return a, model.Invalid("%q has a zone, which no address of a pool has", shorten(s))
	case a.Is4In6():
		return a, model.Invalid("%q is an IPv4-mapped address: want %s", s, a.Unmap())
	}
	return a, nil
}

// wrap puts what was being done, and to what, before an error, if there is one.
func wrap(err error, doing, what string) error {
	switch {
	case err == nil:
		return nil
	case what == "":
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s %s: %w", doing, quoted(what), err)
}

// longestValue is how many bytes of a value an error repeats. The IDs of pools are shorter.
const longestValue = 128

func shorten(s string) string { return model.Shorten(s, longestValue) }

// quoted is a shortened value, in quotes if it can't be printed as it is.
func quoted(s string) string { return model.Quoted(s, longestValue) }

// checkPoolID refuses an ID that no pool has.
func checkPoolID(id string) error {
	if quoted(id) != id {
		return model.Invalid("pool ID %q is none of mybr's", shorten(id))
	}
	return nil
}
