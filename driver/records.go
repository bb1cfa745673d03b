package driver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mybr/mybr/internal/model"
)

// commit records change and makes the host match. If that fails, or panics, or the client
// has hung up meanwhile, the records are reverted, and the host with them. subject is the
// link that the change is about.
func (d *Driver) commit(ctx context.Context, subject string, change func(Tx) error) error {
	return d.commitAll(ctx, []string{subject}, change)
}

// commitAll is commit for a change that is about several links, or none.
func (d *Driver) commitAll(ctx context.Context, subjects []string, change func(Tx) error) error {
	if err := hungUp(ctx); err != nil {
		return err // while the call waited for its turn
	}
	undo, err := d.store.Update(change)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			d.revert(ctx, subjects, undo)
		}
	}()
	if err := d.sync.Sync(context.WithoutCancel(ctx), subjects...); err != nil {
		return err
	}
	if err := hungUp(ctx); err != nil {
		return err
	}
	done = true
	return nil
}

// hungUp is an error once the client has gone.
func hungUp(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("the client hung up before the answer, so nothing was changed: %w", context.Cause(ctx))
}

// revert puts the records back as they were before a call that is refused, and the host. If
// they can't be written, that is done later: a revert leaves alone what has changed since.
func (d *Driver) revert(ctx context.Context, subjects []string, undo func() error) {
	what := strings.Join(subjects, ", ")
	if err := undo(); err != nil {
		d.warn("revert the records of %s: %v", what, err)
		d.later.add("revert "+what, func(ctx context.Context) error {
			d.revert(ctx, subjects, undo)
			return nil // it has warned
		})
		return
	}
	if err := d.sync.Sync(context.WithoutCancel(ctx), subjects...); err != nil {
		d.warn("make %s as it was: %v", what, err)
	}
}

// remove records change, which takes something away. That the host doesn't follow at
// once is a warning; the next pass tries again.
func (d *Driver) remove(ctx context.Context, subject string, change func(Tx) error) error {
	if _, err := d.store.Update(change); err != nil {
		return err
	}
	if err := d.sync.Sync(context.WithoutCancel(ctx), subject); err != nil {
		d.warn("remove what %s needs no longer: %v", subject, err)
	}
	return nil
}

// network returns a network's record.
func (d *Driver) network(id string) (n model.Network, err error) {
	err = d.store.View(func(tx Tx) error {
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
	err = d.store.View(func(tx Tx) error {
		e, err = tx.Endpoint(id)
		return err
	})
	if errors.Is(err, model.ErrNotFound) || err == nil && e.NetworkID != networkID {
		err = model.NotFound("the endpoint is not known to mybr on network %s", short(networkID))
	}
	return n, e, err
}

// lockedEndpoint is endpoint with the lock of the endpoint's sandbox, and of those with
// other keys, held until unlock is called; unlock is never nil.
func (d *Driver) lockedEndpoint(networkID, id string, others ...string) (n model.Network, e model.Endpoint, unlock func(), err error) {
	if n, e, err = d.endpoint(networkID, id); err != nil {
		return n, e, func() {}, err
	}
	unlock = d.sandboxes.lockAll(append(others, e.PortOwner())...)
	n, e, err = d.endpoint(networkID, id) // it may have lost an address while the lock was awaited
	return n, e, unlock, err
}

// endpointsThat returns the endpoints that a condition holds for, sorted by ID. They must
// not be changed. It goes through all endpoints of the host, which no call of Docker's about one
// endpoint may do, unless something has gone wrong.
func (d *Driver) endpointsThat(hold func(*model.Endpoint) bool) (all []model.Endpoint, err error) {
	err = d.store.View(func(tx Tx) error {
		for _, e := range tx.Endpoints() {
			if hold(e) {
				all = append(all, *e)
			}
		}
		return nil
	})
	return all, err
}

// changeEndpoint changes an endpoint's record.
func changeEndpoint(tx Tx, id string, change func(*model.Endpoint)) error {
	e, err := tx.Endpoint(id)
	if err != nil {
		return err
	}
	change(&e)
	return tx.PutEndpoint(e)
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

// How long texts may be that are recorded as Docker has them, in bytes: a sandbox's key is a
// path (PATH_MAX in limits.h), and an address space has the name that its IPAM driver gives it.
const (
	maxSandbox = 4096
	maxSpace   = 255
)

// checkText refuses a text that is too long to be recorded, or can't be printed as it is.
func checkText(noun, s string, most int) error {
	if len(s) > most {
		return model.Invalid("the %s has %d bytes: want at most %d", noun, len(s), most)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return model.Invalid("the %s %q can't be printed as it is: want printable characters", noun, shorten(s))
	}
	return nil
}
