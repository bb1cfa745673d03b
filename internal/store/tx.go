package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// Tx is one transaction, good until the closure that got it returns. A Put replaces
// a record or makes it; deleting what has no record is no error. A single record that is
// read is a copy; the lists of all are not.
type Tx struct {
	b    *bolt.Tx
	snap decoded // as this transaction sees it
	undo Undo

	changes []change // what there is to commit, in this order
	inverse []change // what undoes them, the last one first
	free    *free    // nil: it is not known, as where nothing is changed
	err     error    // a record that could not be read where no error is returned; View and Update fail with it

	ownNetworks, ownEndpoints bool // snap's lists of them are this transaction's own and may be changed in place
}

func newTx(b *bolt.Tx, snap decoded) *Tx { return &Tx{b: b, snap: snap} }

// Networks returns all networks as of the call, sorted by ID. The list and what it holds
// must not be changed; records may be put and deleted while it is read.
func (tx *Tx) Networks() []model.Network {
	tx.ownNetworks = false // the next change is made to a copy
	return tx.snap.Networks
}

// Network returns the network with that ID, or an error that wraps model.ErrNotFound.
func (tx *Tx) Network(id string) (model.Network, error) {
	i, found := slices.BinarySearchFunc(tx.snap.Networks, id, compareNetwork)
	if !found {
		return model.Network{}, fmt.Errorf("network %s: %w", id, model.ErrNotFound)
	}
	return tx.snap.Networks[i].Clone(), nil
}

// PutNetwork records a network under its ID.
func (tx *Tx) PutNetwork(n model.Network) error {
	before, err := tx.Network(n.ID)
	stored, changed, putErr := put(tx, bucketNetworks, n.ID, n)
	if putErr != nil || !changed {
		return putErr
	}
	if err := tx.raiseSchema(schemaOf(n.From, n.FromSet, n.Policy+n.PolicySet, n.Egress+n.EgressSet, n.Spoof.Over(n.SpoofSet), n.ICCList+n.ICCSet)); err != nil {
		return err
	}
	remember(&tx.undo.networks, n.ID, before, err, &stored)
	tx.copyNetworks()
	tx.snap.Networks = insert(tx.snap.Networks, stored, n.ID, compareNetwork)
	return nil
}

// DeleteNetwork deletes the network's record; its endpoints' stay.
func (tx *Tx) DeleteNetwork(id string) error {
	before, err := tx.Network(id)
	if err != nil {
		return nil
	}
	if err := errors.Join(del(tx, bucketNetworks, id), tx.SetUnanswered(id, false)); err != nil {
		return err
	}
	remember(&tx.undo.networks, id, before, nil, nil)
	tx.copyNetworks()
	tx.snap.Networks = remove(tx.snap.Networks, id, compareNetwork)
	return nil
}

// Endpoints is Networks for endpoints.
func (tx *Tx) Endpoints() []*model.Endpoint {
	tx.ownEndpoints = false
	return tx.snap.Endpoints
}

// Endpoint returns the endpoint with that ID, or an error that wraps model.ErrNotFound.
func (tx *Tx) Endpoint(id string) (model.Endpoint, error) {
	e := tx.endpoint(id)
	if e == nil {
		return model.Endpoint{}, fmt.Errorf("endpoint %s: %w", id, model.ErrNotFound)
	}
	return e.Clone(), nil
}

// endpoint is the shared record; nil: there is none.
func (tx *Tx) endpoint(id string) *model.Endpoint {
	i, found := slices.BinarySearchFunc(tx.snap.Endpoints, id, compareEndpoint)
	if !found {
		return nil
	}
	return tx.snap.Endpoints[i]
}

// PutEndpoint records an endpoint under its ID.
func (tx *Tx) PutEndpoint(e model.Endpoint) error {
	before, err := tx.Endpoint(e.ID)
	stored, changed, putErr := put(tx, bucketEndpoints, e.ID, e)
	if putErr != nil || !changed {
		return putErr
	}
	if err := tx.raiseSchema(schemaOf(e.From, e.FromSet, e.Policy+e.PolicySet, e.Egress+e.EgressSet, e.Spoof.Over(e.SpoofSet), "")); err != nil {
		return err
	}
	remember(&tx.undo.endpoints, e.ID, before, err, &stored)
	if err := tx.noteEnded(before, &stored); err != nil {
		return err
	}
	tx.replaceEndpoint(e.ID, &stored)
	return nil
}

