package driver

import (
	"net/netip"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// family is one of the two address families: whatever differs between them but in name
// is here.
type family int

const (
	ipv4 family = iota
	ipv6
)

func families() []family { return []family{ipv4, ipv6} }

func (f family) String() string {
	if f == ipv4 {
		return "IPv4"
	}
	return "IPv6"
}

// article is the one that goes before the family's name.
func (f family) article() string { return "an " + f.String() }

// suffix is how Docker's option keys end.
func (f family) suffix() string {
	if f == ipv4 {
		return "ipv4"
	}
	return "ipv6"
}

func (f family) optEnable() string { return optEnable + f.suffix() }
func (f family) optMode() string   { return optMode + f.suffix() }
func (f family) optSNAT() string   { return optSNAT + f.suffix() }

// auxGateway is the name of the auxiliary address that becomes the containers' default
// gateway instead of the bridge's address.
func (f family) auxGateway() string { return "DefaultGateway" + f.String() }

// has reports whether an address is of the family. An IPv4 address inside an IPv6 one is
// of neither.
func (f family) has(a netip.Addr) bool {
	if f == ipv4 {
		return a.Is4()
	}
	return a.Is6() && !a.Is4In6() && a.Zone() == ""
}

// anywhere is the address that stands for all of the host's.
func (f family) anywhere() netip.Addr {
	if f == ipv4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func (f family) subnet(n *model.Network) *model.Subnet {
	if f == ipv4 {
		return &n.V4
	}
	return &n.V6
}

func (f family) address(e *model.Endpoint) *netip.Prefix {
	if f == ipv4 {
		return &e.V4
	}
	return &e.V6
}

func (f family) way(r *model.PortRequest) *model.Target {
	if f == ipv4 {
		return &r.V4
	}
	return &r.V6
}

// pools are the subnets that Docker sends for a network.
func (f family) pools(r *network.CreateNetworkRequest) []*network.IPAMData {
	if f == ipv4 {
		return r.IPv4Data
	}
	return r.IPv6Data
}

// sent is the address that Docker sends for an endpoint.
func (f family) sent(i *network.EndpointInterface) string {
	if f == ipv4 {
		return i.Address
	}
	return i.AddressIPv6
}

// familyOf is the family of an address that has one.
func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}
