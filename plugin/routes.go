package plugin

import (
	"context"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/ipam"
)

// manifest is the answer to Plugin.Activate: which protocols the socket speaks.
type manifest struct{ Implements []string }

func activate(context.Context) (*manifest, error) {
	return &manifest{Implements: []string{"NetworkDriver", "IpamDriver"}}, nil
}

// routes is every call of Docker's plugin, NetworkDriver and IpamDriver protocols.
// greeted is called when Docker asks for the network driver's capabilities, which
// it does each time it starts to use the plugin.
//
// IPAM calls are never shared: two equal requests for some free address are two
// addresses.
func routes(d *driver.Driver, i *ipam.Driver, greeted func()) map[string]call {
	capabilities := func(ctx context.Context) (*driver.CapabilitiesResponse, error) {
		greeted()
		return d.GetCapabilities(ctx)
	}
	return map[string]call{
		"/Plugin.Activate": constant(activate),

		"/NetworkDriver.GetCapabilities":             constant(capabilities),
		"/NetworkDriver.GwAllocCheck":                once(route(d.GwAllocCheck)),
		"/NetworkDriver.AllocateNetwork":             once(route(d.AllocateNetwork)),
		"/NetworkDriver.FreeNetwork":                 once(action(d.FreeNetwork)),
		"/NetworkDriver.CreateNetwork":               once(action(d.CreateNetwork)),
		"/NetworkDriver.DeleteNetwork":               once(action(d.DeleteNetwork)),
		"/NetworkDriver.CreateEndpoint":              once(route(d.CreateEndpoint)),
		"/NetworkDriver.DeleteEndpoint":              once(action(d.DeleteEndpoint)),
		"/NetworkDriver.EndpointOperInfo":            once(route(d.EndpointOperInfo)),
		"/NetworkDriver.Join":                        once(route(d.Join)),
		"/NetworkDriver.Leave":                       once(action(d.Leave)),
		"/NetworkDriver.ProgramExternalConnectivity": once(action(d.ProgramExternalConnectivity)),
		"/NetworkDriver.RevokeExternalConnectivity":  once(action(d.RevokeExternalConnectivity)),
		"/NetworkDriver.DiscoverNew":                 action(d.DiscoverNew),
		"/NetworkDriver.DiscoverDelete":              action(d.DiscoverDelete),

		"/IpamDriver.GetCapabilities":         constant(i.GetCapabilities),
		"/IpamDriver.GetDefaultAddressSpaces": constant(i.GetDefaultAddressSpaces),
		"/IpamDriver.RequestPool":             route(i.RequestPool),
		"/IpamDriver.ReleasePool":             action(i.ReleasePool),
		"/IpamDriver.RequestAddress":          route(i.RequestAddress),
		"/IpamDriver.ReleaseAddress":          action(i.ReleaseAddress),
	}
}
