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

// unusable are the IPv4 addresses that no host has: "this network", loopback,
// multicast (RFC 6890) and the limited broadcast (RFC 919).
var unusable = [...]netip.Prefix{
	netip.PrefixFrom(netip.AddrFrom4([4]byte{0}), 8),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 32),
}

// poolWish is a RequestPool that can be granted, if nothing is in the way.
type poolWish struct {
	space  string
	prefix netip.Prefix // zero: any
	sub    netip.Prefix // zero: none
}

// id is the pool's ID: no two pools of a space overlap, so their subnets name them.
func (w poolWish) id() string {
	id := w.space + "/" + w.prefix.String()
	if w.sub.IsValid() {
		id += "/" + w.sub.String()
	}
	return id
}

func parsePool(r *helper.RequestPoolRequest) (w poolWish, err error) {
	if r.AddressSpace != SpaceLocal && r.AddressSpace != SpaceGlobal {
		return w, invalid("address space %q is unknown: want %s or %s", r.AddressSpace, SpaceLocal, SpaceGlobal)
	}
	if r.V6 {
		return w, invalid("IPv6 is not supported yet")
	}
	for _, key := range slices.Sorted(maps.Keys(r.Options)) {
		if !strings.HasPrefix(key, keyIPAMPrefix) {
			return w, invalid("option %q (--ipam-opt) is unknown", key)
		}
	}
	w.space = r.AddressSpace
	if r.Pool == "" {
		if r.SubPool != "" {
			return w, invalid("sub-pool %s (--ip-range) needs a subnet (--subnet)", r.SubPool)
		}
		return w, nil
	}
	if w.prefix, err = parsePrefix("subnet", r.Pool); err != nil || r.SubPool == "" {
		return w, err
	}
	if w.sub, err = parsePrefix("sub-pool", r.SubPool); err != nil {
		return w, err
	}
	if w.sub.Bits() < w.prefix.Bits() || !w.prefix.Contains(w.sub.Addr()) {
		return w, invalid("sub-pool %s (--ip-range) is not part of the subnet", r.SubPool)
	}
	if rangeOf(model.Pool{Prefix: w.prefix, Sub: w.sub}).size() == 0 {
		return w, invalid("sub-pool %s (--ip-range) has no address that a container can have", r.SubPool)
	}
	return w, nil
}

// parsePrefix reads an IPv4 subnet, and drops its host bits.
func parsePrefix(noun, s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, invalid("%s %q is not in CIDR notation, like 172.18.0.0/16", noun, s)
	case !p.Addr().Is4():
		return netip.Prefix{}, invalid("%s %s: IPv6 is not supported yet", noun, s)
	}
	p = p.Masked()
	for _, u := range unusable {
		if u.Overlaps(p) {
			return netip.Prefix{}, invalid("%s %s overlaps %s, which no host can have addresses of", noun, s, u)
		}
	}
	return p, nil
}

// addrWish is a RequestAddress that can be granted, if nothing is in the way.
type addrWish struct {
	kind     model.LeaseKind
	mac      model.MAC  // of an endpoint
	addr     netip.Addr // zero: any
	repeated bool       // Docker may be repeating what it asked for before it started
}

func parseAddress(r *helper.RequestAddressRequest) (w addrWish, err error) {
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
			return w, invalid("option %s: %q is unknown: want %s", key, value, typeGateway)
		case key == keyMAC:
			if w.mac, err = model.ParseMAC(value); err != nil || w.mac.IsZero() {
				return w, invalid("option %s: %q is not the MAC address of an endpoint", key, value)
			}
		case !strings.HasPrefix(key, keyPrefix):
			return w, invalid("option %q is unknown", key)
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
		return a, invalid("%q is not an address like 172.18.0.2", s)
	case !a.Is4():
		return a, invalid("IPv6 is not supported yet")
	}
	return a, nil
}

// fault is an error of one of the model's kinds with a text of its own.
type fault struct {
	kind error
	text string
}

func (f *fault) Error() string { return f.text }

func (f *fault) Unwrap() error { return f.kind }

func invalid(format string, args ...any) error {
	return &fault{model.ErrInvalid, fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) error {
	return &fault{model.ErrConflict, fmt.Sprintf(format, args...)}
}

// wrap puts what was being done, and to what, before an error, if there is one.
func wrap(err error, doing, what string) error {
	switch {
	case err == nil:
		return nil
	case what == "":
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s %s: %w", doing, what, err)
}
