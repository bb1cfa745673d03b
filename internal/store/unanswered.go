package store

import (
	"bytes"
	"fmt"
)

// SetUnanswered marks a network whose CreateNetwork has not been answered yet, or takes
// the mark off. Deleting the network does so too; Revert does not put a mark back.
func (tx *Tx) SetUnanswered(id string, unanswered bool) error {
	meta, key := tx.b.Bucket(bucketMeta.bytes()), append(keyUnanswered.bytes(), id...)
	if unanswered == (meta.Get(key) != nil) {
		return nil
	}
	var err error
	if unanswered {
		err = tx.put(place{bucketMeta}, key, []byte{})
	} else {
		err = tx.delete(place{bucketMeta}, key)
	}
	if err != nil {
		return fmt.Errorf("mark network %s: %w", id, err)
	}
	return nil
}

// Unanswered returns the IDs of the networks that are marked, sorted.
func (tx *Tx) Unanswered() (ids []string) {
	c := tx.b.Bucket(bucketMeta.bytes()).Cursor()
	for k, _ := c.Seek(keyUnanswered.bytes()); bytes.HasPrefix(k, keyUnanswered.bytes()); k, _ = c.Next() {
		ids = append(ids, string(k[len(keyUnanswered):]))
	}
	return ids
}