// DeleteEndpoint deletes the endpoint's record.
func (tx *Tx) DeleteEndpoint(id string) error {
	before, err := tx.Endpoint(id)
	if err != nil {
		return nil
	}
	if err := del(tx, bucketEndpoints, id); err != nil {
		return err
	}
	remember(&tx.undo.endpoints, id, before, nil, nil)
	if err := tx.noteEnded(before, nil); err != nil {
		return err
	}
	tx.replaceEndpoint(id, nil)
	return nil
}

// copyNetworks makes the slice of snap this transaction's own, if somebody else reads it.
func (tx *Tx) copyNetworks() {
	if !tx.ownNetworks {
		tx.snap.Networks, tx.ownNetworks = slices.Clone(tx.snap.Networks), true
	}
}

// replaceEndpoint has the lists in memory have a record in place of the one with its ID, if there
// is one; nil: none.
func (tx *Tx) replaceEndpoint(id string, after *model.Endpoint) {
	before := tx.endpoint(id)
	if !tx.ownEndpoints {
		tx.snap.Endpoints, tx.snap.index, tx.ownEndpoints = copyList(tx.snap.Endpoints), tx.snap.index.copied(), true
	}
	tx.snap.index.replace(before, after)
	if after == nil {
		tx.snap.Endpoints = remove(tx.snap.Endpoints, id, compareEndpoint)
	} else {
		tx.snap.Endpoints = insert(tx.snap.Endpoints, after, id, compareEndpoint)
	}
}

// put writes a record unless it is there already, byte for byte. It returns the
// record as it will be read back: a deep copy, and proof that it can be read.
func put[V any](tx *Tx, bucket keyText, id string, v V) (stored V, changed bool, err error) {
	if id == "" {
		return stored, false, fmt.Errorf("%w: a record of %s without an ID", model.ErrInvalid, bucket)
	}
	return putIn(tx, place{bucket}, []byte(id), v)
}

func putIn[V any](tx *Tx, at place, key []byte, v V) (stored V, changed bool, err error) {
	raw, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(raw, &stored)
	}
	if err != nil {
		return stored, false, fmt.Errorf("record %q: %w", key, err)
	}
	if bytes.Equal(at.in(tx.b).Get(key), raw) {
		return stored, false, nil
	}
	if err := tx.put(at, key, raw); err != nil {
		return stored, false, fmt.Errorf("record %q: %w", key, err)
	}
	return stored, true, nil
}

func del(tx *Tx, bucket keyText, id string) error {
	if err := tx.delete(place{bucket}, []byte(id)); err != nil {
		return fmt.Errorf("delete from %s: %s: %w", bucket, id, err)
	}
	return nil
}

// fail keeps an error for View or Update to return.
func (tx *Tx) fail(err error) { tx.err = errors.Join(tx.err, err) }

func compareNetwork(n model.Network, id string) int    { return cmp.Compare(n.ID, id) }
func compareEndpoint(e *model.Endpoint, id string) int { return cmp.Compare(e.ID, id) }

// insert puts v into the sorted list, in place of the one with the same ID.
func insert[V any](list []V, v V, id string, compare func(V, string) int) []V {
	i, found := slices.BinarySearchFunc(list, id, compare)
	if found {
		list[i] = v
		return list
	}
	return slices.Insert(list, i, v)
}

func remove[V any](list []V, id string, compare func(V, string) int) []V {
	if i, found := slices.BinarySearchFunc(list, id, compare); found {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// commit writes what a transaction has changed to disk.
func commit(b *bolt.Tx) error {
	err := fault.Point("store: before the commit")
	if err == nil {
		err = b.Commit()
	}
	fault.Passed("store: after the commit")
	return err
}
