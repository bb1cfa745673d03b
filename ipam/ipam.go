// Package ipam answers Docker's IpamDriver protocol: it hands out subnets (pools)
// and the addresses in them.
//
// Every call is one transaction of the store and nothing else: no kernel work, so
// nothing has to be undone when a later step of Docker's fails. Docker's retry of a
// call finds the answer recorded and gets it again.
//
// Docker names no network in these calls, so a pool is known by its address space
// and subnet, a gateway by its pool, an endpoint's address by its pool and MAC: that
// is why the driver asks Docker for a MAC with each endpoint (RequiresMACAddress).
//
// Both families go the same way, each in pools of its own: a network of both asks for
// two. Where Docker leaves an IPv6 subnet to mybr, it is the next free /64 of a /48 of
// unique local addresses (RFC 4193) that is this host's own: its 40 random bits are drawn
// when they are first needed, and kept with the records.
//
// Be aware: whether a subnet that the user gave collides with the host's
// interfaces is not asked here but where the bridge is made; only a subnet that is
// chosen here avoids the host's routes. When a pool is exhausted, the next subnet of
// the same network is not tried: the errors of a remote IPAM driver reach Docker as
// mere text, so it can't tell an exhausted pool from any other failure. On networks of
// other drivers nothing tells a container with the MAC of another one from a repeated
// request, and what is released while mybr is away stays in use until the network goes.
//
// The pool of a network that was removed while mybr was away stays held, and so does that of
// a network of mybr's own driver for as long as that has a record of it. That Docker does
// not ask for it again after a start proves nothing: Docker repeats no requests if mybr was
// away when it started or if a managed plugin is enabled again, and what looks like the
// first repetition may then be a second network with the subnet of another pool.
package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/model"
)

// The address spaces that Docker is told: one for networks of this host, one for
// networks of a swarm. Pools of different spaces may overlap.
const (
	SpaceLocal  = "mybr-local"
	SpaceGlobal = "mybr-global"
)

// Routes tells where the host has routes and addresses, of both families.
type Routes interface {
	Routes() ([]netip.Prefix, error)
}

// Config is what New needs.
type Config struct {
	Store  Records
	Routes Routes
	// Quarantine is how long a released address rests while others are free; 0: not at all.
	Quarantine time.Duration
	Now        func() time.Time // nil: time.Now
	Pools      []AddressPool    // where subnets are chosen from, in this order; none of a family: its default
}

// Driver answers the calls of the IpamDriver protocol. Its methods may be called at
// the same time.
type Driver struct {
	store  Records
	routes Routes
	pools  []AddressPool

	quarantine time.Duration
	now        func() time.Time

	// mu is taken in transactions alone, which come one after the other, so that replay and
	// the store agree. Calls that come together share a commit, and wait for it without mu.
	mu     sync.Mutex
	replay replay
	told   map[string]bool // by ID: pools that this process has given out, or Docker has named to it
	owed   map[string]bool // by ID: pools whose release could not be recorded
}

// New returns a Driver for the records in c.Store.
func New(c Config) *Driver {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Driver{
		store: c.Store, routes: c.Routes, pools: c.Pools, quarantine: c.Quarantine, now: c.Now,
		told: map[string]bool{}, owed: map[string]bool{},
	}
}

// update runs a transaction of the store with mu held.
func (d *Driver) update(fn func(Tx) error) error {
	return d.store.Update(func(tx Tx) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		return fn(tx)
	})
}

func (d *Driver) rests() rests { return rests{d.quarantine, d.now()} }

// CapabilitiesResponse says what the driver asks of Docker; the helper's type lacks
// RequiresRequestReplay.
type CapabilitiesResponse struct {
	RequiresMACAddress    bool
	RequiresRequestReplay bool
}

