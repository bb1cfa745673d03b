package plugin

import (
	"context"
	"strings"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/ipam"
)

// manifest is the answer to Plugin.Activate: which protocols the socket speaks.
type manifest struct{ Implements []string }

func activate(context.Context) (*manifest, error) {
	return &manifest{Implements: []string{"NetworkDriver", "IpamDriver"}}, nil
}

// routes is every call of Docker's plugin, NetworkDriver and IpamDriver protocols.
// activated is called when Docker asks for the network driver's capabilities, which it
// does each time it starts to use the plugin.
func routes(d *driver.Driver, i *ipam.Driver, activated func()) map[string]call {
	capabilities := func(ctx context.Context) (*driver.CapabilitiesResponse, error) {
		activated()
		return d.GetCapabilities(ctx)
	}
	return map[string]call{
		"/Plugin.Activate": constant(activate),

		"/NetworkDriver.GetCapabilities":             constant(capabilities),
		"/NetworkDriver.GwAllocCheck":                route(d.GwAllocCheck),
		"/NetworkDriver.AllocateNetwork":             route(d.AllocateNetwork),
		"/NetworkDriver.FreeNetwork":                 action(d.FreeNetwork),
		"/NetworkDriver.CreateNetwork":               action(d.CreateNetwork),
		"/NetworkDriver.DeleteNetwork":               removal(deletes(d, i)),
		"/NetworkDriver.CreateEndpoint":              route(d.CreateEndpoint),
		"/NetworkDriver.DeleteEndpoint":              removal(d.DeleteEndpoint),
		"/NetworkDriver.EndpointOperInfo":            route(d.EndpointOperInfo),
		"/NetworkDriver.Join":                        route(d.Join),
		"/NetworkDriver.Leave":                       removal(d.Leave),
		"/NetworkDriver.ProgramExternalConnectivity": action(d.ProgramExternalConnectivity),
		"/NetworkDriver.RevokeExternalConnectivity":  removal(d.RevokeExternalConnectivity),
		"/NetworkDriver.DiscoverNew":                 action(d.DiscoverNew),
		"/NetworkDriver.DiscoverDelete":              action(d.DiscoverDelete),

		"/IpamDriver.GetCapabilities":         constant(i.GetCapabilities),
		"/IpamDriver.GetDefaultAddressSpaces": constant(i.GetDefaultAddressSpaces),
		"/IpamDriver.RequestPool":             route(i.RequestPool),
		"/IpamDriver.ReleasePool":             removal(i.ReleasePool),
		"/IpamDriver.RequestAddress":          route(i.RequestAddress),
		"/IpamDriver.ReleaseAddress":          removal(i.ReleaseAddress),
	}
}

// methods are the names of the calls of a table, as logs and metrics have them.
func methods(table map[string]call) (names []string) {
	for path := range table {
		names = append(names, strings.TrimPrefix(path, "/"))
	}
	return names
}
