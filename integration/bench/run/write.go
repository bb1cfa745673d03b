package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mybr/mybr/integration/bench"
)

// write writes the document and its plots from the records. A plot that has no values any
// more goes.
func write(records, dir string) error {
	all, err := bench.Read(records)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("nothing was measured, so there is no document to write")
	}
	files := bench.Files(all)
	for _, p := range bench.Pictures() {
		if _, drawn := files[p.File]; drawn {
			continue
		}
		if err := os.Remove(filepath.Join(dir, p.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
