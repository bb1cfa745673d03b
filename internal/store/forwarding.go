package store

import (
	"bytes"
	"errors"
	"fmt"
)

// SetTurnedOn records that mybr has turned on a setting of the host, named by its path
// below /proc/sys, that was off. The record lasts until the host is booted, as does what
// it is about.
func (tx *Tx) SetTurnedOn(path string) error {
	if err := tx.put(place{bucketMeta}, append(keyTurnedOn.bytes(), path...), []byte{}); err != nil {
		return fmt.Errorf("record that %s was turned on: %w", path, err)
	}
	return nil
}

// TurnedOn reports whether SetTurnedOn has recorded the setting since the host was booted.
func (tx *Tx) TurnedOn(path string) bool {
	return tx.b.Bucket(bucketMeta.bytes()).Get(append(keyTurnedOn.bytes(), path...)) != nil
}

// deleteNotes deletes the records of SetTurnedOn, and those of Ended.
func (tx *Tx) deleteNotes() error {
	meta := tx.b.Bucket(bucketMeta.bytes())
	var keys [][]byte
	c := meta.Cursor()
	for _, prefix := range []keyText{keyTurnedOn, keyEnded} {
		for k, _ := c.Seek(prefix.bytes()); bytes.HasPrefix(k, prefix.bytes()); k, _ = c.Next() {
			keys = append(keys, bytes.Clone(k))
		}
	}
	var errs []error
	for _, k := range keys {
		errs = append(errs, tx.delete(place{bucketMeta}, k))
	}
	return errors.Join(errs...)
}
