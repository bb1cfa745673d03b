// Package link makes bridges and veth pairs match what is wanted, and answers what
// the drivers ask about the host's links, addresses and routes.
//
// Links that mybr made carry an alias (ip-link(8)) that begins with model.AliasPrefix, so
// that they are found again without any record.
//
// Be aware: a link without that alias is never changed or deleted, save that a bridge
// that was there before is brought up and gets the address in Bridge.V4 and V6, which are
// taken off it again. An address left on such a bridge by a process that died can't be
// told from its owner's, and stays. An alias is given right after a link is made: in
// between, a MAC that only mybr's record has says whose the link is. The container's
// end of a veth pair belongs to Docker from Join on: it is not looked at here.
package link

import (
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// Set is every link that mybr wants on the host, sorted by name.
type Set struct {
	Bridges []Bridge
	Veths   []Veth
}

// Bridge is one bridge, up.
type Bridge struct {
	Name   string
	Owned  bool         // made and deleted here; otherwise it must be there
	Alias  string       // of an owned bridge
	MAC    model.MAC    // of an owned bridge
	MTU    int          // of an owned bridge; 0: the kernel's default
	V4, V6 netip.Prefix // addresses, added here and removed here; zero: none
}

// Veth is one veth pair, its host end up and a port of Bridge.
type Veth struct {
	Host, Peer string
	Bridge     string
	Alias      string     // of the host end
	MAC        model.MAC  // of the peer
	V4, V6     netip.Addr // of the container: who knows one by another MAC is told when the pair is made; zero: none
	MTU        int        // of both ends; 0: the kernel's default
	Hairpin    bool       // bridge port flag: frames may leave by the port they came in (own published port, with br_netfilter)
	Isolated   bool       // bridge port flag: no frames to or from other isolated ports
	Joined     bool       // Docker has the peer: a pair that is gone is not made again
}

// Error is one link that could not be made to match. Apply joins one for each.
type Error struct {
	Link string // the name of the bridge or of the veth's host end
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }
