package driver

import (
	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// Docker's words for the two address families.

// article is the family's name with the article that goes before it.
func article(f model.Family) string { return "an " + f.String() }

// suffix is how Docker's option keys end.
func suffix(f model.Family) string {
	if f == model.IPv4 {
		return "ipv4"
	}
	return "ipv6"
}

func enableKey(f model.Family) string { return optEnable + suffix(f) }
func modeKey(f model.Family) string   { return optMode + suffix(f) }
func snatKey(f model.Family) string   { return optSNAT + suffix(f) }

// auxGateway is the name of the auxiliary address that becomes the containers' default
// gateway instead of the bridge's address.
func auxGateway(f model.Family) string { return "DefaultGateway" + f.String() }

// pools are the subnets that Docker sends for a network.
func pools(f model.Family, r *network.CreateNetworkRequest) []*network.IPAMData {
	if f == model.IPv4 {
		return r.IPv4Data
	}
	return r.IPv6Data
}

// sent is the address that Docker sends for an endpoint.
func sent(f model.Family, i *network.EndpointInterface) string {
	if f == model.IPv4 {
		return i.Address
	}
	return i.AddressIPv6
}
