// Package explain predicts what becomes of a packet: which namespaces, routes, bridges and
// firewall rules it meets, what is translated, who gets it, and how the reply comes back.
//
// It is a pure function of a World, which package host reads from the kernel: the rules
// that are evaluated are those that the kernel has, whoever made them, and not those that
// mybr would make.
//
// Be aware: it never guesses. A match that it doesn't know, or that depends on what a
// World doesn't say (rates, users, sets), makes the verdict "unknown" and names the rule,
// unless the packet fares the same whether or not it matches.
//
// Be aware: it follows the first packet of a new flow and the first reply: it can't be asked
// about a packet that pretends to belong to a flow (a lone ACK, RST or echo reply), of other
// protocols, or that a station sends to the MAC address of another one, past the routes; nor
// about ports that the kernel changes where two flows would be alike. Where two chains have the
// same priority the kernel has the one first that was made last; here iptables' come first.
//
// Be aware: what is below the network layer (chains of nf_tables at links, of bridges and of ARP,
// traffic control, XDP, IPsec, VLAN filtering) makes the verdict "unknown" wherever it may stop
// the packet; of chains no more is evaluated than the names of links, save mybr's own table of who
// may send what. It knows nothing of
// fragments, of eBPF elsewhere, of queueing that loses what is too much, of arptables-legacy, and
// of policies of ebtables-legacy without rules.
package explain

import "net/netip"

// World is what is known of a host and the namespaces that are joined to it.
type World struct {
	Spaces []*Space // the first is the host
	Relays []Relay
	Unread []string           // why other namespaces of the host could not be read
	Why    map[RuleKey]string // why mybr has a rule
}

// RuleKey finds a rule of one family. Of nf_tables' own Table has the family in front, Six is
// false, and of an element Chain is its set or map.
type RuleKey struct {
	Six                bool
	Table, Chain, Rule string
}

// Space is one network namespace.
type Space struct {
	Name     string
	Path     string // a file of it; "": it is where the question is asked
	Links    []Link
	Routes   []Route
	Policies []Policy // in the order of their priorities
	Filters  []Filter // one for each family and variant of iptables that has rules
	Natives  []*Native
	Untold   string // why rules could not be read; "": they could
	Sockets  []Socket
	Settings map[string]string // below /proc/sys/net, such as "ipv4/ip_forward"
	Peers    map[int]string    // which namespace a Link's PeerSpace is

	Neighbours     []Neighbour
	Low            []LowChain
	Lists          *Lists                    // what containers may begin to each other, as mybr's table has it; nil: everything
	Senders        map[string][]netip.Prefix // by port of a bridge: from where it may send, as mybr's table has it; what is not in it may send all
	Obstacles      []Obstacle
	Secured        []Selector
	OldBridgeRules bool // of ebtables-legacy, in this namespace or in another one
}

// Link is one link, with its addresses.
type Link struct {
	Index, Master     int
	Peer              int // the index of the other end of a veth pair, in its own namespace
	PeerSpace         int // the ID that this namespace has for that one; -1: it is this one
	Name, Kind, MAC   string
	Up, Running       bool
	Blocked           bool // a bridge's port that passes nothing on
	Hairpin, Isolated bool // of a bridge's port
	VLANs             bool // a bridge that filters VLANs
	MTU               int
	Addrs             []netip.Prefix
}

// Kinds of route.
const (
	Unicast     = "unicast"
	Local       = "local"
	Broadcast   = "broadcast"
	Multicast   = "multicast"
	Anycast     = "anycast"
	Unreachable = "unreachable"
	Prohibit    = "prohibit"
	Blackhole   = "blackhole"
	Throw       = "throw"
)

// Kinds of Policy that no Route has.
const (
	Goto = "goto"
	Nop  = "nop"
)

// Route is one route of any table.
type Route struct {
	Table    int
	Dst      netip.Prefix
	Kind     string
	Via      netip.Addr // zero: on link
	Link     int        // index; 0: none
	Src      netip.Addr // the preferred source; zero: none
	Priority int
	Dead     bool // its link is down
	Several  bool // it has several next hops, of which the kernel chooses

	by *Policy // that led to it, or says so itself
}

// Policy is one rule of ip-rule(8).
type Policy struct {
	Six       bool
	Priority  int
	Invert    bool
	Src, Dst  netip.Prefix // zero: any
	In, Out   string       // names of links; "": any
	Mark      uint32
	Mask      uint32 // 0: any mark
	Table     int
	Kind      string // "": looks into the table; Goto, Nop, or as a Route's
	Goto      int    // of a Goto: the priority that it goes on with
	Suppress  int    // routes with prefixes up to this length don't count; -1: all count
	Unhandled string // what else it asks for; "": nothing
}

// Socket is one that listens (TCP), or is bound and not connected (UDP).
type Socket struct {
	Proto   string
	Addr    netip.Addr // unspecified: any
	Port    uint16
	Link    int  // it is bound to; 0: none
	V6Only  bool // an IPv6 socket that takes no IPv4
	Process string
}

// Relay is a port that a process of the host takes and leads to a container.
type Relay struct {
	Proto   string
	Listen  netip.AddrPort
	To      netip.AddrPort
	Process string
	Blocked []string // links of the host whose packets it doesn't take
	// Via are the interfaces by which clients from outside come that it takes, with commas between; "":
	// all. From are the clients, likewise, and Clients their prefixes. Network is the bridge of the container's own network, which is not outside.
	Via     string
	From    string
	Clients []netip.Prefix
	Network string
	// Closed says that the process holds the port, and can carry nothing of it. Endpoint is the
	// container's.
	Closed   bool
	Endpoint string
}

// link finds a link by its index.
func (s *Space) link(index int) *Link {
	for i := range s.Links {
		if s.Links[i].Index == index {
			return &s.Links[i]
		}
	}
	return nil
}

// named finds a link by its name.
func (s *Space) named(name string) *Link {
	for i := range s.Links {
		if s.Links[i].Name == name {
			return &s.Links[i]
		}
	}
	return nil
}

// owner finds the link that has an address.
func (s *Space) owner(a netip.Addr) *Link {
	for i := range s.Links {
		for _, p := range s.Links[i].Addrs {
			if p.Addr() == a.WithZone("") {
				return &s.Links[i]
			}
		}
	}
	return nil
}

func (l *Link) has(a netip.Addr) bool {
	for _, p := range l.Addrs {
		if p.Addr() == a.WithZone("") {
			return true
		}
	}
	return false
}

// peer finds the other end of a veth pair: it names this end as this one names it.
func (w *World) peer(s *Space, l *Link) (*Space, *Link) {
	if l.Kind != "veth" || l.Peer == 0 {
		return nil, nil
	}
	if other := w.space(s.Peers[l.PeerSpace]); other != nil {
		if p := other.link(l.Peer); p != nil && p.Kind == "veth" && p.Peer == l.Index {
			return other, p
		}
	}
	return nil, nil
}

// space finds a namespace by its name.
func (w *World) space(name string) *Space {
	for _, s := range w.Spaces {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// on reports whether a setting is not 0. One that isn't there is 0.
func (s *Space) on(setting string) bool {
	return s.Settings[setting] != "" && s.Settings[setting] != "0"
}

// conf is a setting of a link, or of all of them if that is larger: ip-sysctl.rst has it so
// for rp_filter, and for others "or".
func (s *Space) conf(family, link, setting string) string {
	return max(s.Settings[family+"/conf/all/"+setting], s.Settings[family+"/conf/"+link+"/"+setting])
}
