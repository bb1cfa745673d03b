package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
)

// The layout of a page (bbolt's internal/common/page.go), in the byte order of the host: the
// page's number, 8 bytes; its kind, 2; how many elements it has, 2; how many pages it goes on
// for, 4. An element of a branch ends with the number of the page that it leads to.
const (
	pageHeader    = 16
	branchElement = 16
	branchKind    = 1
)

// checkTree looks whether the pages of a bucket are a tree. Where a page is not the one that
// was written last, it may lead back up, and bbolt goes down without end: no recover helps
// against the memory that this takes.
func checkTree(bucket *bolt.Bucket) error {
	root := uint64(bucket.Root())
	if root == 0 { // it is within the page of another one
		return nil
	}
	fd, err := os.Open(bucket.Tx().DB().Path())
	if err != nil {
		return nil // that is no damage of the file, which is open already
	}
	defer fd.Close() // only read
	seen := map[uint64]bool{}
	for next := []uint64{root}; len(next) > 0; {
		id := next[len(next)-1]
		next = next[:len(next)-1]
		if seen[id] {
			return fmt.Errorf("page %d is twice in a bucket", id)
		}
		seen[id] = true
		below, err := children(fd, int64(bucket.Tx().DB().Info().PageSize), id)
		if err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		next = append(next, below...)
	}
	return nil
}

// children returns the pages that a page leads to; none if it is no branch.
func children(r io.ReaderAt, pageSize int64, id uint64) (all []uint64, err error) {
	head := make([]byte, pageHeader)
	if _, err := r.ReadAt(head, int64(id)*pageSize); err != nil {
		return nil, err
	}
	if binary.NativeEndian.Uint16(head[8:]) != branchKind {
		return nil, nil
	}
	elements := make([]byte, branchElement*int(binary.NativeEndian.Uint16(head[10:])))
	n, err := r.ReadAt(elements, int64(id)*pageSize+pageHeader)
	if err != nil && !errors.Is(err, io.EOF) { // that it is cut off is found elsewhere
		return nil, err
	}
	for e := elements[:n]; len(e) >= branchElement; e = e[branchElement:] {
		all = append(all, binary.NativeEndian.Uint64(e[8:]))
	}
	return all, nil
}

// checked returns the bucket, nil if there is none, when it and the one that it is in can be
// gone through. Those further out must have been looked at before.
func (p place) checked(b *bolt.Tx) (bucket *bolt.Bucket, err error) {
	bucket = b.Cursor().Bucket() // the root of all
	for i, name := range p {
		if i == len(p)-1 {
			err = checkTree(bucket)
		}
		if err == nil {
			bucket = bucket.Bucket(name.bytes())
		}
		if err != nil || bucket == nil {
			return nil, err
		}
	}
	return bucket, checkTree(bucket)
}
