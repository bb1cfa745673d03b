package explain

import (
	"net/netip"

	"github.com/mybr/mybr/internal/view"
)

// RelaysOf are the ports that mybr's process holds: what NAT doesn't take away before arrives
// there, and is carried on. It takes nothing from containers of internal networks.
func RelaysOf(v view.View) (all []Relay) {
	var blocked []string
	for _, n := range v.Networks {
		if n.Internal {
			blocked = append(blocked, n.Bridge)
		}
	}
	for _, p := range v.Ports {
		if !p.Host.IsValid() {
			continue
		}
		for i := range p.Count {
			at := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), a.Port()+i) }
			all = append(all, Relay{Proto: p.Proto, Listen: at(p.Host), To: at(p.Container), Process: "mybr", Blocked: blocked})
		}
	}
	return all
}
