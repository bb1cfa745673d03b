package store

import (
	"path/filepath"
	"testing"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// Who reads does not wait for a commit that is being written, and sees what was before it.
func TestReadsDoNotWaitForACommit(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	begun, finish := make(chan struct{}), make(chan struct{})
	defer fault.Set(func(point string) error {
		if point == "store: before the commit" {
			close(begun)
			<-finish
		}
		return nil
	})()
	written := make(chan error, 1)
	go func() {
		_, err := s.Update(func(tx *Tx) error { return tx.PutNetwork(model.Network{ID: "n"}) })
		written <- err
	}()
	<-begun
	if n := len(s.Snapshot().Networks); n != 0 {
		t.Errorf("%d networks are shown", n)
	}
	err = s.View(func(tx *Tx) error {
		if n := len(tx.Networks()) + len(tx.Pools()); n != 0 {
			t.Errorf("%d records are read", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	close(finish)
	if err := <-written; err != nil || len(s.Snapshot().Networks) != 1 {
		t.Errorf("%v, %v", err, s.Snapshot())
	}
}
