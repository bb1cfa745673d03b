// Package driver turns the words of Docker's NetworkDriver protocol into records:
// networks, endpoints, the sandboxes that they joined and the ports that they
// publish.
//
// Every call goes the same way: it is parsed into plain values, checked against the
// records and the host's links, recorded, and then the host is made to match (Sync).
// If that fails, the records are reverted and the host follows them: an error means
// that nothing has changed. What takes something away never fails for the kernel's
// sake: the record goes, and the host follows as soon as it can.
//
// The context of a call is the client's: it is cancelled when the client hangs up. A call
// that has begun is carried through all the same. But Docker takes what it was not told of
// for failed, and gives the same address and ports to others; so what was made for a client
// that has gone by then is reverted.
//
// Be aware: nothing here touches the kernel, and nothing here asks Docker anything:
// while a call is being answered, Docker holds locks that its own API needs. Docker
// repeats calls; calls that overlap for one network or one endpoint are answered one
// after the other, and a repeated call gets the same answer.
package driver

import (
	"context"
	"net/netip"
	"time"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// Records is where networks and endpoints are kept.
type Records interface {
	View(fn func(Tx) error) error
	// Update changes all that fn changes, or nothing if fn returns an error. undo puts back
	// what it changed, save what has changed again since.
	Update(fn func(Tx) error) (undo func() error, err error)
}

// Tx is one transaction on the records. Errors about what has no record wrap
// model.ErrNotFound; deleting it is no error. The lists are as of the call; neither they nor
// what they hold must be changed.
type Tx interface {
	Networks() []model.Network
	Network(id string) (model.Network, error)
	PutNetwork(model.Network) error
	DeleteNetwork(id string) error
	// SetUnanswered marks a network whose CreateNetwork has not been answered yet; deleting
	// the network takes the mark off.
	SetUnanswered(id string, unanswered bool) error
	Unanswered() (ids []string)

	Endpoints() []*model.Endpoint
	// EndpointsOf are those with that PortOwner, EndpointsAt those of a network with an address,
	// and EndpointsAlike those whose HostIface is the same as e's, which need not be recorded: what
	// they cost does not grow with the number of all.
	EndpointsOf(owner string) []*model.Endpoint
	EndpointsAt(network string, a netip.Addr) []*model.Endpoint
	EndpointsAlike(e *model.Endpoint) []*model.Endpoint
	Endpoint(id string) (model.Endpoint, error)
	PutEndpoint(model.Endpoint) error
	DeleteEndpoint(id string) error

	Lists() []model.List
	List(name string) (model.List, error)
	PutList(model.List) error
	DeleteList(name string) error
}

// Syncer makes the host match the records. subjects names the links whose failures
// concern the caller.
type Syncer interface {
	Sync(ctx context.Context, subjects ...string) error
}

// Ports reserves host ports for requests in any order. What owner holds already counts as
// free for it and keeps its number; release gives back what has not been recorded and
// synced.
type Ports interface {
	Reserve(owner string, reqs []model.PortRequest) (bindings []model.PortBinding, release func(), err error)
}

// Links lists the host's network interfaces.
type Links interface {
	Links() ([]model.Link, error)
}

// Config is what a Driver works with.
type Config struct {
	Store Records
	Sync  Syncer
	Ports Ports
	Links Links
	// Routes lists the host's routes, for WarnOverlaps; nil: there are none.
	Routes func() ([]model.HostRoute, error)
	// IPv6 says why networks with IPv6 can't be had on this host; nil: they can.
	IPv6 error
	// Spoof says why it can't be checked on this host who sends; nil: it can. SpoofDefault is the
	// mode of networks that don't say it themselves (model.SpoofMode).
	Spoof        error
	SpoofDefault string
	// PublishByHost says that the host's firewall decides who reaches published ports, on networks that
	// don't say it themselves.
	PublishByHost bool
	// Names says why lists with host names can't be had; nil: they can.
	Names error
	// PublishAddress is where ports are published that name no address, on networks that name
	// none either; zero: everywhere, both families.
	PublishAddress netip.Addr
	// Lives tells whether a process still runs, in the words of WithEngine; nil: none does.
	Lives func(engine string) bool
	// Warn is told what went wrong without failing the call; nil: nobody is.
	Warn func(format string, args ...any)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Driver answers the calls of the NetworkDriver protocol. Its methods may be called
// at the same time.
type Driver struct {
	store        Records
	sync         Syncer
	ports        Ports
	links        Links
	routes       func() ([]model.HostRoute, error)
	noIPv6       error      // Config.IPv6
	atHost       netip.Addr // Config.PublishAddress
	noSpoof      error      // Config.Spoof
	noNames      error      // Config.Names
	spoofDefault string     // Config.SpoofDefault
	byHost       bool       // Config.PublishByHost

	lives func(engine string) bool
	warn  func(format string, args ...any)

	networks, endpoints, sandboxes locks // in this order, see locks
	ages                           ages
	later                          later
	overlaps                       overlaps
}

// New returns a Driver for the records in c.Store.
func New(c Config) *Driver {
	d := &Driver{store: c.Store, sync: c.Sync, ports: c.Ports, links: c.Links, noIPv6: c.IPv6, noSpoof: c.Spoof, noNames: c.Names, spoofDefault: c.SpoofDefault, byHost: c.PublishByHost, atHost: c.PublishAddress, lives: c.Lives, warn: c.Warn}
	if d.lives == nil {
		d.lives = func(string) bool { return false }
	}
	if d.warn == nil {
		d.warn = func(string, ...any) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if d.routes = c.Routes; d.routes == nil {
		d.routes = func() ([]model.HostRoute, error) { return nil, nil }
	}
	d.ages = ages{now: c.Now, begun: c.Now(), of: map[string]age{}}
	return d
}

// CapabilitiesResponse says what the driver is: the helper's type lacks GwAllocChecker.
type CapabilitiesResponse struct {
	Scope             string
	ConnectivityScope string
	GwAllocChecker    bool
}

// GetCapabilities says that networks exist on this host only, and that Docker may
// ask whether a network needs a gateway (from Engine 28 on).
func (d *Driver) GetCapabilities(context.Context) (*CapabilitiesResponse, error) {
	return &CapabilitiesResponse{Scope: network.LocalScope, ConnectivityScope: network.LocalScope, GwAllocChecker: true}, nil
}

// AllocateNetwork is what swarm managers ask of drivers with global scope.
func (d *Driver) AllocateNetwork(_ context.Context, r *network.AllocateNetworkRequest) (*network.AllocateNetworkResponse, error) {
	return nil, model.Invalid("allocate network %s: networks of this driver exist on one host only", short(r.NetworkID))
}

// FreeNetwork undoes AllocateNetwork: there is nothing to undo.
func (d *Driver) FreeNetwork(context.Context, *network.FreeNetworkRequest) error { return nil }

// DiscoverNew tells of another host of the swarm, which does not matter here.
func (d *Driver) DiscoverNew(context.Context, *network.DiscoveryNotification) error { return nil }

// DiscoverDelete tells of a host that left the swarm, which does not matter here.
func (d *Driver) DiscoverDelete(context.Context, *network.DiscoveryNotification) error { return nil }
