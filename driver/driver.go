// Package driver turns the words of Docker's NetworkDriver protocol into records:
// networks, endpoints, the sandboxes that they joined and the ports that they
// publish.
//
// Every call goes the same way: it is parsed into plain values, checked against the
// records and the host's links, recorded, and then the host is made to match (Sync).
// If that fails, the records are put back and the host follows them: an error means
// that nothing has changed. What takes something away never fails for the kernel's
// sake: the record goes, and the host follows as soon as it can.
//
// Be aware: nothing here touches the kernel, and nothing here asks Docker anything:
// while a call is being answered, Docker holds locks that its own API needs. A call
// is finished even if the client hangs up, for Docker does not undo what it gave up
// waiting for. Docker repeats calls; calls that overlap for one network or one
// endpoint are answered one after the other, and a repeated call gets the same
// answer.
package driver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// Records is where networks and endpoints are kept.
type Records interface {
	View(fn func(*store.Tx) error) error
	Update(fn func(*store.Tx) error) (store.Undo, error)
	Revert(store.Undo) error
}

// Syncer makes the host match the records. about names the links whose failures
// concern the caller.
type Syncer interface {
	Sync(ctx context.Context, about ...string) error
}

// Ports reserves host ports for requests in any order. What owner holds already counts as free for it and
// keeps its number; release gives back what has not been recorded and synced.
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
	// IPv6 says why networks with IPv6 can't be had on this host; nil: they can.
	IPv6 error
	// Warn is told what went wrong without failing the call; nil: nobody is.
	Warn func(format string, args ...any)
}

// Driver answers the calls of the NetworkDriver protocol. Its methods may be called
// at the same time.
type Driver struct {
	store     Records
	sync      Syncer
	ports     Ports
	links     Links
	noIPv6    error // Config.IPv6
	warn      func(format string, args ...any)
	networks  locks // network calls write, endpoint calls read
	endpoints locks
	sandboxes locks // of the ports of its endpoints; taken last
	orphans   orphans
	joins     joins
	settle    time.Duration // Settle
}

// New returns a Driver for the records in c.Store.
func New(c Config) *Driver {
	d := &Driver{store: c.Store, sync: c.Sync, ports: c.Ports, links: c.Links, noIPv6: c.IPv6, warn: c.Warn}
	d.settle, d.joins = Settle, joins{begun: time.Now(), at: map[string]time.Time{}}
	if d.warn == nil {
		d.warn = func(string, ...any) {}
	}
	if err := d.store.View(d.orphans.collect); err != nil {
		d.warn("look for endpoints that nobody joined: %v", err)
	}
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

// commit records change and makes the host match. If that fails, or panics, the
// records are put back, and the host with them.
func (d *Driver) commit(ctx context.Context, link string, change func(*store.Tx) error) error {
	undo, err := d.store.Update(change)
	if err != nil {
		return err
	}
	synced := false
	defer func() {
		if !synced {
			d.putBack(ctx, link, undo)
		}
	}()
	if err := d.sync.Sync(ctx, link); err != nil {
		return err
	}
	synced = true
	return nil
}

func (d *Driver) putBack(ctx context.Context, link string, undo store.Undo) {
	if err := d.store.Revert(undo); err != nil {
		d.warn("put the records of %s back: %v", link, err)
		return
	}
	if err := d.sync.Sync(ctx, link); err != nil {
		d.warn("put %s back as it was: %v", link, err)
	}
}

// remove records change, which takes something away. That the host doesn't follow at
// once is a warning; the next sync tries again.
func (d *Driver) remove(ctx context.Context, link string, change func(*store.Tx) error) error {
	if _, err := d.store.Update(change); err != nil {
		return err
	}
	if err := d.sync.Sync(ctx, link); err != nil {
		d.warn("remove what %s needed no longer: %v", link, err)
	}
	return nil
}

// beginNetwork waits for its turn with a network. The context that it returns
// outlives the client's.
func (d *Driver) beginNetwork(ctx context.Context, id string) (context.Context, func()) {
	return context.WithoutCancel(ctx), d.networks.lock(id)
}

// beginEndpoint waits for its turn with an endpoint; the network stays meanwhile.
func (d *Driver) beginEndpoint(ctx context.Context, networkID, id string) (context.Context, func()) {
	unlockNetwork := d.networks.rlock(networkID)
	unlock := d.endpoints.lock(id)
	return context.WithoutCancel(ctx), func() {
		unlock()
		unlockNetwork()
	}
}

// network returns a network's record.
func (d *Driver) network(id string) (n model.Network, err error) {
	err = d.store.View(func(tx *store.Tx) error {
		n, err = tx.Network(id)
		return err
	})
	if errors.Is(err, model.ErrNotFound) {
		err = model.NotFound("network %s is not known to mybr: if Docker has it, remove it and create it again", short(id))
	}
	return n, err
}

// endpoint returns the records of an endpoint and of its network.
func (d *Driver) endpoint(networkID, id string) (n model.Network, e model.Endpoint, err error) {
	if n, err = d.network(networkID); err != nil {
		return n, e, err
	}
	err = d.store.View(func(tx *store.Tx) error {
		e, err = tx.Endpoint(id)
		return err
	})
	if errors.Is(err, model.ErrNotFound) || err == nil && e.NetworkID != networkID {
		err = model.NotFound("the endpoint is not known to mybr on network %s", short(networkID))
	}
	return n, e, err
}

// wrap puts what was being done before the error, if there is one.
func wrap(err *error, doing, id string) {
	if *err != nil {
		*err = fmt.Errorf("%s %s: %w", doing, short(id), *err)
	}
}

// short is an ID as `docker network ls` prints it, quoted if it is none of Docker's.
func short(id string) string {
	if id = model.ShortID(id); checkID("", id) != nil {
		return strconv.Quote(id)
	}
	return id
}

// checkID refuses what can't be part of an interface's name. Docker's IDs are 64
// hexadecimal digits; those of swarm networks 25 lower-case letters and digits.
func checkID(noun, id string) error {
	if id == "" {
		return model.Invalid("the %s ID is missing", noun)
	}
	if len(id) > 128 {
		return model.Invalid("the %s ID is longer than 128 characters", noun)
	}
	for _, c := range []byte(id) {
		if !isAlnum(c) && c != '_' && c != '-' {
			return model.Invalid("the %s ID %q has other characters than letters, digits, _ and -", noun, id)
		}
	}
	return nil
}
