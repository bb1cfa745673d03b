package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A directory that can't be synced is no error, and one that is not there is.
func TestSyncDirectories(t *testing.T) {
	if err := syncDirectories("/proc/self/mybr.db"); err != nil { // EINVAL
		t.Error(err)
	}
	if err := syncDirectories(filepath.Join(t.TempDir(), "gone", "mybr.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("have %v", err)
	}
}

// That the directory above can't be read does not keep mybr from its first start.
func TestStartBelowAClosedDirectory(t *testing.T) {
	dir := t.TempDir()
	openUp(t, dir)
	above := filepath.Join(dir, "above")
	if err := os.Mkdir(above, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(above, 0o333); err != nil { // to be searched and written to, not read
		t.Fatal(err)
	}
	asNobody(t, func() {
		s, err := Open(filepath.Join(above, "state", "mybr.db"))
		if err != nil {
			t.Error(err)
		} else if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(above, 0o700); err != nil {
		t.Fatal(err)
	}
}
