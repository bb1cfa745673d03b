package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Damage says that a file is no state file, or not a whole one.
type Damage struct {
	Path string
	Err  error

	last int // the transaction that the file says was its last; 0: it does not say
}

func (d *Damage) Error() string {
	return fmt.Sprintf("open state file %s: the file is damaged (%v): put back a copy of it, or move it away", d.Path, d.Err)
}

func (d *Damage) Unwrap() error { return d.Err }

// setAside renames a damaged file so that its name says when that was, and returns the
// name. No file is replaced, and none is ever deleted.
func setAside(path string, now time.Time) (aside string, err error) {
	if aside, err = asideName(path, now); err != nil {
		return "", err
	}
	return aside, os.Rename(path, aside)
}

// nameAside gives a damaged file the name of setAside, and leaves it its own until another
// file takes that: if the process ends before, the next one finds the file, and what is left
// in it. Where a file can't have two names, it is renamed.
func nameAside(path string, now time.Time) (aside string, err error) {
	if aside, err = asideName(path, now); err != nil {
		return "", err
	}
	if os.Link(path, aside) == nil {
		return aside, nil
	}
	return aside, os.Rename(path, aside)
}

// backInPlace undoes nameAside.
func backInPlace(path, aside string) error {
	if err := os.Rename(aside, path); err != nil {
		return err
	}
	return removeFile(aside) // there still, if both were names of one file: rename(2) does nothing then
}

func asideName(path string, now time.Time) (aside string, err error) {
	base := path + ".damaged-" + now.In(time.UTC).Format("20060102-150405")
	aside = base
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			return aside, nil
		} else if err != nil {
			return "", err
		}
		aside = fmt.Sprintf("%s-%d", base, n)
	}
}
