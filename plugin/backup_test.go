package plugin

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// A backup that can't be read whole is an error that says why, and nothing of it is written.
func TestBackupFails(t *testing.T) {
	s := serve(t, nil)
	s.socket = filepath.Join(t.TempDir(), "mybr.sock")
	a := testAdmin(0)
	fails := true
	a.backup = func(w io.Writer) error {
		_, err := w.Write(bytes.Repeat([]byte("x"), 1<<20))
		if fails {
			err = errors.Join(err, errors.New("read state file: input/output error"))
		}
		return err
	}
	s.startWithin(defaultLimits(), a.handler())
	client := Client{RunDir: filepath.Dir(s.socket)}
	var out bytes.Buffer
	if err := client.Backup(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "input/output error") || out.Len() > 0 {
		t.Errorf("%v, and %d bytes", err, out.Len())
	}
	fails = false
	if err := client.Backup(t.Context(), &out); err != nil || out.Len() != 1<<20 {
		t.Errorf("%v, and %d bytes", err, out.Len())
	}
}
