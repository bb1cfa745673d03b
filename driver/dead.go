package driver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// Settle is how long the container's end of a veth pair may stay on the host after Join:
// Docker moves it into the sandbox in well under a second, on a busy host in a few.
const Settle = 30 * time.Second

// bury forgets an endpoint if dead says so, and reports whether it is gone. Docker
// does not tell of every endpoint that it forgets: not after it was killed, not while
// mybr was away. An endpoint that a call is about is left alone: its veth pair may be
// just about to be made.
func (d *Driver) bury(ctx context.Context, id string, dead func(e model.Endpoint, links map[string]bool) bool) bool {
	unlock, ok := d.endpoints.tryLock(id)
	if !ok {
		return false
	}
	defer unlock()
	var e model.Endpoint
	err := d.store.View(func(tx *store.Tx) (err error) {
		e, err = tx.Endpoint(id)
		return err
	})
	if err != nil {
		return errors.Is(err, model.ErrNotFound)
	}
	links, err := d.linkNames()
	if err != nil {
		d.warn("see whether endpoint %s is still there: %v", short(id), err)
		return false
	}
	if !dead(e, links) {
		return false
	}
	unlockSandbox, ok := d.sandboxes.tryLock(e.PortOwner())
	if !ok {
		return false
	}
	defer unlockSandbox()
	d.warn("endpoint %s has no container any more: it is removed", short(id))
	if err := d.forget(ctx, e); err != nil {
		d.warn("remove endpoint %s: %v", short(id), err)
		return false
	}
	return true
}

