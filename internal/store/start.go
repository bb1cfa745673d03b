package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Config says where the records are. Info and Warn tell what is found at the start, and
// later what has happened to the files.
type Config struct {
	Path string // the state file
	Copy string // a second file with the same records, on a file system of its own; "": none

	Info, Warn func(format string, args ...any)
}

// Start opens the state file as Open does, and goes on where that is lost: a damaged one is
// set aside, and what was recorded is taken from the copy, or else as far as it can be read
// from the damaged file. A good state file is always what counts.
//
// Nothing is set aside that another process has open, that a newer mybr has written or that
// mybr may not read and write: that is an error, which says what to do. See Lost for what
// comes next where records are missing.
func Start(c Config) (*Store, error) {
	if err := makeDir(c.Path); err != nil {
		return nil, err
	}
	s := &Store{path: c.Path, journal: journal{path: journalPath(c.Path)}, warn: c.Warn}
	s.write.Lock() // what is written back later waits
	defer s.write.Unlock()
	f, err := openWhole(c.Path, synced, checkAll)
	var bad *Damage
	switch {
	case err == nil:
		s.file = f
		err = s.replay()
	case errors.As(err, &bad), errors.Is(err, fs.ErrNotExist):
		if s.file, err = c.goOn(bad); err != nil {
			return nil, err
		}
		err = s.journal.remove() // the copy has what it has
	default:
		return nil, err
	}
	if err == nil {
		err = s.load()
	}
	if err != nil {
		s.closed = true // for what would be written back later
		return nil, errors.Join(fmt.Errorf("open state file %s: %w", c.Path, err), s.file.db.Close())
	}
	if c.Copy != "" {
		s.copy = &duplicate{path: c.Copy, warn: c.Warn}
		s.copy.renew(s.file, time.Now())
		if j := &s.journal; len(j.ahead) > 0 && s.copy.file != nil {
			s.copy.repeat(s.file, j.after, j.ahead, time.Now())
		}
	}
	return s, nil
}

func makeDir(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return refused(path, err)
	}
	return nil
}

// checkAll looks through a state file. Its schema comes first: a newer one may look damaged.
func checkAll(b *bolt.Tx) error {
	if err := checkSchema(b); err != nil {
		return err
	}
	if err := checkPages(b); err != nil {
		return err
	}
	return checkRecords(b)
}

// goOn makes a state file where there is none, or a damaged one.
func (c Config) goOn(bad *Damage) (*file, error) {
	copied, err := c.openCopy()
	if err != nil {
		return nil, err
	}
	if copied != nil {
		defer copied.db.Close() // only read
	}
	if bad == nil {
		return c.replace(nil, copied, records{}, nil)
	}
	aside, err := nameAside(c.Path, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%w; it can't be set aside: %w", bad, err)
	}
	c.Warn("the state file %s is damaged (%v) and was set aside as %s", c.Path, bad.Err, aside)
	left, lost := salvage(aside)
	f, err := c.replace(bad, copied, left, lost)
	if err != nil { // the next start finds it again, and what is left in it
		return nil, errors.Join(err, backInPlace(c.Path, aside))
	}
	return f, nil
}

// openCopy opens the copy; nil if there is none that can be used.
func (c Config) openCopy() (*file, error) {
	if c.Copy == "" {
		return nil, nil
	}
	f, err := openWhole(c.Copy, unsynced, checkAll)
	var bad *Damage
	switch {
	case err == nil:
		return f, nil
	case errors.As(err, &bad):
		aside, err := setAside(c.Copy, time.Now())
		if err != nil {
			return nil, fmt.Errorf("%w; it can't be set aside: %w", bad, err)
		}
		c.Warn("the copy %s of the state file is damaged too (%v) and was set aside as %s", c.Copy, bad.Err, aside)
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	}
	return nil, err
}

// replace makes a state file of the copy, or of what is left in a damaged file.
func (c Config) replace(bad *Damage, copied *file, left records, lost []error) (*file, error) {
	if copied == nil {
		for _, err := range lost {
			if err != nil {
				c.Warn("can't be read in the damaged state file: %v", err)
			}
		}
		if bad == nil {
			c.Info("there is no state file %s: mybr starts without any record", c.Path)
		} else {
			c.Warn("there is no copy of the records: in the damaged state file %d networks, %d endpoints and %d address pools could be read",
				len(left.networks), len(left.endpoints), len(left.pools))
		}
		return newFile(c.Path, nil, func(b *bolt.Tx) error {
			return errors.Join(initialise(b), left.fill(b), b.Bucket(bucketMeta.bytes()).Put(keyLost.bytes(), []byte{}))
		})
	}
	var of uint64
	var at time.Time
	if err := copied.db.View(func(b *bolt.Tx) error { of, at = copyState(b); return nil }); err != nil {
		return nil, refused(c.Copy, err)
	}
	stale := bad != nil && uint64(bad.last) > of
	c.Warn("records were lost with the state file: they are taken from %s, complete up to %s", c.Copy, at.Format(time.RFC3339))
	if stale {
		c.Warn("the copy is older than the damaged state file: up to %d changes are missing in it", uint64(bad.last)-of)
	}
	return newFile(c.Path, copied, func(b *bolt.Tx) error {
		err := b.DeleteBucket(bucketCopy.bytes())
		if stale {
			err = errors.Join(err, b.Bucket(bucketMeta.bytes()).Put(keyLost.bytes(), []byte{}))
		}
		return err
	})
}

// Lost reports whether records may be missing: the state file is new, or what was put into
// it was not all that the lost one had, or it is of another boot. It stays so until SetFound.
func (tx *Tx) Lost() bool { return tx.b.Bucket(bucketMeta.bytes()).Get(keyLost.bytes()) != nil }

// SetFound records that what was lost has been looked for elsewhere.
func (tx *Tx) SetFound() error {
	if !tx.Lost() {
		return nil
	}
	return tx.delete(place{bucketMeta}, keyLost.bytes())
}