// GetCapabilities asks Docker for a MAC with each endpoint's address, and to repeat
// its requests when it starts.
//
// Docker calls this when it begins to use the plugin. After a start it then repeats,
// for each network that it has on record, RequestPool with the stored subnet and
// sub-pool, RequestAddress for the gateway and the auxiliary addresses, and
// RequestAddress for each endpoint. So from here on every pool that is held may be
// asked for once more; see RequestPool.
func (d *Driver) GetCapabilities(context.Context) (*CapabilitiesResponse, error) {
	err := d.update(func(tx Tx) error {
		d.replay.expect(tx.Pools())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("get IPAM capabilities: %w", err)
	}
	return &CapabilitiesResponse{RequiresMACAddress: true, RequiresRequestReplay: true}, nil
}

// GetDefaultAddressSpaces names the two address spaces.
func (d *Driver) GetDefaultAddressSpaces(context.Context) (*helper.AddressSpacesResponse, error) {
	return &helper.AddressSpacesResponse{LocalDefaultAddressSpace: SpaceLocal, GlobalDefaultAddressSpace: SpaceGlobal}, nil
}

// RequestPool takes the subnet that is asked for, host bits dropped as Docker's own
// IPAM does. If none is asked for, or only a size (0.0.0.0/24, ::/80), it takes the next
// of the default subnets, of that size, that overlaps neither a held pool of the address
// space nor a route or address of the host. Docker repeats a request without a subnet,
// and holds those that it can't use, until it can use one: so each request gets another.
//
// Nothing in the request tells a repetition from a second network with the same
// subnet. It is a repetition, and gets the same answer, if Docker has asked for the
// capabilities since the pool was taken, and has neither asked for this pool nor
// used its addresses since, nor those of any other pool in a way that it can't repeat.
// It is one too if nothing of the pool is used and a process before this one took it, which
// may have ended before its answer. Otherwise it is a second network, and refused because the
// pools overlap.
//
// Be aware: Docker asks for the capabilities and repeats nothing if mybr was away when
// it started, and if a managed plugin is disabled and enabled. Then a second network
// passes here; its request for a gateway shows what it is, and is refused. If it asks for
// the first one's gateway, mybr's network driver refuses it, and what Docker then releases
// stays (see ReleasePool).
func (d *Driver) RequestPool(ctx context.Context, r *helper.RequestPoolRequest) (resp *helper.RequestPoolResponse, err error) {
	defer func() { err = wrap(err, "request pool", r.Pool) }()
	want, err := parsePool(r)
	if err != nil {
		return nil, err
	}
	var routes []netip.Prefix
	if !want.prefix.IsValid() {
		if routes, err = d.routes.Routes(); err != nil {
			return nil, fmt.Errorf("read the routes of the host: %w", err)
		}
	}
	var p model.Pool
	var owed []string
	held, before := true, func() {}
	err = d.update(func(tx Tx) (err error) {
		if !want.prefix.IsValid() && want.size == 0 {
			d.replay.over() // what is repeated has a subnet
		}
		owed = slices.Collect(maps.Keys(d.owed))
		if err := errors.Join(d.releaseOwed(tx), deleteReleased(tx)); err != nil {
			return err
		}
		pools := tx.Pools()
		if p, err = d.takePool(tx, want, routes); err != nil {
			return err
		}
		held = slices.ContainsFunc(pools, func(o model.Pool) bool { return o.ID == p.ID })
		before = d.granted(p.ID)
		return nil
	})
	if err != nil { // be it that of the commit
		d.mu.Lock()
		defer d.mu.Unlock()
		before()
		return nil, err
	}
	d.paid(owed)
	if err := context.Cause(ctx); err != nil && !held {
		// Docker gives up what it is not told of, and would be refused the same subnet again.
		return nil, errors.Join(err, d.update(func(tx Tx) error {
			delete(d.told, p.ID)
			return tx.DeletePool(p.ID)
		}))
	}
	return &helper.RequestPoolResponse{PoolID: p.ID, Pool: p.Prefix.String()}, nil
}

// takePool records the pool that is wanted, unless this is the repetition of an
// earlier request.
func (d *Driver) takePool(tx Tx, want wantedPool, routes []netip.Prefix) (model.Pool, error) {
	var held []model.Pool
	for _, p := range tx.Pools() {
		if p.Space == want.space {
			held = append(held, p)
		}
	}
	if !want.prefix.IsValid() {
		pools, err := d.poolsOf(tx, want)
		if err != nil {
			return model.Pool{}, err
		}
		prefix, ok := nextSubnet(pools, obstacles(held, routes))
		if !ok {
			return model.Pool{}, model.Conflict("every default %s subnet is in use by another network or by a route of the host: give a subnet (--subnet), or mybr more of them (--address-pool)", want.family)
		}
		want.prefix = prefix
	}
	p := model.Pool{ID: want.id(), Space: want.space, Prefix: want.prefix, Sub: want.sub}
	for _, other := range held {
		if other.ID == p.ID && (d.replay.expects(p.ID) || d.untold(tx, other)) {
			other.Released = false
			return other, tx.PutPool(other)
		}
		if other.Prefix.Overlaps(p.Prefix) {
			return model.Pool{}, overlap(other)
		}
	}
	if revived, err := revive(tx, p); revived || err != nil {
		d.replay.revived(p.ID)
		return p, err
	}
	return p, tx.PutPool(p)
}

func overlap(p model.Pool) error {
	return model.Conflict("invalid pool request: Pool overlaps with other one on this address space: %s, which another network has in address space %s", p.Prefix, p.Space)
}

// RequestAddress takes one address of a pool: for its gateway, for an endpoint (the
// request has a MAC), or as an auxiliary address (it has neither mark), which is
// one that Docker keeps from being used.
//
// An address that the request names may be any of the pool that a host can have (see
// hostsOf), in the sub-pool or not. If it names none, a gateway gets the lowest free
// address of the sub-pool (of the pool, if there is none), and an endpoint the next free
// one behind the one that was chosen last, so that an address is given again as late as
// possible. One that was released rests (Config.Quarantine), and one that had been asked for
// by name is kept for who will name it again: both are given only when all others are in
// use, the one that has rested longest first, and those that were named last of all. What is
// named is granted at once.
//
// The same request again gets the same address: that of the pool's gateway, of the
// endpoint with this MAC, or the one named, if it was granted to the same; but not
// once mybr's driver has made an endpoint with it: then it is another container that
// has this MAC. An address that no endpoint of mybr's driver has, although one was to,
// is free if it is named or if no other is: its release was lost. While
// Docker repeats its requests after a start, it sends endpoints' addresses without
// their MACs, so then what is held is granted whatever for.
func (d *Driver) RequestAddress(ctx context.Context, r *helper.RequestAddressRequest) (resp *helper.RequestAddressResponse, err error) {
	defer func() { err = wrap(err, "request address", r.Address) }()
	want, err := parseAddress(r)
	if err != nil {
		return nil, err
	}
	var got netip.Prefix
	var leased model.Lease // zero: it was leased before
	err = d.update(func(tx Tx) error {
		if err := d.checkSecond(tx, r.PoolID, want); err != nil {
			return err
		}
		want.repeated = d.replay.address(r.PoolID, want)
		p, err := poolOf(tx, r.PoolID)
		if err != nil {
			return err
		}
		d.told[p.ID] = true
		a, err := takeAddress(leasing{tx, &leased}, p, want, d.rests())
		got = netip.PrefixFrom(a, p.Prefix.Bits())
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil && leased.Addr.IsValid() {
		return nil, errors.Join(err, d.update(func(tx Tx) error { return giveBack(tx, r.PoolID, leased) }))
	}
	return &helper.RequestAddressResponse{Address: got.String()}, nil
}
