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
}

// validEgress refuses what would not do what it says.
func validEgress(n Network, e Egress) error {
	switch f := model.FamilyOf(e.Addr); {
	case !n.Listed:
		return fmt.Errorf("%w: the network %s has none", model.ErrInvalid, n.ID)
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
