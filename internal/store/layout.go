package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/model"
)

// schema is the newest version of the file's layout that this package knows: five
// top-level buckets, of which
//
//	meta       schema → decimal version, boot → boot id, pending/ID → nothing,
//	           global-id → 5 bytes, turned-on/PATH → nothing, lost → nothing,
//	           ended/ENDPOINT-ID/ADDRESS → nothing, list/NAME → JSON of model.List,
//	           listening/WHAT → decimal port
//	networks   ID → JSON of model.Network
//	endpoints  ID → JSON of model.Endpoint
//	pools      ID → JSON of model.Pool
//	leases     pool ID → bucket with three buckets:
//	             addr  4 or 16 bytes of address → JSON of model.Lease
//	             mac   6 bytes of MAC, then the address → nothing
//	             rest  1 if it was named or 0, 8 bytes of time, then the address → nothing
//
// A copy has a sixth one, copy: of → 8 bytes, the transaction of the state file that was its
// last; at → when that was.
//
// The leases of a pool are in the order of their addresses, because bbolt orders
// keys as bytes.
//
// A file is of schemaLimits once it has had a list, or a record with limits, and of schemaPolicies
// once it has had an egress list, or options about who may send what, and of schemaICC once a
// network has had mybr.icc, and of schemaIngress once a limit has named interfaces, or something had a policy of published ports: an older mybr
// would not read them, and open what they close, or close what they open. Until then it is of
// schemaFirst, and an older mybr can go on with it.
const (
	schema         = schemaIngress
	schemaFirst    = 1
	schemaLimits   = 2
	schemaPolicies = 3
	schemaICC      = 4
	schemaIngress  = 5
)

// keyText is a key or bucket name. bbolt takes bytes, which can't be constants.
type keyText string

func (k keyText) bytes() []byte { return []byte(k) }

const (
	bucketMeta      keyText = "meta"
	bucketNetworks  keyText = "networks"
	bucketEndpoints keyText = "endpoints"
	bucketPools     keyText = "pools"
	bucketLeases    keyText = "leases"
	bucketAddr      keyText = "addr"
	bucketMAC       keyText = "mac"
	bucketRest      keyText = "rest"
	bucketCopy      keyText = "copy" // in a copy alone

	keySchema     keyText = "schema"
	keyBoot       keyText = "boot"
	keyGlobalID   keyText = "global-id"
	keyLost       keyText = "lost"
	keyOf         keyText = "of"
	keyAt         keyText = "at"
	keyUnanswered keyText = "pending/"   // a network's ID follows
	keyTurnedOn   keyText = "turned-on/" // the path of a setting follows
	keyList       keyText = "list/"      // a list's name follows
)

// load reads networks and endpoints into memory, with what the journal alone has.
func (s *Store) load() error {
	b, err := s.file.db.Begin(len(s.journal.ahead) > 0)
	if err != nil {
		return err
	}
	defer b.Rollback() // nothing is written; can't fail before it has ended
	next := state{transaction: b.ID()}
	if b.Writable() {
		next.transaction--
		if err := s.journal.redo(b); err != nil {
			return err
		}
	}
	if next.snap.Networks, err = readAll[model.Network](b, bucketNetworks); err != nil {
		return err
	}
	endpoints, err := readAll[model.Endpoint](b, bucketEndpoints)
	if err != nil {
		return err
	}
	for _, e := range endpoints { // each by itself: one that stays must not keep all others in memory
		next.snap.Endpoints = append(next.snap.Endpoints, &e)
	}
	next.snap.index = newIndex(next.snap.Endpoints)
	if next.snap.Lists, err = readLists(b); err != nil {
		return err
	}
	s.now, s.next = next, nil
	return nil
}

func checkSchema(b *bolt.Tx) error {
	meta, err := place{bucketMeta}.checked(b)
	if err != nil {
		return &Damage{Err: err}
	} else if meta == nil {
		return &Damage{Err: errors.New("not a state file of mybr")}
	}
	text := string(meta.Get(keySchema.bytes()))
	version, err := strconv.Atoi(text)
	if err != nil {
		return &Damage{Err: fmt.Errorf("not a state file of mybr: schema %q", text)}
	}
	if version > schema {
		return fmt.Errorf("schema %d was written by a newer mybr; this one knows schema %d: use the newer one, or another state directory", version, schema)
	}
	return nil
}

func initialise(b *bolt.Tx) error {
	for _, name := range []keyText{bucketMeta, bucketNetworks, bucketEndpoints, bucketPools, bucketLeases} {
		if _, err := b.CreateBucket(name.bytes()); err != nil {
			return err
		}
	}
	return b.Bucket(bucketMeta.bytes()).Put(keySchema.bytes(), []byte(strconv.Itoa(schemaFirst)))
}

// readAll decodes every record of a bucket, in the order of the keys.
func readAll[V any](b *bolt.Tx, bucket keyText) ([]V, error) {
	var all []V
	root := b.Bucket(bucket.bytes())
	if root == nil {
		return nil, fmt.Errorf("not a state file of mybr: no %s", bucket)
	}
	err := root.ForEach(func(k, raw []byte) error {
		var v V
		if err := json.Unmarshal(raw, &v); err != nil {
			return fmt.Errorf("%s %s: %w", bucket, k, err)
		}
		all = append(all, v)
		return nil
	})
	return all, err
}
