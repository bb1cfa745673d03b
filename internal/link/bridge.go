package link

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// bridge plans what makes one bridge what b says.
func (p *planner) bridge(b Bridge) {
	w := work{subject: b.Name}
	err := p.matchBridge(&w, b, p.hadBridges[b.Name])
	p.broken[b.Name] = err
	p.add("bridge", w, err)
}

func (p *planner) matchBridge(w *work, b, had Bridge) error {
	l, there, err := p.find(b.Name)
	if other, renamed := p.renamed[b.Name]; renamed {
		l, there = p.rename(w, other), true
	}
	switch {
	case err != nil:
		return err
	case there && !b.usable(l):
		return l.foreign()
	case !there && !b.Owned:
		return model.ErrNotFound
	case there:
		p.indexes[b.Name] = l.index
		return p.mendBridge(w, l, b, had)
	}
	w.renews, p.renewed[b.Name] = true, true
	w.do(func() error { return p.newBridge(b) }, "make bridge")
	l = found{name: b.Name, kind: kindBridge, mac: b.MAC, mtu: defaultMTU}
	return p.mendBridge(w, l, b, Bridge{})
}

// usable reports whether a link that was found can be the bridge: any bridge for one that
// is not owned, else one that mybr made.
func (b Bridge) usable(l found) bool {
	return l.kind == kindBridge && (!b.Owned || b.made(l))
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

// newBridge makes a bridge, down and without an alias. If there is a link of that name by
// now, that one is taken, or refused.
func (p *planner) newBridge(b Bridge) error {
	if err := p.makeBridge(b); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make it: %w", err)
	}
	l, err := p.getLink(b.Name, 0)
	if err != nil {
		return err
	}
	if !b.usable(l) {
		return l.foreign()
	}
	p.indexes[b.Name] = l.index
	return nil
}

// mendBridge plans what makes a bridge match that was found, or that the work makes
// (index 0). The alias of a new one comes first, so that it is known as mybr's; that of
// one taken over from another network comes last, when the other's addresses are gone.
// Settings come before the addresses (the kernel refuses IPv6 addresses where disable_ipv6
// is set) and before the bridge is up. An address that has changed goes before the next
// one comes: the next might be in the same subnet, and then go with it.
func (p *planner) mendBridge(w *work, l found, b, had Bridge) error {
	takenOver := b.Owned && l.alias != "" && model.AliasOwner(l.alias) != model.AliasOwner(b.Alias)
	var first change
	last := change{up: !l.up}
	if b.Owned {
		first = b.ownChanges(l, takenOver || had.MTU != 0)
	}
	if takenOver {
		last.alias = b.Alias
	}
	p.set(w, b.Name, l, first)
	if err := p.settings(w, l, b.settings()); err != nil {
		return err
	}
	if err := p.mendAddresses(w, l, b, had, takenOver); err != nil {
		return err
	}
	p.set(w, b.Name, l, last)
	return nil
}

// ownChanges is what differs at an owned bridge. An MTU that is not wanted leaves a bridge
// as it is, unless reset says that it has got another one from mybr.
func (b Bridge) ownChanges(l found, reset bool) (c change) {
	if owner := model.AliasOwner(l.alias); l.alias != b.Alias && (owner == "" || owner == model.AliasOwner(b.Alias)) {
		c.alias = b.Alias
	}
	if l.mac != b.MAC {
		c.mac = b.MAC
	}
	mtu := b.MTU
	if mtu == 0 && reset {
		mtu = defaultMTU
	}
	if l.mtu != mtu {
		c.mtu = mtu
	}
	return c
}

// set plans one message that alters a bridge.
func (p *planner) set(w *work, bridge string, l found, c change) {
	if c.empty() {
		return
	}
	words := c.words(l)
	w.do(func() error {
		if err := p.setLink(p.indexes[bridge], c); err != nil {
			return fmt.Errorf("set %v: %w", c.words(l), err)
		}
		return nil
	}, words...)
}

