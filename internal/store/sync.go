package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// syncDirectories has the name of a new file outlast a power cut, and that of its directory:
// to sync the file does not see to that (fsync(2)). Some file systems can't do that for
// directories, as those of FUSE, and the one above the state's may be closed to mybr: that is
// no reason to do without a state file.
func syncDirectories(path string) error {
	var errs []error
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		f, err := os.Open(dir)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) && !errors.Is(err, fs.ErrPermission) {
			errs = append(errs, fmt.Errorf("sync directory %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}
