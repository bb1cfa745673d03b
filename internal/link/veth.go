package link

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// maxPorts is how many ports a bridge can have: BR_MAX_PORTS in the kernel's
// net/bridge/br_private.h is 1 << 10, and number 0 is no port's (find_portno in br_if.c).
const maxPorts = 1<<10 - 1

// veth plans what makes one pair what v says; had is what it was known to be, or zero.
func (p *planner) veth(v, had Veth) {
	w := work{subject: v.Host}
	err := p.matchVeth(&w, v, had)
	p.add("veth", w, err, v.Bridge)
}

// matchVeth mends a pair that is there, and makes one that is not: where nothing is
// known of it, without asking first, in two messages.
func (p *planner) matchVeth(w *work, v, had Veth) error {
	switch _, wanted := p.bridges[v.Bridge]; {
	case p.broken[v.Bridge] == nil:
	case wanted:
		return fmt.Errorf("bridge %s could not be made to match: %w", v.Bridge, p.broken[v.Bridge])
	default:
		return fmt.Errorf("bridge %s: %w", v.Bridge, p.broken[v.Bridge])
	}
	if p.links == nil && had.Host == "" && !v.Joined && !p.late[v.Host] {
		return p.newVeth(w, v)
	}
	l, there, err := p.find(v.Host)
	if other, renamed := p.renamed[v.Host]; renamed {
		l, there = p.rename(w, other), true
	}
	switch {
	case err != nil:
		return err
	case there:
		return p.mendVeth(w, l, v)
	case v.Joined:
		if p.links != nil {
			p.lost(v)
		}
		return nil // Docker has lost it with the container
	}
	return p.newVeth(w, v)
}

// lost warns, once, of a container whose pair is gone. Its end of it was Docker's, which
// makes no other one while the container runs.
func (a *Applier) lost(v Veth) {
	if a.Warn == nil || !a.tolerate("lost/"+v.Host) {
		return
	}
	var addresses []string
	for _, addr := range []netip.Addr{v.V4, v.V6} {
		if addr.IsValid() {
			addresses = append(addresses, addr.String())
		}
	}
	a.Warn("link %s is gone, and with it the interface of the container that has endpoint %s (%s) in bridge %s; "+
		"have Docker make another one: `docker network disconnect -f NETWORK CONTAINER` and `docker network connect NETWORK CONTAINER`, or restart the container",
		v.Host, strings.TrimPrefix(model.AliasOwner(v.Alias), model.AliasEndpoint), strings.Join(addresses, ", "), v.Bridge)
}

// newVeth plans to make a pair. What fails half-way is found again by its peer's MAC.
func (p *planner) newVeth(w *work, v Veth) error {
	w.renews = true
	wasThere := false
	w.do(func() error {
		err := p.makeVeth(v, p.indexes[v.Bridge])
		switch {
		case errors.Is(err, unix.EEXIST):
			wasThere = true
			return p.mendNow(v)
		case errors.Is(err, unix.EXFULL):
			return fmt.Errorf("bridge %s is full: it has the %d ports that the kernel allows a bridge; connect the container to a second network: %w", v.Bridge, maxPorts, err)
		case err != nil:
			return fmt.Errorf("make it: %w", err)
		}
		return p.setAliasAndFlags(v)
	}, "make pair in bridge "+v.Bridge)
	if err := p.settings(w, found{name: v.Host}, v.settings()); err != nil {
		return err
	}
	if v.Announce {
		w.do(func() error {
			if !wasThere {
				p.announce(v)
			}
			return nil
		})
	}
	return nil
}

// mendNow is for a pair that turns out to be there when it is made.
func (p *planner) mendNow(v Veth) error {
	l, err := p.getLink(v.Host, 0)
	if errors.Is(err, model.ErrNotFound) {
		return fmt.Errorf("the name of its peer, %s, is taken: %w", v.Peer, model.ErrConflict)
	}
	w := work{subject: v.Host}
	if err == nil {
		err = p.mendVeth(&w, l, v)
	}
	if err != nil {
		return err
	}
	return w.run()
}

// setAliasAndFlags gives the host end its alias and bridge port flags.
func (p *planner) setAliasAndFlags(v Veth) error {
	if err := p.setPort(v); err != nil {
		return fmt.Errorf("set alias and bridge port flags: %w", err)
	}
	return nil
}

