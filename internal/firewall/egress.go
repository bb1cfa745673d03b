package firewall

import (
	"fmt"
	"net/netip"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/model"
)

// Egress keeps containers on Bridge from beginning connections to others than a list allows, be
// they forwarded or sent to the host itself. What is allowed is told by the destination that the
// container has chosen, before it is translated. Not checked are what passes from the bridge back
// into it, replies, and in IPv6 the search for neighbours (RFC 4861).
//
// What is sent to the host is checked as long as it goes on, and not only when it begins: the
// host's own packets would begin a flow of their own if that of the container were forgotten, of
// which the container's would be the replies.
type Egress struct {
	Bridge string
	Link   string         // as a Port's; of one without an Addr the Bridge
	Addr   netip.Addr     // the container's; zero: whatever has an address for which there is none
	To     egress.Allowed // all, and it has an Addr: the container is not limited. One that is only watched keeps nothing from anybody
	// Names says that the list has host names, too: DNS that To does not allow, to whatever
	// address, is led to Process.DNS, and TCP connections at the Carried ports to Process.TCP, each
	// at the bridge's own address. What stays in the bridge's own network is not led. A list that is
	// only watched has none, as it changes nothing for anybody.
	Names   bool
	Carried egress.Ports // empty without Names
}

// validEgress refuses what would not do what it says.
func validEgress(n Network, e Egress) error {
	switch f := model.FamilyOf(e.Addr); {
	case !n.Listed:
		return fmt.Errorf("%w: the network %s has none", model.ErrInvalid, n.ID)
	case e.Names && !n.Names:
		return fmt.Errorf("%w: the network %s has none with names", model.ErrInvalid, n.ID)
	case e.Names && e.To.All():
		return fmt.Errorf("%w: everything is allowed, and there are names", model.ErrInvalid)
	case e.Names && e.To.Audit():
		return fmt.Errorf("%w: it is only watched, and there are names", model.ErrInvalid)
	case !e.Names && e.Carried != "":
		return fmt.Errorf("ports %s: %w: there are no names", e.Carried, model.ErrInvalid)
	case e.Carried != egress.NewPorts(e.Carried.Ranges()):
		return fmt.Errorf("ports %q: %w", string(e.Carried), model.ErrInvalid)
	case !e.Addr.IsValid() && e.To.All():
		return fmt.Errorf("%w: everything is allowed", model.ErrInvalid)
	case !e.Addr.IsValid():
		return nil
	case !f.Has(e.Addr):
		return fmt.Errorf("%w address", model.ErrInvalid)
	case !n.Family(f).Prefix.IsValid() || !n.Family(f).Prefix.Contains(e.Addr):
		return fmt.Errorf("%w: the network's subnet is %s", model.ErrInvalid, subnet(n.Family(f).Prefix))
	}
	return nil
}

// what names an egress list for messages.
func (e Egress) what() string {
	if e.Addr.IsValid() {
		return e.Addr.String()
	}
	return e.Bridge
}
