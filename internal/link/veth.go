package link

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// veth makes one pair what v says; had is what it was known to be, or zero.
func (p *pass) veth(v, had Veth) error {
	if err := p.matchVeth(v, had); err != nil {
		return fmt.Errorf("veth %s: %w", v.Host, err)
	}
	return nil
}

// matchVeth mends a pair that is there, and makes one that is not: where nothing is
// known of it, without asking first, in two messages.
func (p *pass) matchVeth(v, had Veth) error {
	bridge, err := p.port(v.Bridge)
	if err != nil {
		return err
	}
	l, known := p.links[v.Host]
	if !known && had.Host == "" && !v.Joined {
		if err := p.newVeth(v, bridge); !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	if !known {
		l, err = getLink(v.Host, 0)
	}
	switch {
	case err == nil:
		return p.mendVeth(l, v, bridge)
	case !errors.Is(err, model.ErrNotFound):
		return err
	case v.Joined:
		return nil // Docker has lost it with the container
	}
	if err := p.newVeth(v, bridge); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return fmt.Errorf("the name of its peer, %s, is taken: %w", v.Peer, model.ErrConflict)
}

// newVeth makes a pair and tells who may know its address by another MAC. What fails
// half-way is found again by its peer's MAC.
func (p *pass) newVeth(v Veth, bridge int) error {
	err := makeVeth(v, bridge)
	if errors.Is(err, unix.EXFULL) {
		return fmt.Errorf("bridge %s has all the ports that the kernel allows (1023): %w", v.Bridge, err)
	}
	if err != nil {
		return fmt.Errorf("make it: %w", err)
	}
	if err := setPort(v); err != nil {
		return fmt.Errorf("set alias and bridge port flags: %w", err)
	}
	if err := announce(v, bridge); err != nil && p.warn != nil { // neighbours find out by themselves, later
		p.warn("veth %s: announce its addresses at %s: %v", v.Host, v.MAC, err)
	}
	return nil
}

// mendVeth makes a pair that was found match. One of another endpoint, which is gone,
// is replaced.
func (p *pass) mendVeth(l found, v Veth, bridge int) error {
	peer, err := peerOf(l)
	if err != nil {
		return err
	}
	switch {
	case v.made(l, peer):
	case l.ours():
		if err := deleteLink(l.index); err != nil {
			return fmt.Errorf("delete that of %s: %w", strings.TrimPrefix(l.alias, model.AliasPrefix), err)
		}
		if v.Joined {
			return nil // its own is gone, and is not made again
		}
		return p.newVeth(v, bridge)
	default:
		return l.foreign()
	}
	if peer.index != 0 && !v.Joined {
		if err := mendPeer(peer, v); err != nil {
			return err
		}
	}
	set := change{up: !l.up}
	if mac := v.hostMAC(); l.mac != mac {
		set.mac = mac
	}
	if l.master != bridge {
		set.master = bridge
	}
	if v.mtu() != l.mtu {
		set.mtu = v.mtu()
	}
	if err := setLink(l.index, set); err != nil {
		return fmt.Errorf("set bridge %s, MAC %s, MTU %d, up: %w", v.Bridge, v.hostMAC(), v.mtu(), err)
	}
	if set.master != 0 {
		l.hairpin, l.isolated = false, false // a new port has the kernel's defaults
	}
	if l.alias != v.Alias || l.hairpin != v.Hairpin || l.isolated != v.Isolated {
		if err := setPort(v); err != nil {
			return fmt.Errorf("set alias and bridge port flags: %w", err)
		}
	}
	return nil
}

// made reports whether mybr made the pair that was found for this endpoint: one with
// its alias, or one without any and with this peer, where mybr was interrupted.
func (v Veth) made(l, peer found) bool {
	halfMade := l.kind == kindVeth && l.alias == "" && peer.name == v.Peer && peer.mac == v.MAC && !v.MAC.IsZero()
	return l.ours() && l.alias == v.Alias || halfMade
}

// hostMAC returns the MAC of the host end: the peer's with a first byte of fe (fa where
// the peer's is fe: the two must differ), which is higher than that of common hardware.
// A bridge of somebody else takes the lowest MAC of its ports unless it was given one,
// and must not lose its own to a container.
func (v Veth) hostMAC() model.MAC {
	m := v.MAC
	switch {
	case m.IsZero():
	case m[0] == 0xfe:
		m[0] = 0xfa
	default:
		m[0] = 0xfe
	}
	return m
}

// mtu returns the MTU in bytes that both ends have.
func (v Veth) mtu() int {
	if v.MTU == 0 {
		return defaultMTU
	}
	return v.MTU
}

// peerOf reads the other end of a pair; zero if it is in another namespace.
func peerOf(l found) (found, error) {
	if l.peer == 0 {
		return found{}, nil
	}
	peer, err := getLink(l.name+"'s peer", l.peer)
	if errors.Is(err, model.ErrNotFound) {
		return found{}, nil // Docker has just taken it
	}
	return peer, err
}

// mendPeer makes the container's end match while it is here.
func mendPeer(peer found, v Veth) error {
	var set change
	if peer.mac != v.MAC {
		set.mac = v.MAC
	}
	if peer.mtu != v.mtu() {
		set.mtu = v.mtu()
	}
	if peer.name != v.Peer {
		set.name = v.Peer
	}
	if err := setLink(peer.index, set); err != nil {
		return fmt.Errorf("set name %s, MAC %s, MTU %d of its peer: %w", v.Peer, v.MAC, v.mtu(), err)
	}
	return nil
}

// dropVeth deletes a pair that mybr made.
func (p *pass) dropVeth(had Veth) error {
	l, ok, err := p.find(had.Host)
	if err != nil || !ok {
		return err
	}
	peer, err := peerOf(l)
	if err == nil && (l.ours() || had.made(l, peer)) {
		err = deleteLink(l.index)
	}
	if err != nil {
		return fmt.Errorf("veth %s: delete: %w", had.Host, err)
	}
	return nil
}
