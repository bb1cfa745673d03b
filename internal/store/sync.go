package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// syncDirectories has the name of a new file outlast a power cut, and that of its directory:
// to sync the file does not see to that (fsync(2)).
func syncDirectories(path string) error {
	var errs []error
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		f, err := os.Open(dir)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sync directory %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}
