package driver

import (
	"sync"

	"github.com/mybr/mybr/internal/model"
)

// overlaps is what WarnOverlaps has warned of.
type overlaps struct {
	mu   sync.Mutex
	told map[overlap]bool
}

// overlap is a route of another link that overlaps a subnet of a network.
type overlap struct {
	network string // ID
	route   model.HostRoute
}

// WarnOverlaps warns, once each, of the routes that have come to overlap the subnet of a
// network that was there first: those of a VPN, as a rule. Nothing is changed: the network
// can't be given another subnet, and which of the two is wanted is the administrator's to
// say. New networks avoid the route. It is to be called now and then.
func (d *Driver) WarnOverlaps() error {
	var networks []model.Network
	err := d.store.View(func(tx Tx) error { networks = tx.Networks(); return nil })
	if err != nil || len(networks) == 0 {
		return err
	}
	routes, err := d.routes()
	if err != nil {
		return err
	}
	d.overlaps.mu.Lock()
	defer d.overlaps.mu.Unlock()
	now := map[overlap]bool{}
	for _, n := range networks {
		for _, f := range model.Families() {
			for _, r := range routes {
				subnet := n.Subnet(f).Prefix
				if r.Link == n.Bridge || !subnet.IsValid() || model.VeryWide(r.Prefix) || r.Prefix.Addr().IsLinkLocalUnicast() || !subnet.Overlaps(r.Prefix) {
					continue
				}
				o := overlap{n.ID, r}
				if now[o] = true; !d.overlaps.told[o] {
					d.warn("network %s (bridge %s) has the subnet %s, which a route to %s by %s has come to overlap: %s; make the network again with another subnet (docker network create --subnet), or change the route",
						short(n.ID), n.Bridge, subnet, r.Prefix, r.Link, o.effect(subnet.Bits()))
				}
			}
		}
	}
	d.overlaps.told = now
	return nil
}

// effect says what comes of an overlap: the longer prefix wins, and of equal ones that with
// the lower metric, which a bridge's is.
func (o overlap) effect(bits int) string {
	if o.route.Prefix.Bits() > bits {
		return "the host does not reach containers with addresses in " + o.route.Prefix.String()
	}
	return "the host and its containers do not reach hosts behind " + o.route.Link + " with addresses in the subnet"
}
