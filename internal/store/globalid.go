package store

import (
	"crypto/rand"
	"fmt"
)

// GlobalID tells the unique local addresses of this host from those of others: the 40
// random bits behind fd00::/8 (RFC 4193, 3.2). The first call draws them, in an Update;
// from then on they are those of the file, so that a host's subnets stay near each other
// whatever restarts.
func (tx *Tx) GlobalID() ([5]byte, error) {
	meta := tx.b.Bucket(bucketMeta.bytes())
	var id [5]byte
	switch have := meta.Get(keyGlobalID.bytes()); len(have) {
	case len(id):
		return [5]byte(have), nil
	case 0:
	default:
		return id, fmt.Errorf("global ID %x is damaged: want %d bytes", have, len(id))
	}
	rand.Read(id[:]) // never fails
	if err := tx.put(place{bucketMeta}, keyGlobalID.bytes(), id[:]); err != nil {
		return id, fmt.Errorf("keep the global ID: %w", err)
	}
	return id, nil
}
