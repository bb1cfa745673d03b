package driver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/mybr/mybr/internal/model"
)

// Docker does not tell of every endpoint and network that it gives up: not after it was
// killed, not while mybr was away, and not if it gave up waiting for the answer that they
// are made. RemoveStale finds those that nobody needs any more.
const (
	// CheckInterval is how often RemoveStale is to be called.
	CheckInterval = 30 * time.Second

	// returnedFor is how long ago an interface that is on the host must have been seen in its
	// sandbox last, to be one that Docker has put back for good: it deletes the endpoint right
	// behind that. It takes two checks in a row that find it on the host.
	returnedFor = CheckInterval + CheckInterval/2

	// joinedFor is how long ago an endpoint must have joined, or this process have begun, before
	// an interface counts as put back that this process has not seen in its sandbox, but that
	// has been there. It is over at the first check behind the start.
	joinedFor = CheckInterval - CheckInterval/4

	// startedWithin is how long an endpoint that has joined may have its interface on the
	// host otherwise. Engines up to 27 make the sandbox behind Join, and mount the container's
	// volumes in between, which takes minutes with a slow server or many containers at boot.
	startedWithin = 10 * time.Minute

	// joinedWithin is how long an endpoint may be without a sandbox: Docker joins it at once,
	// and deletes it at once when it has left.
	joinedWithin = 5 * time.Minute
)

// Docker's own address spaces (libnetwork's ipams/builtin).
var dockerSpaces = []string{"LocalDefault", "GlobalDefault"}

// RemoveEnded removes the endpoints that had joined a sandbox and whose interfaces are
// gone: they ended while mybr was away. It is for the start of a process, before the
// first pass, and does not sync.
func (d *Driver) RemoveEnded() error {
	links, err := d.hostLinks()
	if err != nil {
		return err
	}
	_, err = d.store.Update(func(tx Tx) error {
		var errs []error
		for _, e := range tx.Endpoints() {
			if e.Sandbox != "" && d.kindOf(e.NetworkID).place(*e, links.names) == placeNowhere {
				d.warn("endpoint %s has no container any more: it is removed", short(e.ID))
				errs = append(errs, tx.DeleteEndpoint(e.ID))
			}
		}
		return errors.Join(errs...)
	})
	return err
}

// RemoveStale removes the endpoints and networks that Docker has given up without saying
// so, or said so when it could not be recorded, and gives ports that nobody has any more to
// the endpoints that want them. It is to be called behind the first pass, which finds a
// bridge that was half made by its record alone, and then every CheckInterval. What a call
// is about is left alone.
func (d *Driver) RemoveStale(ctx context.Context) error {
	behind := d.later.catchUp(ctx)
	endpoints, err := d.endpointsThat(func(*model.Endpoint) bool { return true })
	if err != nil {
		return errors.Join(behind, err)
	}
	links, err := d.hostLinks()
	if err != nil {
		return errors.Join(behind, err)
	}
	exists, wanting := map[string]bool{}, map[string]bool{}
	for _, e := range endpoints {
		exists[e.ID] = true
		if e.Wanted != nil {
			wanting[e.PortOwner()] = true
		}
		if d.stale(e, links) != "" {
			d.removeIfStale(ctx, e.ID)
		}
	}
	d.ages.keep(exists)
	errs := []error{behind, d.removeUnanswered(ctx)}
	for _, owner := range slices.Sorted(maps.Keys(wanting)) {
		errs = append(errs, d.reassignSandbox(ctx, owner))
	}
	return errors.Join(errs...)
}

// stale says why an endpoint is none of Docker's any more; "" if it may be.
func (d *Driver) stale(e model.Endpoint, links hostLinks) string {
	age := d.ages.since(e.ID)
	if e.Sandbox == "" {
		if age > joinedWithin {
			return "has joined no sandbox for " + age.Round(time.Second).String()
		}
		return ""
	}
	switch d.kindOf(e.NetworkID).place(e, links.names) {
	case placeSandbox:
		d.ages.attached(e.ID, links.read)
	case placeNowhere:
		return "has no container any more"
	case placeHost:
		detached, seen := d.ages.detached(e.ID)
		if seen && detached > returnedFor || !seen && age > joinedFor && d.kindOf(e.NetworkID).returned(e, links) {
			return "has its interface on the host, where Docker has put it back"
		} else if !seen && age > startedWithin {
			return "has its interface on the host, and no container was started with it in " + age.Round(time.Second).String()
		}
	}
	return ""
}

