package plugin

import (
	"errors"
	"io"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/store"
)

// A backup of before the last boot, put back while containers run, does not take their links:
// the endpoints of then are forgotten, and those that are there are found by their links.
func TestBackupOfAnotherBoot(t *testing.T) {
	ns := nettest.New(t)
	log := logrus.New()
	log.SetOutput(io.Discard)
	want := manyPorts(1)
	watched(t, ns, want, log) // makes the links

	c := Config{StateDir: t.TempDir(), RunDir: t.TempDir(), Log: log}
	backup, err := store.Open(filepath.Join(c.StateDir, "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	_, errBoot := backup.Boot("another")
	_, err = backup.Update(func(tx *store.Tx) error { return tx.PutNetwork(want.Networks[0]) })
	if err := errors.Join(err, errBoot, backup.Close()); err != nil {
		t.Fatal(err)
	}
	records, err := openRecords(c)
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	if have := records.Snapshot(); !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v\nwant %+v", have, want)
	}
}
