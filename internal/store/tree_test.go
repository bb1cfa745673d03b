package store

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/model"
)

// A page that was not written when its parent was may be an older one, which leads back up.
// To go through the file must come to an end all the same, and what is elsewhere is found.
func TestPagesThatLeadBackUp(t *testing.T) {
	for _, at := range []place{{bucketEndpoints}, {bucketLeases, "p", bucketAddr}} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			dir := memory(t)
			s, _ := start(t, dir)
			update(t, s, someRecords)
			update(t, s, func(tx *Tx) error {
				p, err := tx.Pool("p")
				for i, a := 0, p.Prefix.Addr(); err == nil && i < 200; i++ {
					a = a.Next()
					err = tx.PutLease("p", model.Lease{Addr: a, Kind: model.LeaseEndpoint})
					if err == nil {
						err = tx.PutEndpoint(model.Endpoint{ID: fmt.Sprintf("e%03d", i), NetworkID: "n1"})
					}
				}
				return err
			})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			root := int64(0)
			edit(t, s.path, func(b *bolt.Tx) error { root = int64(at.in(b).Root()); return nil })
			rewriteFile(t, s.path, func(text []byte) []byte { // the first child is the page itself
				page := text[root*int64(os.Getpagesize()):]
				if page[8] != branchKind {
					t.Fatalf("page %d is no branch", root)
				}
				binary.NativeEndian.PutUint64(page[pageHeader+8:], uint64(root))
				return text
			})
			if err := os.Remove(s.copy.path); err != nil {
				t.Fatal(err)
			}
			s, warned := start(t, dir)
			if have := s.Snapshot(); len(have.Networks) != 2 {
				t.Errorf("have %d networks, want both", len(have.Networks))
			}
			if text := strings.Join(*warned, "\n"); !strings.Contains(text, fmt.Sprintf("page %d is twice in a bucket", root)) {
				t.Errorf("warned of %q", text)
			}
		})
	}
}
