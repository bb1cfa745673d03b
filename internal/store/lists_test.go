package store

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/model"
)

func office(prefixes ...string) model.List {
	l := model.List{Name: "office"}
	for _, p := range prefixes {
		l.Prefixes = append(l.Prefixes, netip.MustParsePrefix(p))
	}
	return l
}

// Lists are there after a start, in the copy and in what is read of a file, and a revert puts
// back what an update has changed.
func TestLists(t *testing.T) {
	dir := t.TempDir()
	path, second := filepath.Join(dir, "mybr.db"), filepath.Join(dir, "copy", "mybr.db")
	quiet := func(string, ...any) {}
	c := Config{Path: path, Copy: second, Info: quiet, Warn: quiet}
	s, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	first, next := office("192.0.2.0/24"), office("192.0.2.0/24", "2001:db8::/32")
	update(t, s, func(tx *Tx) error { return tx.PutList(first) })
	undo, err := s.Update(func(tx *Tx) error { return tx.PutList(next) })
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Snapshot().Lists; !reflect.DeepEqual(got, []model.List{next}) {
		t.Errorf("have %v", got)
	}
	if err := s.Revert(undo); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // the copy is taken
		t.Fatal(err)
	}
	if s, err = Start(c); err != nil {
		t.Fatal(err)
	}
	if got := s.Snapshot().Lists; !reflect.DeepEqual(got, []model.List{first}) {
		t.Errorf("from the copy: %v", got)
	}
	update(t, s, func(tx *Tx) error { return tx.DeleteList("office") })
	if got := s.Snapshot().Lists; len(got) > 0 {
		t.Errorf("deleted, but there is %v", got)
	}
	if _, err := s.Update(func(tx *Tx) error { return tx.PutList(model.List{Name: "a b"}) }); err == nil || !strings.Contains(err.Error(), "a b is no name of a list") {
		t.Errorf("a name with a blank: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file that has never had limits can be used by the mybr before; one that had them can't, for
// it would open what they close. What is read of a damaged one keeps that.
func TestSchemaOfLimits(t *testing.T) {
	limited := model.Network{ID: "n", From: []model.Limit{{From: []string{"192.0.2.0/24"}}}}
	byInterface := []model.Limit{{Via: []string{"eth1"}}}
	ports := office("192.0.2.0/24")
	ports.Egress = []string{"192.0.2.1:443"}
	for name, c := range map[string]struct {
		schema string
		change func(tx *Tx) error
	}{
		"list":                  {"2", func(tx *Tx) error { return tx.PutList(office("192.0.2.0/24")) }},
		"list of ports":         {"3", func(tx *Tx) error { return tx.PutList(ports) }},
		"network":               {"2", func(tx *Tx) error { return tx.PutNetwork(limited) }},
		"network, live":         {"2", func(tx *Tx) error { return tx.PutNetwork(model.Network{ID: "n", FromSet: limited.From}) }},
		"endpoint":              {"2", func(tx *Tx) error { return tx.PutEndpoint(model.Endpoint{ID: "e", From: limited.From}) }},
		"interface":             {"5", func(tx *Tx) error { return tx.PutNetwork(model.Network{ID: "n", From: byInterface, ICCList: "web>db"}) }},
		"interface, live":       {"5", func(tx *Tx) error { return tx.PutEndpoint(model.Endpoint{ID: "e", FromSet: byInterface}) }},
		"policy":                {"5", func(tx *Tx) error { return tx.PutNetwork(model.Network{ID: "n", Policy: "host"}) }},
		"policy, live":          {"5", func(tx *Tx) error { return tx.PutEndpoint(model.Endpoint{ID: "e", PolicySet: "open"}) }},
		"network egress":        {"3", func(tx *Tx) error { return tx.PutNetwork(model.Network{ID: "n", Egress: "none"}) }},
		"network egress, live":  {"3", func(tx *Tx) error { return tx.PutNetwork(model.Network{ID: "n", EgressSet: "none"}) }},
		"endpoint egress":       {"3", func(tx *Tx) error { return tx.PutEndpoint(model.Endpoint{ID: "e", Egress: "none"}) }},
		"endpoint egress, live": {"3", func(tx *Tx) error { return tx.PutEndpoint(model.Endpoint{ID: "e", EgressSet: "none"}) }},
		"icc":                   {"4", func(tx *Tx) error { return tx.PutNetwork(model.Network{ID: "n", ICCList: "web>db", Egress: "none"}) }},
		"icc, live":             {"4", func(tx *Tx) error { return tx.PutNetwork(model.Network{ID: "n", ICCSet: "none"}) }},
		"group":                 {"1", func(tx *Tx) error { return tx.PutEndpoint(model.Endpoint{ID: "e", Group: "web"}) }},
		"senders": {"3", func(tx *Tx) error {
			return tx.PutNetwork(model.Network{ID: "n", Spoof: model.Spoof{Mode: model.SpoofRefuse}})
		}},
		"senders, live": {"3", func(tx *Tx) error {
			return tx.PutEndpoint(model.Endpoint{ID: "e", SpoofSet: model.Spoof{Addresses: "10.0.0.0/8"}})
		}},
		"both": {"3", func(tx *Tx) error {
			return errors.Join(tx.PutNetwork(model.Network{ID: "n", Egress: "none"}), tx.PutList(office("192.0.2.0/24")))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "mybr.db"))
			version := func() (text string) {
				if err := s.file.db.View(func(b *bolt.Tx) error {
					text = string(b.Bucket(bucketMeta.bytes()).Get(keySchema.bytes()))
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				return text
			}
			update(t, s, func(tx *Tx) error { return tx.PutNetwork(model.Network{ID: "other"}) })
			if got := version(); got != "1" {
				t.Errorf("without limits it is of schema %s", got)
			}
			update(t, s, c.change)
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := version(); got != c.schema {
				t.Errorf("with limits it is of schema %s", got)
			}
			var read records
			if err := s.file.db.View(func(b *bolt.Tx) error { read, _ = readRecords(b); return nil }); err != nil {
				t.Fatal(err)
			}
			f, err := newFile(filepath.Join(t.TempDir(), "new.db"), nil, func(b *bolt.Tx) error {
				if err := initialise(b); err != nil {
					return err
				}
				return read.fill(b)
			})
			if err != nil {
				t.Fatal(err)
			}
			again := &Store{file: f}
			if err := again.load(); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(again.Snapshot(), s.Snapshot()) {
				t.Errorf("have %+v, want %+v", again.Snapshot(), s.Snapshot())
			}
			s.file.db, f.db = f.db, s.file.db
			if got := version(); got != c.schema {
				t.Errorf("of what was read it is of schema %s", got)
			}
			s.file.db, f.db = f.db, s.file.db
			if err := f.db.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
