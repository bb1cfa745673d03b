package store

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// keyEnded is the key of an address that an endpoint had: the endpoint's ID and the
// address follow, with a slash between them.
const keyEnded keyText = "ended/"

// noteEnded records, with the change itself, which addresses an endpoint has no longer: what
// the kernel knows of them is to be forgotten, by the next process if this one ends before.
// after is nil if the endpoint is deleted.
func (tx *Tx) noteEnded(before model.Endpoint, after *model.Endpoint) error {
	for _, f := range model.Families() {
		a := before.Address(f).Addr()
		if !a.IsValid() || after != nil && after.Address(f).Addr() == a {
			continue
		}
		key := string(keyEnded) + before.ID + "/" + a.String()
		if err := tx.put(place{bucketMeta}, []byte(key), []byte{}); err != nil {
			return fmt.Errorf("note address %s of endpoint %s: %w", a, before.ID, err)
		}
	}
	return nil
}

// Ended returns the addresses that endpoints had and that ForgetEnded has not been told of:
// endpoints with an ID and one address each, sorted by ID. Outside of an update those of the last
// moment may be missing, which are in the journal alone (writeBack).
func (tx *Tx) Ended() (all []model.Endpoint, err error) {
	c := tx.b.Bucket(bucketMeta.bytes()).Cursor()
	for k, _ := c.Seek(keyEnded.bytes()); bytes.HasPrefix(k, keyEnded.bytes()); k, _ = c.Next() {
		note := string(k[len(keyEnded):])
		slash := strings.LastIndexByte(note, '/') // an address has none, whatever the ID is
		id := note[:max(slash, 0)]
		a, err := netip.ParseAddr(note[slash+1:])
		if err != nil {
			return nil, fmt.Errorf("address of the ended endpoint %s: %w", id, err)
		}
		e := model.Endpoint{ID: id}
		*e.Address(model.FamilyOf(a)) = netip.PrefixFrom(a, a.BitLen())
		all = append(all, e)
	}
	return all, nil
}

// ForgetEnded deletes the notes of some of the addresses that Ended has returned. Those that
// are in use again are no matter.
func (tx *Tx) ForgetEnded(ended []model.Endpoint) error {
	var errs []error
	for _, e := range ended {
		for _, f := range model.Families() {
			if a := e.Address(f).Addr(); a.IsValid() {
				errs = append(errs, tx.delete(place{bucketMeta}, []byte(string(keyEnded)+e.ID+"/"+a.String())))
			}
		}
	}
	return errors.Join(errs...)
}
