package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// bridge makes one bridge what b says; had is what it was known to be, or zero.
func (p *pass) bridge(b, had Bridge) error {
	index, err := p.matchBridge(b, had)
	if err != nil {
		p.broken[b.Name] = true
		return fmt.Errorf("bridge %s: %w", b.Name, err)
	}
	p.ready[b.Name] = index
	return nil
}

func (p *pass) matchBridge(b, had Bridge) (index int, err error) {
	l, ok, err := p.find(b.Name)
	if err != nil {
		return 0, err
	}
	if !b.Owned {
		switch {
		case !ok:
			return 0, model.ErrNotFound
		case l.kind != kindBridge:
			return 0, l.foreign()
		}
		return l.index, p.settleBridge(l, b, had, change{up: !l.up})
	}
	if !ok && had.Name != "" {
		// Its ports have lost it too, which only a look at all links finds.
		return 0, fmt.Errorf("was deleted by somebody else: %w", model.ErrNotFound)
	}
	if !ok {
		if l, err = p.newBridge(b); err != nil {
			return 0, err
		}
	}
	if !b.made(l) {
		return 0, l.foreign()
	}
	if !ok && !b.V6.IsValid() && p.prepare != nil { // else it comes with the address
		if err := p.prepare(p.ctx, b); err != nil {
			return 0, err
		}
	}
	return l.index, p.mendBridge(l, b, had)
}

// addresses lists the addresses that the bridge is to have. With IPv6 that includes the
// link-local address that the kernel gives it, which it would keep from being used for a
// second after the first port is up, looking for duplicates (RFC 4862, section 5.4).
// What the host forwards to a container waits for that long, since it asks for neighbours
// from that address.
func (b Bridge) addresses() (all []netip.Prefix) {
	for _, a := range []netip.Prefix{b.V4, b.V6} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	if b.Owned && b.V6.IsValid() && !b.MAC.IsZero() && b.V6 != linkLocal(b.MAC) {
		all = append(all, linkLocal(b.MAC))
	}
	return all
}

// linkLocal is the address that the kernel makes of a MAC, as modified EUI-64 (RFC 4291,
// appendix A).
func linkLocal(m model.MAC) netip.Prefix {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// made reports whether mybr made the bridge that was found: one with an alias of mybr's,
// be it another network's that is gone, or one without any but with the MAC that only
// this record has: there mybr was interrupted.
func (b Bridge) made(l found) bool {
	halfMade := l.kind == kindBridge && l.alias == "" && l.mac == b.MAC && !b.MAC.IsZero()
	return l.ours() && l.kind == kindBridge || halfMade
}

// newBridge makes a bridge, down and without an alias. Should somebody else have just
// made a link of that name, then that is what is found.
func (p *pass) newBridge(b Bridge) (found, error) {
	if err := makeBridge(b); err != nil && !errors.Is(err, unix.EEXIST) {
		return found{}, fmt.Errorf("make it: %w", err)
	}
	return getLink(b.Name, 0)
}

// mendBridge makes an owned bridge match. The alias of a new one comes first, so that it
// is known as mybr's; that of one taken over from another network comes last, when the
// other's addresses are gone.
func (p *pass) mendBridge(l found, b, had Bridge) error {
	takenOver := l.alias != "" && l.alias != b.Alias
	mtu := b.MTU
	if mtu == 0 && (takenOver || had.MTU != 0) {
		mtu = defaultMTU
	}
	var first, last change
	if l.alias == "" {
		first.alias = b.Alias
	} else if takenOver {
		last.alias = b.Alias
	}
	if l.mac != b.MAC {
		first.mac = b.MAC
	}
	if l.mtu != mtu {
		first.mtu = mtu
	}
	last.up = !l.up
	if err := setLink(l.index, first); err != nil {
		return fmt.Errorf("set alias %q, MAC %s, MTU %d: %w", first.alias, first.mac, first.mtu, err)
	}
	if takenOver {
		all, err := p.addresses(l.index)
		if err != nil {
			return err
		}
		for _, a := range slices.Clone(all) {
			if !slices.Contains(b.addresses(), a.Prefix) && !a.kernels() {
				if err := p.dropAddress(l.index, a.Prefix); err != nil {
					return err
				}
			}
		}
	}
	return p.settleBridge(l, b, had, last)
}

// settleBridge replaces the address and then makes the last change, which brings the
// bridge up. An address that has changed goes before the next one comes: the next
// might be in the same subnet, and then go with it.
func (p *pass) settleBridge(l found, b, had Bridge, last change) error {
	for _, a := range had.addresses() {
		if !slices.Contains(b.addresses(), a) {
			if err := p.dropAddress(l.index, a); err != nil {
				return err
			}
		}
	}
	if err := p.needAddresses(l.index, b); err != nil {
		return err
	}
	if err := setLink(l.index, last); err != nil {
		return fmt.Errorf("bring it up: %w", err)
	}
	return nil
}

func (p *pass) needAddresses(index int, b Bridge) error {
	prepared := p.prepare == nil
	for _, a := range b.addresses() {
		all, err := p.addresses(index)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(there address) bool { return there.Prefix == a && !there.kernels() }) {
			continue
		}
		if a.Addr().Is6() && !prepared {
			if err := p.prepare(p.ctx, b); err != nil {
				return err
			}
			prepared = true
		}
		err = addAddress(index, a)
		switch {
		case err == nil:
		case a.Addr().Is6() && b.MTU != 0 && b.MTU < minMTU6:
			return fmt.Errorf("add address %s: IPv6 needs an MTU of at least %d, have %d: %w", a, minMTU6, b.MTU, err)
		default:
			return fmt.Errorf("add address %s: %w", a, err)
		}
	}
	return nil
}

// kernels reports whether it is a link-local address that the kernel has given the link:
// looked for elsewhere on the link first, unlike what is added here.
func (a address) kernels() bool {
	return a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() && a.flags&unix.IFA_F_NODAD == 0
}

// dropBridge deletes a bridge that mybr made, or takes its address off one that was
// there before. A link of that name that is not mybr's is left alone.
func (p *pass) dropBridge(had Bridge) error {
	l, ok, err := p.find(had.Name)
	if err != nil || !ok {
		return err
	}
	switch {
	case had.Owned && had.made(l):
		err = deleteLink(l.index)
	case !had.Owned && l.kind == kindBridge:
		for _, a := range had.addresses() {
			err = errors.Join(err, p.dropAddress(l.index, a))
		}
	}
	if err != nil {
		return fmt.Errorf("bridge %s: delete: %w", had.Name, err)
	}
	return nil
}

// port returns the index of a bridge that a veth is to join.
func (p *pass) port(bridge string) (int, error) {
	if index, ok := p.ready[bridge]; ok {
		return index, nil
	}
	if p.broken[bridge] {
		return 0, fmt.Errorf("bridge %s could not be made to match", bridge)
	}
	l, ok, err := p.find(bridge)
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return 0, fmt.Errorf("bridge %s: %w", bridge, model.ErrNotFound)
	case l.kind != kindBridge:
		return 0, l.foreign()
	}
	p.ready[bridge] = l.index
	return l.index, nil
}
