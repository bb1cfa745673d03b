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
	base := path + ".damaged-" + now.UTC().Format("20060102-150405")
	aside = base
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		aside = fmt.Sprintf("%s-%d", base, n)
	}
	return aside, os.Rename(path, aside)
}
