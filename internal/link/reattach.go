package link

import "fmt"

// reattached plans what makes traffic flow at once through a pair that was cut off from its
// bridge. Who asked for a neighbour meanwhile asks again after a second only
// (retrans_time_ms in arp(7)): the host, which forgets all neighbours of a bridge that has
// no port left, the containers beside it, and the container itself, for its gateway.
// port is the number of the pair's host end.
func (p *planner) reattached(w *work, v Veth, port int) {
	if !v.Joined {
		return // nobody talks to it yet
	}
	w.do(func() error {
		if err := p.reintroduce(v, port); err != nil && p.Warn != nil { // they find each other by themselves, later
			p.Warn("veth %s: %v", v.Host, err)
		}
		return nil
	})
}

func (p *planner) reintroduce(v Veth, port int) error {
	on := p.indexes[v.Bridge]
	for _, a := range v.addresses() {
		if err := p.renewNeighbour(a, v.MAC, on); err != nil {
			return fmt.Errorf("renew the host's neighbour entry of %s: %w", a, err)
		}
	}
	if !v.Announce {
		return nil
	}
	if err := p.frames.send(announcements(v.MAC, false, v.addresses()...), on); err != nil {
		return fmt.Errorf("announce its addresses at %s: %w", v.MAC, err)
	}
	// Not by way of the bridge: if this is its first port with a carrier, it drops what it
	// sends until the kernel gets round to its queue (linkwatch).
	b := p.bridges[v.Bridge]
	if b.MAC.IsZero() { // that of a bridge that is not owned is not known
		return nil
	}
	if err := p.frames.send(announcements(b.MAC, true, b.V4.Addr(), b.V6.Addr()), port); err != nil {
		return fmt.Errorf("announce the addresses of bridge %s to it: %w", b.Name, err)
	}
	return nil
}