// ForgetDead forgets the endpoints that had joined a sandbox and whose veth pairs are
// gone: they ended while mybr was away. It is for the start of a process, before the
// first pass, and does not sync.
func (d *Driver) ForgetDead() error {
	links, err := d.linkNames()
	if err != nil {
		return err
	}
	_, err = d.store.Update(func(tx *store.Tx) error {
		for _, e := range tx.Endpoints() {
			if e.Sandbox == "" || !vethGone(e, links) {
				continue
			}
			d.warn("endpoint %s has no container any more: it is removed", short(e.ID))
			if err := tx.DeleteEndpoint(e.ID); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// ForgetPutBack removes the endpoints that Docker has left without saying so: it was told
// that mybr was away, and has put the container's ends back on the host. It is for Settle
// after the start of a process.
func (d *Driver) ForgetPutBack(ctx context.Context) error {
	var ids []string
	hopeful := map[string]bool{} // sandboxes with endpoints that want ports of others
	err := d.store.View(func(tx *store.Tx) error {
		for _, e := range tx.Endpoints() {
			if e.Sandbox != "" {
				ids = append(ids, e.ID)
			}
			if e.Wanted != nil {
				hopeful[e.PortOwner()] = true
			}
		}
		return nil
	})
	for _, id := range ids {
		d.bury(ctx, id, d.leftForGood)
	}
	for _, sandbox := range slices.Sorted(maps.Keys(hopeful)) {
		d.inherit(ctx, sandbox)
	}
	return err
}

// ForgetUnanswered removes the networks that the process before was making when it
// ended: Docker has given them up. It is for the start of a process, behind the first
// pass: that finds a bridge that was half made by its record alone.
func (d *Driver) ForgetUnanswered(ctx context.Context) error {
	var pending []string
	err := d.store.View(func(tx *store.Tx) error {
		pending = tx.Unanswered()
		return nil
	})
	for _, id := range pending {
		ctx, end := d.beginNetwork(ctx, id)
		if n, errNetwork := d.network(id); errNetwork == nil {
			d.warn("network %s was being made when mybr ended, and Docker does not have it: it is removed", short(id))
			err = errors.Join(err, d.forgetNetwork(ctx, n))
		}
		end()
	}
	return err
}

// buryRivals forgets the networks that Docker must have removed while mybr was away:
// an address space has no two networks with one subnet, so the older of two is gone. One
// that has an endpoint whose veth pair is there, other than an orphan, is left alone, and
// so is one that a call is about.
func (d *Driver) buryRivals(ctx context.Context, want model.Network) {
	var rivals []string
	err := d.store.View(func(tx *store.Tx) error {
		for _, o := range tx.Networks() {
			if o.ID != want.ID && (sameSubnet(o.V4, want.V4) || sameSubnet(o.V6, want.V6)) {
				rivals = append(rivals, o.ID)
			}
		}
		return nil
	})
	if err != nil {
		d.warn("look for networks that have the subnet: %v", err)
	}
	for _, id := range rivals {
		d.buryNetwork(ctx, id)
	}
}

// sameSubnet reports whether two subnets are of one address space and overlap.
func sameSubnet(a, b model.Subnet) bool {
	return a.Space != "" && a.Space == b.Space && a.Prefix.Overlaps(b.Prefix)
}

func (d *Driver) buryNetwork(ctx context.Context, id string) {
	unlock, ok := d.networks.tryLock(id)
	if !ok {
		return
	}
	defer unlock()
	n, err := d.network(id)
	if errors.Is(err, model.ErrNotFound) {
		return
	}
	var links map[string]bool
	if err == nil {
		links, err = d.linkNames()
	}
	alive := false
	if err == nil {
		err = d.store.View(func(tx *store.Tx) error {
			for _, e := range tx.Endpoints() {
				alive = alive || e.NetworkID == id && !d.lostAddress(e, links)
			}
			return nil
		})
	}
	if err != nil {
		d.warn("see whether network %s is still there: %v", short(id), err)
		return
	}
	if alive {
		return
	}
	d.warn("Docker has given a subnet of network %s to another one: the network is removed", short(id))
	if err := d.forgetNetwork(ctx, n); err != nil {
		d.warn("remove network %s: %v", short(id), err)
	}
}

// forgetNetwork removes a network's record and those of its endpoints. The caller
// holds its lock.
func (d *Driver) forgetNetwork(ctx context.Context, n model.Network) error {
	sandboxes := map[string]bool{}
	err := d.remove(ctx, n.Bridge, func(tx *store.Tx) error {
		for _, e := range tx.Endpoints() {
			if e.NetworkID == n.ID && e.Sandbox != "" {
				sandboxes[e.Sandbox] = true
			}
		}
		return d.deleteNetwork(tx, n.ID)
	})
	for _, sandbox := range slices.Sorted(maps.Keys(sandboxes)) {
		d.inherit(ctx, sandbox)
	}
	return err
}

func (d *Driver) deleteNetwork(tx *store.Tx, id string) error {
	for _, e := range tx.Endpoints() {
		if e.NetworkID != id {
			continue
		}
		d.orphans.forget(e.ID)
		d.joins.forget(e.ID)
		if err := tx.DeleteEndpoint(e.ID); err != nil {
			return err
		}
	}
	return tx.DeleteNetwork(id)
}

func (d *Driver) linkNames() (map[string]bool, error) {
	links, err := d.links.Links()
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(links))
	for _, l := range links {
		names[l.Name] = true
	}
	return names, nil
}

// vethGone says that an endpoint is dead if the host's end of its veth pair is gone:
// it goes together with the container's end, and that goes with the sandbox.
func vethGone(e model.Endpoint, links map[string]bool) bool { return !links[e.HostIface()] }

// lostAddress says that an endpoint is dead whose address, or whose network's subnet,
// Docker has given to another one, if its veth pair is gone or if it is an orphan, or if
// Docker has put the container's end back on the host.
func (d *Driver) lostAddress(e model.Endpoint, links map[string]bool) bool {
	return vethGone(e, links) || d.orphans.has(e.ID) || putBack(e, links)
}

// putBack says that the container's end of an endpoint that has joined is on the host:
// Docker has not taken it yet, or has left without a word that reached mybr.
func putBack(e model.Endpoint, links map[string]bool) bool {
	return e.Sandbox != "" && links[e.PeerIface()]
}

// leftForGood says that an endpoint is dead whose container's end is on the host although
// Docker has had all the time to take it.
func (d *Driver) leftForGood(e model.Endpoint, links map[string]bool) bool {
	return vethGone(e, links) || putBack(e, links) && d.joins.since(e.ID) > d.settle
}

// joins are the times at which endpoints joined; of those that joined before this process
// began, its beginning.
type joins struct {
	begun time.Time
	mu    sync.Mutex
	at    map[string]time.Time
}

func (j *joins) note(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.at[id] = time.Now()
}

func (j *joins) since(id string) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if at, ok := j.at[id]; ok {
		return time.Since(at)
	}
	return time.Since(j.begun)
}

func (j *joins) forget(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.at, id)
}

// orphans are the endpoints that had not joined a sandbox when this process began,
// and have not since. Most are left over from a call that the process before did not
// live to answer: Docker gives such an endpoint up without saying so.
type orphans struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (o *orphans) collect(tx *store.Tx) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ids = make(map[string]bool)
	for _, e := range tx.Endpoints() {
		if e.Sandbox == "" {
			o.ids[e.ID] = true
		}
	}
	return nil
}

func (o *orphans) has(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ids[id]
}

func (o *orphans) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.ids, id)
}
