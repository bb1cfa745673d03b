// Package view is what operators are shown: everything that mybr knows of its networks, as
// one document with plain fields. The commands, the page and the metrics are made from it.
//
// Its JSON form is an interface: fields are added without a word, and Version grows when
// one is removed or means something else.
//
// Be aware: names of containers and of networks are Docker's. mybr doesn't know them, and
// Names are put in by whoever can ask Docker.
package view

import (
	"fmt"
	"net/netip"
	"time"
)

// Version is that of the JSON form.
const Version = 1

// View is all of it, as it was at one moment.
type View struct {
	Version   int        `json:"version"`
	Taken     time.Time  `json:"taken"`
	Networks  []Network  `json:"networks"`          // sorted by ID
	Endpoints []Endpoint `json:"endpoints"`         // sorted by network, then ID
	Ports     []Port     `json:"ports"`             // sorted by host address, protocol and first host port
	Pools     []Pool     `json:"pools"`             // those of mybr's IPAM driver; sorted by space and prefix
	Lists     []List     `json:"lists"`             // of clients; sorted by name
	Unknown   string     `json:"unknown,omitempty"` // why some of it could not be read
}

// Network is one bridge network.
type Network struct {
	ID          string     `json:"id"`             // Docker's
	Name        string     `json:"name,omitempty"` // Docker's; "": not asked, or not told
	Bridge      string     `json:"bridge"`
	Owned       bool       `json:"owned"` // mybr made the bridge
	MTU         int        `json:"mtu"`   // in bytes; 0: the kernel's default
	Internal    bool       `json:"internal"`
	ICC         bool       `json:"icc"`
	ICCList     string     `json:"iccList,omitempty"`    // what containers may begin to each other; "": everything, or with ICC false nothing
	HostBinding netip.Addr `json:"hostBinding,omitzero"` // where ports are published that name no address
	Routes      []string   `json:"routes,omitempty"`     // given to containers: "10.1.0.0/16 via 172.18.0.9"
	Trusted     []string   `json:"trusted,omitempty"`    // interfaces from which published ports can be reached directly
	Subnets     []Subnet   `json:"subnets"`              // IPv4 first; a family that is off is not among them
	Settings    []Setting  `json:"settings,omitempty"`   // that can be changed while the network is there; sorted by name
	Endpoints   int        `json:"endpoints"`
}

// Setting is an option that was given at the creation, set since, or both. What was set counts.
type Setting struct {
	Name  string  `json:"name"`            // such as "mybr.publish.from.8080"
	Value string  `json:"value"`           // that counts
	Given *string `json:"given,omitempty"` // at the creation; there is none where nothing was
	Set   bool    `json:"set"`             // since the creation
}

// List is prefixes of clients, or entries of egress lists, under a name.
type List struct {
	Name     string         `json:"name"`
	Prefixes []netip.Prefix `json:"prefixes"`
	Egress   []string       `json:"egress,omitempty"` // entries that are more than prefixes
	UsedBy   int            `json:"usedBy"`           // how many networks and endpoints name it
}

// Subnet is what a network has of one family.
type Subnet struct {
	Family     string       `json:"family"` // "ipv4" or "ipv6"
	Prefix     netip.Prefix `json:"prefix"`
	Gateway    netip.Addr   `json:"gateway,omitzero"` // the containers' default route
	Address    netip.Prefix `json:"address,omitzero"` // on the bridge
	Mode       string       `json:"mode"`             // "nat", "nat-unprotected", "routed" or "isolated"
	Masquerade bool         `json:"masquerade"`
	SNAT       netip.Addr   `json:"snat,omitzero"` // the address that leaving packets take, where it is fixed
}

