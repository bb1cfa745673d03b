package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
)

// lockWait is how long a file's lock is waited for. bbolt tries again every 50 ms, so this
// is two attempts.
const lockWait = 100 * time.Millisecond

// file is an open bbolt file.
type file struct {
	path string
	db   *bolt.DB
	fd   *os.File // bbolt's own
}

// How a file is opened.
var (
	synced   = bolt.Options{}
	unsynced = bolt.Options{NoSync: true, NoGrowSync: true} // a commit outlives the process, not the kernel
	readOnly = bolt.Options{ReadOnly: true}
)

// openFile opens a file, or makes it (mode 0600). An error wraps a *Damage if what is in
// the file is the reason.
func openFile(path string, options bolt.Options) (*file, error) {
	f := &file{path: path}
	options.Timeout = lockWait
	options.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		fd, err := os.OpenFile(name, flag, mode)
		if f.fd == nil { // bbolt opens what it copies to here, too
			f.fd = fd
		}
		return fd, err
	}
	err := undamaged(func() (err error) {
		f.db, err = bolt.Open(path, 0o600, &options)
		return err
	})
	var bad *Damage
	switch {
	case err == nil:
		return f, nil
	case errors.As(err, &bad) && f.fd != nil:
		bad.Path = path
		return nil, errors.Join(err, f.abandon())
	case errors.Is(err, berrors.ErrTimeout):
		return nil, &inUse{path: path, by: holder(path)}
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, &Damage{Path: path, Err: err}
	}
	return nil, refused(path, err)
}

// openWhole opens a file that is there and looks through all of it. What is missing wraps
// fs.ErrNotExist, what is damaged a *Damage. A newer schema is neither.
func openWhole(path string, options bolt.Options, check func(*bolt.Tx) error) (*file, error) {
	if err := readable(path); err != nil {
		return nil, err
	}
	f, err := openFile(path, options)
	if err != nil {
		return nil, err
	}
	last := 0 // transaction that the file says it has
	err = undamaged(func() error {
		return f.db.View(func(b *bolt.Tx) error {
			last = b.ID()
			info, err := f.fd.Stat()
			if err != nil {
				return err
			}
			if info.Size() < b.Size() {
				return &Damage{Err: fmt.Errorf("it is cut off: %d bytes of %d are left", info.Size(), b.Size())}
			}
			return check(b)
		})
	})
	var bad *Damage
	if errors.As(err, &bad) {
		bad.Path, bad.last = path, last
		return nil, errors.Join(err, f.abandon())
	} else if err != nil {
		return nil, errors.Join(refused(path, err), f.db.Close())
	}
	return f, nil
}

// readable reads a file from end to end: what the disk can't read would later be a fault
// (SIGBUS, mmap(2)) in any goroutine.
func readable(path string) error {
	fd, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return refused(path, err)
	}
	defer fd.Close() // only read
	n, err := io.Copy(io.Discard, fd)
	switch {
	case err != nil && errors.Is(err, syscall.EIO):
		return &Damage{Path: path, Err: err}
	case err != nil:
		return refused(path, err)
	case n == 0:
		return &Damage{Path: path, Err: errors.New("it is empty")}
	}
	return nil
}

// abandon gives up a file that bbolt may not be able to close any more. What it has mapped
// stays, and with that the lock, if it isn't given up first.
func (f *file) abandon() error {
	return errors.Join(unix.Flock(int(f.fd.Fd()), unix.LOCK_UN), f.fd.Close())
}

// undamaged makes an error of what bbolt says by a panic or a fault about a file that a
// power cut or a disk has damaged. After that the file can't be closed.
func undamaged(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // the file may be shorter than its pages say
	defer func() {
		if v := recover(); v != nil {
			err = &Damage{Err: fmt.Errorf("%v", v)}
		}
	}()
	return fn()
}

// checkedSize is up to which size, in bytes, a file's pages are checked at the start. It is
// a second's work, and room for a million addresses.
const checkedSize = 512 << 20

