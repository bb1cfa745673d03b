package store

import (
	"bytes"
	"fmt"
)

// SetPending marks a network whose making has not been answered yet, or takes the mark
// off. Deleting the network does so too; Revert does not put a mark back.
func (tx *Tx) SetPending(id string, pending bool) error {
	meta, key := tx.b.Bucket(bucketMeta.bytes()), append(keyPending.bytes(), id...)
	if pending == (meta.Get(key) != nil) {
		return nil
	}
	var err error
	if pending {
		err = meta.Put(key, []byte{})
	} else {
		err = meta.Delete(key)
	}
	if err != nil {
		return fmt.Errorf("mark network %s: %w", id, err)
	}
	tx.dirty = true
	return nil
}

// Pending returns the IDs of the networks that are marked, sorted.
func (tx *Tx) Pending() (ids []string) {
	c := tx.b.Bucket(bucketMeta.bytes()).Cursor()
	for k, _ := c.Seek(keyPending.bytes()); bytes.HasPrefix(k, keyPending.bytes()); k, _ = c.Next() {
		ids = append(ids, string(k[len(keyPending):]))
	}
	return ids
}