// mendVeth plans what makes a pair match that was found. One of another endpoint, which
// is gone, is replaced.
func (p *planner) mendVeth(w *work, l found, v Veth) error {
	peer, err := p.peerOf(l)
	if err != nil {
		return err
	}
	switch {
	case v.made(l, peer):
	case l.ours():
		other := strings.TrimPrefix(model.AliasOwner(l.alias), model.AliasPrefix)
		w.do(func() error {
			if err := p.deleteLink(l.index); err != nil {
				return fmt.Errorf("delete that of %s: %w", other, err)
			}
			return nil
		}, "delete that of "+other)
		if v.Joined {
			return nil // its own is gone, and is not made again
		}
		return p.newVeth(w, v)
	default:
		return l.foreign()
	}
	if peer.index != 0 && !v.Joined {
		p.mendPeer(w, peer, v)
	}
	p.mendPort(w, l, v)
	return p.settings(w, l, v.settings())
}

// mendPort plans what makes the host end match.
func (p *planner) mendPort(w *work, l found, v Veth) {
	set := change{up: !l.up}
	if mac := v.hostMAC(); l.mac != mac {
		set.mac = mac
	}
	if v.mtu() != l.mtu {
		set.mtu = v.mtu()
	}
	words := set.words(l)
	moved := p.renewed[v.Bridge] || l.master != p.indexes[v.Bridge]
	if moved {
		words = append([]string{"put into bridge " + v.Bridge}, words...)
		l.hairpin, l.isolated = false, false // a new port has the kernel's defaults
	}
	if len(words) > 0 {
		w.do(func() error {
			if moved {
				set.master = p.indexes[v.Bridge]
			}
			if err := p.setLink(l.index, set); err != nil {
				return fmt.Errorf("set bridge %s, MAC %s, MTU %d, up: %w", v.Bridge, v.hostMAC(), v.mtu(), err)
			}
			return nil
		}, words...)
	}
	words = nil
	if l.alias != v.Alias {
		words = append(words, fmt.Sprintf("alias %q -> %q", l.alias, v.Alias))
	}
	if l.hairpin != v.Hairpin {
		words = append(words, fmt.Sprintf("bridge port flag hairpin: %t -> %t", l.hairpin, v.Hairpin))
	}
	if l.isolated != v.Isolated {
		words = append(words, fmt.Sprintf("bridge port flag isolated: %t -> %t", l.isolated, v.Isolated))
	}
	if len(words) > 0 {
		w.do(func() error { return p.setAliasAndFlags(v) }, words...)
	}
	if moved || set.up {
		p.reattached(w, v, l.index)
	}
}

// made reports whether mybr made the pair that was found for this endpoint: one with
// its alias, or one without any and with this peer, where mybr was interrupted.
func (v Veth) made(l, peer found) bool {
	halfMade := l.kind == kindVeth && l.alias == "" && peer.name == v.Peer && peer.mac == v.MAC && !v.MAC.IsZero()
	return l.ours() && model.AliasOwner(l.alias) == model.AliasOwner(v.Alias) || halfMade
}

// hostMAC returns the MAC of the host end: the peer's with a first byte of fe (fa where
// the peer's is fe: the two must differ), which is higher than that of common hardware.
// A bridge that is not owned takes the lowest MAC of its ports unless it was given one,
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
func (p *planner) peerOf(l found) (found, error) {
	if l.peer == 0 {
		return found{}, nil
	}
	if peer, read := p.byIndex[l.peer]; read {
		return peer, nil
	}
	peer, err := p.getLink(l.name+"'s peer", l.peer)
	if errors.Is(err, model.ErrNotFound) {
		return found{}, nil // Docker has just taken it
	}
	return peer, err
}

// mendPeer plans what makes the container's end match while it is here.
func (p *planner) mendPeer(w *work, peer found, v Veth) {
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
	if set.empty() {
		return
	}
	words := set.words(peer)
	for i := range words {
		words[i] = "peer's " + words[i]
	}
	w.do(func() error {
		err := p.setLink(peer.index, set)
		if err != nil && !errors.Is(err, unix.ENODEV) { // Docker has just taken it
			return fmt.Errorf("set name %s, MAC %s, MTU %d of its peer: %w", v.Peer, v.MAC, v.mtu(), err)
		}
		return nil
	}, words...)
}

// dropVeth plans to delete a pair that mybr made.
func (p *planner) dropVeth(had Veth) {
	p.dropTolerated(had.settings())
	p.forget("lost/" + had.Host)
	w := work{subject: had.Host}
	l, there, err := p.find(had.Host)
	var peer found
	if err == nil && there && !l.ours() {
		peer, err = p.peerOf(l)
	}
	if err == nil && there && (l.ours() || had.made(l, peer)) {
		p.retire(&w, l, nil, "delete pair")
	}
	p.add("veth", w, err)
}