// mendAddresses plans which addresses leave a bridge, and which it gets. Of a bridge that
// is taken over, those of the other network leave too.
func (p *planner) mendAddresses(w *work, l found, b, had Bridge, takenOver bool) error {
	var there []address
	if l.index != 0 {
		var err error
		if there, err = p.addresses(l.index); err != nil {
			return err
		}
	}
	wanted := b.addresses()
	for _, a := range there {
		leaves := takenOver && !a.fromKernel() || slices.Contains(had.addresses(), a.Prefix)
		if leaves && !slices.Contains(wanted, a.Prefix) {
			w.do(func() error { return p.dropAddress(l.index, a.Prefix) }, "delete address "+a.String())
		}
	}
	for _, a := range wanted {
		if !slices.ContainsFunc(there, func(b address) bool { return b.Prefix == a && !b.fromKernel() }) {
			if l.index != 0 && a.Addr().IsLinkLocalUnicast() {
				// The kernel may be looking for duplicates of its own; one that only takes
				// its place would go on waiting for that.
				w.do(func() error { return p.dropAddress(l.index, a) })
			}
			w.do(func() error { return p.giveAddress(b, a) }, "add address "+a.String())
		}
	}
	return nil
}

func (p *planner) giveAddress(b Bridge, a netip.Prefix) error {
	err := p.addAddress(p.indexes[b.Name], a)
	switch {
	case err == nil:
		return nil
	case a.Addr().Is6() && b.MTU != 0 && b.MTU < minMTU6:
		return fmt.Errorf("add address %s: IPv6 needs an MTU of at least %d, have %d: %w", a, minMTU6, b.MTU, err)
	}
	return fmt.Errorf("add address %s: %w", a, err)
}

// dropAddress takes an address off a link. With the first address of an IPv4 subnet the
// kernel takes the others of that subnet too, unless promote_secondaries is set
// (ip-sysctl.rst); those belong to others, and are added again.
func (p *planner) dropAddress(index int, a netip.Prefix) error {
	before, err := p.dumpAddresses(index)
	if err != nil {
		return err
	}
	if err := p.deleteAddress(index, a); err != nil {
		return fmt.Errorf("delete address %s: %w", a, err)
	}
	if a.Addr().Is6() {
		return nil
	}
	for _, b := range before[index] {
		if b.Prefix != a && b.Masked() == a.Masked() {
			if err := p.addAddress(index, b.Prefix); err != nil { // one that has stayed is fine
				return fmt.Errorf("add address %s again: %w", b.Prefix, err)
			}
		}
	}
	return nil
}

// fromKernel reports whether it is a link-local address that the kernel has given the link:
// looked for elsewhere on the link first, unlike what is added here.
func (a address) fromKernel() bool {
	return a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() && a.flags&unix.IFA_F_NODAD == 0
}

// dropBridge plans to delete a bridge that mybr made, or to take its addresses off one
// that was there before. A link of that name that is not mybr's is left alone.
func (p *planner) dropBridge(had Bridge) {
	p.dropTolerated(had.settings())
	w := work{subject: had.Name}
	l, there, err := p.find(had.Name)
	switch {
	case err != nil || !there || !had.usable(l):
	case had.Owned:
		p.retire(&w, l, had.addresses(), "delete bridge")
	default:
		err = p.mendAddresses(&w, l, Bridge{}, had, false)
	}
	p.add("bridge", w, err)
}

// findBridge reads the bridge that a veth is to join, unless it is planned already. One
// that should be there and is not is planned.
func (p *planner) findBridge(v Veth) {
	if p.indexes[v.Bridge] != 0 || p.renewed[v.Bridge] || p.broken[v.Bridge] != nil {
		return
	}
	b, wanted := p.bridges[v.Bridge]
	l, there, err := p.find(v.Bridge)
	switch {
	case err == nil && there && b.usable(l):
		p.indexes[v.Bridge] = l.index
	case wanted:
		p.bridge(b)
	default:
		p.broken[v.Bridge] = cmp.Or(err, model.ErrNotFound)
	}
}