// Endpoint is one container's (or other sandbox's) place on a network.
type Endpoint struct {
	ID        string       `json:"id"`                  // Docker's
	Container string       `json:"container,omitempty"` // its name; "": not asked, or not told
	Network   string       `json:"network"`             // ID
	Bridge    string       `json:"bridge"`
	Veth      string       `json:"veth"` // the host's end of the pair
	MAC       string       `json:"mac"`
	IPv4      netip.Prefix `json:"ipv4,omitzero"`
	IPv6      netip.Prefix `json:"ipv6,omitzero"`
	Sandbox   string       `json:"sandbox,omitempty"` // path of the network namespace; "": no container has joined
	Settings  []Setting    `json:"settings,omitempty"`
	Removed   []string     `json:"removed,omitempty"` // ports that Docker has published and mybr port rm has taken away, such as "tcp 0.0.0.0:8080 -> 172.18.0.2:80"
}

// How a port is carried.
const (
	ByNAT     = "nat"     // by the kernel; what NAT can't translate, such as 127.0.0.1, goes through the process
	ByProcess = "process" // all of it goes through the process
	Directly  = "direct"  // not at the host's addresses, but at the container's own (routed networks)
	Closed    = "closed"  // not at all: SCTP, which the process can't carry, where the host's firewall decides
)

// Port is one published port, or a range of ports.
type Port struct {
	Proto     string         `json:"proto"`         // "tcp", "udp" or "sctp"
	Host      netip.AddrPort `json:"host,omitzero"` // the first port; there is none where it is carried directly
	Container netip.AddrPort `json:"container"`     // the first port
	Count     uint16         `json:"count"`         // of consecutive ports
	Carried   string         `json:"carried"`
	Network   string         `json:"network"` // ID
	Bridge    string         `json:"bridge"`
	Endpoint  string         `json:"endpoint"`            // ID
	Name      string         `json:"name,omitempty"`      // of the container
	From      string         `json:"from,omitempty"`      // which clients reach it from outside, as an option has it, or that this differs by port; "": all
	Interface string         `json:"interface,omitempty"` // by which interfaces of the host they come, likewise; "": all
	Policy    string         `json:"policy,omitempty"`    // "host": the host's firewall decides who reaches it; "": all do who are let in by what is above
	Added     int            `json:"added,omitempty"`     // how many of Count mybr port add has published, and Docker does not know of
	Traffic   *Traffic       `json:"traffic,omitempty"`   // there is none where nothing is counted
}

// Span is the address with the port, or with the first and last of count ports, such as
// `0.0.0.0:8000-8009`.
func Span(first netip.AddrPort, count uint16) string {
	if count <= 1 {
		return first.String()
	}
	return fmt.Sprintf("%s-%d", first, int(first.Port())+int(count)-1)
}

// Traffic is what the kernel's rule that translates the port has counted since it was made.
// The kernel looks at that rule for the first packet of a connection only (nat in
// iptables(8)); so packets and bytes of connections are not known, and what the process
// carries, such as a client at 127.0.0.1, is not in it.
type Traffic struct {
	Connections uint64 `json:"connections"` // attempts, and first packets of UDP clients
}

// Pool is one subnet that mybr's IPAM driver holds. Counts are of addresses; those of a
// large IPv6 subnet end at the largest number.
//
// Size and Free are of what addresses are chosen from; a gateway, and what a container has
// named, can be used outside of it.
type Pool struct {
	ID     string       `json:"id"`
	Space  string       `json:"space"`
	Prefix netip.Prefix `json:"prefix"`
	Range  netip.Prefix `json:"range,omitzero"` // addresses are chosen from this part; zero: from all of it
	Size   uint64       `json:"size"`           // addresses that can be given
	Used   uint64       `json:"used"`
	Rests  uint64       `json:"rests"`         // released a moment ago, and not given again yet
	Kept   uint64       `json:"kept"`          // released, and kept for who named them
	Free   uint64       `json:"free"`          // neither in use nor resting nor kept
	Next   netip.Addr   `json:"next,omitzero"` // what a container gets that names none; zero: none is left

	Released bool `json:"released,omitempty"` // Docker has given it up, but its network is there still
}
