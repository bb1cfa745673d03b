package model

import "net/netip"

// Link is one network interface of the host.
type Link struct {
	Name      string
	Kind      string // as ip-link(8) has it: "bridge", "veth", …; "" for hardware
	Alias     string
	MAC       MAC            // zero: none of 48 bits
	MTU       int            // in bytes
	Master    string         // the bridge that the link is a port of
	Isolated  bool           // as a port of a bridge: no frames to or from other isolated ports (bridge(8))
	Addresses []netip.Prefix // address and prefix length, of both families
	Up        bool           // as it was set, IFF_UP of netdevice(7)
	HadLink   bool           // its carrier has been up since it was made: of a veth pair, both ends were up
}

// HostRoute is a unicast route of the host that has a destination and leads to one link.
type HostRoute struct {
	Prefix netip.Prefix
	Link   string
}