// checkPages has bbolt look for pages that are lost, used twice or out of order. All that
// is in them is read first: bbolt's check runs in a goroutine of its own, where a fault
// would end the process.
func checkPages(b *bolt.Tx) (err error) {
	if b.Size() > checkedSize {
		return nil
	}
	if err := errors.Join(checkLengths(b), touch(b.Cursor().Bucket(), 0)); err != nil {
		return &Damage{Err: err}
	}
	for found := range b.Check() { // to the end: the check runs on until it is read
		if err == nil {
			err = &Damage{Err: found}
		}
	}
	return err
}

// checkLengths looks at how many pages each page says to go on for: bbolt's check notes each
// of them, and there may be four billion.
func checkLengths(b *bolt.Tx) error {
	end := int(b.Size()) / b.DB().Info().PageSize
	for id := 0; id < end; id++ {
		p, err := b.Page(id)
		switch {
		case err != nil:
			return err
		case p.Type == "free":
			continue
		case p.OverflowCount < 0 || p.OverflowCount >= end-id:
			return fmt.Errorf("page %d goes on for %d pages, and there are %d", id, p.OverflowCount, end-id-1)
		}
		id += p.OverflowCount
	}
	return nil
}

// touch reads every byte of a bucket and of those in it: three levels are the most there are.
func touch(b *bolt.Bucket, depth int) error {
	if depth > 3 {
		return errors.New("a bucket is within itself")
	}
	if err := checkTree(b); err != nil {
		return err
	}
	return b.ForEach(func(k, v []byte) error {
		crc32.ChecksumIEEE(k)
		if v != nil {
			crc32.ChecksumIEEE(v)
			return nil
		}
		inner := b.Bucket(k)
		if inner == nil {
			return fmt.Errorf("bucket %q is none", k)
		}
		return touch(inner, depth+1)
	})
}

// refused says what to do about a file that can't be used as it is, although nothing
// of it is damaged.
func refused(path string, err error) error {
	hint := ""
	switch dir := filepath.Dir(path); {
	case errors.Is(err, fs.ErrPermission):
		hint = fmt.Sprintf(": mybr must be able to read and write it and to make files in %s (see ls -ld, lsattr)", dir)
	case errors.Is(err, syscall.EROFS):
		hint = fmt.Sprintf(": the file system of %s is read-only (see dmesg for why): mount it read-write", dir)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint = fmt.Sprintf(": free space in %s (see df)", dir)
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		hint = ": move away what is in its place"
	}
	return fmt.Errorf("open state file %s: %w%s", path, err, hint)
}

// newFile makes a file, beside its place first, so that there is the whole of it or
// nothing. fill writes what is in it; base is the file that it begins as, nil for an
// empty one.
func newFile(path string, base *file, fill func(*bolt.Tx) error) (*file, error) {
	beside := path + ".new"
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, refused(path, err)
	}
	if base != nil {
		if err := base.copyTo(beside); err != nil {
			return nil, refused(path, err)
		}
	}
	f, err := openFile(beside, synced)
	if err != nil {
		return nil, err
	}
	if err = f.db.Update(fill); err == nil {
		err = f.fd.Sync() // what was copied, too
	}
	if err == nil {
		err = fault.Point("store: before a new state file is in place")
	}
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err == nil {
		fault.Passed("store: after making the file")
		err = syncDirectories(path)
	}
	if err != nil {
		return nil, errors.Join(refused(path, err), f.db.Close())
	}
	f.path = path
	return f, nil
}

// copyTo copies a file that nobody writes to meanwhile. bbolt's own way of doing that hides
// why it fails.
func (f *file) copyTo(path string) error {
	return f.db.View(func(b *bolt.Tx) error {
		to, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, io.NewSectionReader(f.fd, 0, b.Size()))
		return errors.Join(err, to.Close())
	})
}

// inPlace reports whether the file is what its path leads to.
func (f *file) inPlace() (bool, error) {
	mine, err := f.fd.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}