// removeIfStale removes an endpoint if it is stale, and reports whether it is gone. One
// that a call is about is left alone: its interface may be just about to be made.
func (d *Driver) removeIfStale(ctx context.Context, id string) bool {
	unlock, ok := d.endpoints.tryLock(id)
	if !ok {
		return false
	}
	defer unlock()
	var e model.Endpoint
	read := func() error {
		return d.store.View(func(tx Tx) (err error) {
			e, err = tx.Endpoint(id)
			return err
		})
	}
	err := read()
	if err == nil {
		unlockSandbox, ok := d.sandboxes.tryLock(e.PortOwner())
		if !ok {
			return false
		}
		defer unlockSandbox()
		err = read()
	}
	if errors.Is(err, model.ErrNotFound) {
		return true
	}
	var links hostLinks
	if err == nil {
		links, err = d.hostLinks()
	}
	if err != nil {
		d.warn("see whether endpoint %s is still there: %v", short(id), err)
		return false
	}
	why := d.stale(e, links)
	if why == "" {
		return false
	}
	d.warn("endpoint %s %s: it is removed", short(id), why)
	if err := d.removeEndpoint(ctx, e); err != nil {
		d.warn("remove endpoint %s: %v", short(id), err)
		return false
	}
	return true
}

// removeUnanswered removes the networks that no call is about, and whose CreateNetwork was
// not answered.
func (d *Driver) removeUnanswered(ctx context.Context) error {
	var ids []string
	err := d.store.View(func(tx Tx) error {
		ids = tx.Unanswered()
		return nil
	})
	for _, id := range ids {
		err = errors.Join(err, d.removeNetworkIfUnused(ctx, id, d.keeps, func(tx Tx) string {
			if slices.Contains(tx.Unanswered(), id) {
				return "Docker was not told that it is made"
			}
			return ""
		}))
	}
	return err
}

// removeConflicting removes the networks that Docker must have removed while mybr was
// away, or has forgotten as it was killed, because it gives their subnet to another one. That
// is certain only of Docker's own address spaces, which give a subnet once, and of one engine.
// mybr's own IPAM keeps the subnet of a network that has a record, and may take a second network
// with it for a repetition; and two other IPAM drivers may call their address spaces the same.
//
// Where it is the engine that used the network last which gives the subnet away, the endpoints
// of the network are gone for it too: a container that it could not end, or an interface that
// it did not put back, keeps no network. Where it only may be that engine, a container that is
// there keeps its network, and the new one is refused.
func (d *Driver) removeConflicting(ctx context.Context, want model.Network) error {
	type stale struct {
		id    string
		keeps func(model.Endpoint, hostLinks) bool
	}
	var conflicting []stale
	err := d.store.View(func(tx Tx) error {
		for _, o := range tx.Networks() {
			if o.ID == want.ID || !givenAway(o.V4, want.V4) && !givenAway(o.V6, want.V6) || d.ofOther(o, want.Engine, tx.Networks()) {
				continue
			}
			keeps := d.keeps
			if want.Engine != "" && o.Engine == want.Engine {
				keeps = func(model.Endpoint, hostLinks) bool { return false }
			}
			conflicting = append(conflicting, stale{o.ID, keeps})
		}
		return nil
	})
	for _, c := range conflicting {
		err = errors.Join(err, d.removeNetworkIfUnused(ctx, c.id, c.keeps, func(Tx) string {
			return "Docker has given a subnet of it to another one"
		}))
	}
	return err
}

// givenAway reports whether two subnets are of one address space of Docker's own, and
// overlap.
func givenAway(a, b model.Subnet) bool {
	return slices.Contains(dockerSpaces, a.Space) && a.Space == b.Space && a.Prefix.Overlaps(b.Prefix)
}

// keeps reports whether an endpoint may be one of Docker's still.
func (d *Driver) keeps(e model.Endpoint, links hostLinks) bool { return d.stale(e, links) == "" }

// removeNetworkIfUnused removes a network that is stale, unless an endpoint keeps it, or a
// call is about it. stale says why it is, "" if it isn't.
func (d *Driver) removeNetworkIfUnused(ctx context.Context, id string, keeps func(model.Endpoint, hostLinks) bool, stale func(Tx) string) error {
	unlock, ok := d.networks.tryLock(id)
	if !ok {
		return nil
	}
	defer unlock()
	var n model.Network
	var why string
	err := d.store.View(func(tx Tx) (err error) {
		if n, err = tx.Network(id); err == nil {
			why = stale(tx)
		}
		return err
	})
	if errors.Is(err, model.ErrNotFound) || err == nil && why == "" {
		return nil
	} else if err != nil {
		return err
	}
	links, err := d.hostLinks()
	if err != nil {
		return err
	}
	used, err := d.endpointsThat(func(e *model.Endpoint) bool { return e.NetworkID == id && keeps(*e, links) })
	if err != nil || len(used) > 0 {
		return err
	}
	d.warn("network %s is removed: %s", short(id), why)
	return d.removeNetwork(ctx, n)
}

// hostLinks are the names of the host's links as they were read at a time.
type hostLinks struct {
	names       map[string]bool
	up, hadLink map[string]bool // as in model.Link
	read        time.Time
}

func (d *Driver) hostLinks() (hostLinks, error) {
	h := hostLinks{names: map[string]bool{}, up: map[string]bool{}, hadLink: map[string]bool{}, read: d.ages.now()}
	links, err := d.links.Links()
	for _, l := range links {
		h.names[l.Name], h.up[l.Name], h.hadLink[l.Name] = true, l.Up, l.HadLink
	}
	return h, err
}
