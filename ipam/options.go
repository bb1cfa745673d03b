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

// unusable are the addresses that no host has: "this network", loopback, multicast (RFC
// 6890) and the limited broadcast (RFC 919) of IPv4; of IPv6 the unspecified address,
// loopback, multicast (RFC 4291, 2.5 and 2.7), and what stands for an IPv4 address.
var unusable = [...]struct{ prefix, name string }{
	{"0.0.0.0/8", "this network"},
	{"127.0.0.0/8", "loopback"},
	{"224.0.0.0/4", "multicast"},
	{"255.255.255.255/32", "broadcast"},
	{"::/128", "unspecified"},
	{"::1/128", "loopback"},
	{"::ffff:0:0/96", "IPv4-mapped"},
	{"ff00::/8", "multicast"},
}

// linkLocal is the subnet that every link has of itself (RFC 4291, 2.5.6). A network may
// be given it, as with Docker's own driver, but no part of it and nothing wider.
const linkLocal = "fe80::/64"

// poolWish is a RequestPool that can be granted, if nothing is in the way.
type poolWish struct {
	space  string
	v6     bool
	prefix netip.Prefix // zero: any of the family
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
	for _, key := range slices.Sorted(maps.Keys(r.Options)) {
		if !strings.HasPrefix(key, keyIPAMPrefix) {
			return w, invalid("option %q (--ipam-opt) is unknown", key)
		}
	}
	w.space, w.v6 = r.AddressSpace, r.V6
	if r.Pool == "" {
		if r.SubPool != "" {
			return w, invalid("sub-pool %s (--ip-range) needs a subnet (--subnet)", r.SubPool)
		}
		return w, nil
	}
	if w.prefix, err = parsePrefix("subnet", r.Pool); err != nil {
		return w, err
	}
	if have := w.prefix.Addr(); have.Is6() != w.v6 {
		return w, invalid("subnet %s is one of %s, and %s is asked for", r.Pool, family(have.Is6()), family(w.v6))
	}
	if own := netip.MustParsePrefix(linkLocal); w.prefix != own && w.prefix.Overlaps(own) {
		return w, invalid("subnet %s: clash with the Link-Local prefix '%s': want exactly that or nothing of it", r.Pool, own)
	}
	if r.SubPool == "" {
		return w, nil
	}
	if w.sub, err = parsePrefix("sub-pool", r.SubPool); err != nil {
		return w, err
	}
	if w.sub.Bits() < w.prefix.Bits() || !w.prefix.Contains(w.sub.Addr()) {
		return w, invalid("sub-pool %s (--ip-range) is not part of the subnet", r.SubPool)
	}
	if rangeOf(model.Pool{Prefix: w.prefix, Sub: w.sub}).empty() {
		return w, invalid("sub-pool %s (--ip-range) has no address that a container can have", r.SubPool)
	}
	return w, nil
}

// family names the address family that Docker says is version 6 or isn't.
func family(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

// parsePrefix reads a subnet, and drops its host bits.
func parsePrefix(noun, s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, invalid("%s %q is not in CIDR notation, like 172.18.0.0/16", noun, s)
	}
	p = p.Masked()
	for _, u := range unusable {
		if netip.MustParsePrefix(u.prefix).Overlaps(p) {
			return netip.Prefix{}, invalid("%s %s overlaps %s (%s), which no host can have addresses of", noun, s, u.prefix, u.name)
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
	case a.Zone() != "":
		return a, invalid("%q has a zone, which no address of a pool has", s)
	case a.Is4In6():
		return a, invalid("%q is an IPv4-mapped address: want %s", s, a.Unmap())
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
