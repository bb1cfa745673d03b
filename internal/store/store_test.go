package store

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/model"
)

// helperEnv makes the test binary open the state file named by it, work on it as
// its argument says, and wait to be killed.
const helperEnv = "MYBR_STORE_TEST_HELPER"

func TestMain(m *testing.M) {
	if path := os.Getenv(helperEnv); path != "" {
		helper(path)
	}
	os.Exit(m.Run())
}

// helper writes networks n0000, n0001, … and prints the number of each when its
// update has returned, until it is killed.
func helper(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		_, err := s.Update(func(tx *Tx) error {
			n := network(fmt.Sprintf("n%04d", i%10000))
			n.MTU = i
			return tx.PutNetwork(n)
		})
		if err != nil {
			fmt.Println("update:", err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

func startHelper(t *testing.T, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "writer")
	cmd.Env = append(os.Environ(), helperEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func update(t testing.TB, s *Store, fn func(*Tx) error) Undo {
	t.Helper()
	u, err := s.Update(fn)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func network(id string) model.Network {
	return model.Network{
		ID: id, Bridge: "br-" + id, Owned: true, BridgeMAC: model.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500, ICC: true, IfacePrefix: "eth",
		HostBinding: netip.MustParseAddr("192.0.2.1"),
		Routes:      []model.Route{{Destination: netip.MustParsePrefix("10.9.0.0/16"), NextHop: netip.MustParseAddr("172.18.0.9")}},
		V4:          model.Subnet{Prefix: netip.MustParsePrefix("172.18.0.0/16"), Gateway: netip.MustParseAddr("172.18.0.1"), Masquerade: true},
	}
}

func endpoint(id string) model.Endpoint {
	return model.Endpoint{
		ID: id, NetworkID: "n1", MAC: model.MAC{2, 1, 1, 1, 1, 1}, V4: netip.MustParsePrefix("172.18.0.2/16"), Sandbox: "/run/docker/netns/1",
		Ports: []model.PortBinding{{Proto: model.TCP, Host: netip.MustParseAddrPort("0.0.0.0:8080"), Container: netip.MustParseAddrPort("172.18.0.2:80"), Count: 1}},
	}
}

// shared is a record as a snapshot has it, and values are records without that.
func shared(e model.Endpoint) *model.Endpoint { return &e }

func values(shared []*model.Endpoint) (all []model.Endpoint) {
	for _, e := range shared {
		all = append(all, *e)
	}
	return all
}

func TestReopenFindsTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "mybr.db")
	s := open(t, path)
	pool := model.Pool{ID: "p", Space: "local", Prefix: netip.MustParsePrefix("10.0.0.0/24"), Last: netip.MustParseAddr("10.0.0.2")}
	lease := model.Lease{Addr: netip.MustParseAddr("10.0.0.2"), Kind: model.LeaseEndpoint, MAC: model.MAC{2, 0, 0, 0, 0, 2}}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutNetwork(network("n2")), tx.PutNetwork(network("n1")), tx.PutNetwork(model.Network{ID: "n3"}),
			tx.PutEndpoint(endpoint("e1")), tx.PutEndpoint(model.Endpoint{ID: "e2"}), tx.PutPool(pool), tx.PutLease("p", lease))
	})
	want := model.Snapshot{
		Networks:  []model.Network{network("n1"), network("n2"), {ID: "n3"}},
		Endpoints: []*model.Endpoint{shared(endpoint("e1")), {ID: "e2"}},
	}
	for _, when := range []string{"before", "after"} {
		if have := s.Snapshot(); !reflect.DeepEqual(have, want) {
			t.Errorf("%s reopening: have %+v, want %+v", when, have, want)
		}
		err := s.View(func(tx *Tx) error {
			p, err := tx.Pool("p")
			if err != nil || p != pool {
				t.Errorf("%s reopening: pool %+v, %v", when, p, err)
			}
			l, err := tx.LeaseByMAC("p", lease.MAC)
			if err != nil || l != lease {
				t.Errorf("%s reopening: lease %+v, %v", when, l, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path)
	}
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: have %v %v, want %o", name, st.Mode(), err, want)
		}
	}
}

// A process that is killed at any moment leaves every update that had returned.
func TestKilledWriterLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	done := -1
	for round := range 5 {
		cmd, out := startHelper(t, path)
		for range 20 * (round + 1) {
			if !out.Scan() {
				t.Fatal("the writer ended by itself")
			}
			if _, err := fmt.Sscan(out.Text(), &done); err != nil {
				t.Fatalf("the writer said %q", out.Text())
			}
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for out.Scan() { // what it had printed before it died
			_, _ = fmt.Sscan(out.Text(), &done)
		}
		_ = cmd.Wait()
		s := open(t, path)
		nets := s.Snapshot().Networks
		if len(nets) < done+1 {
			t.Fatalf("round %d: update %d had returned, but there are %d networks", round, done, len(nets))
		}
		if n := nets[done]; n.MTU != done {
			t.Errorf("round %d: have %+v, want MTU %d", round, n, done)
		}
		checkFile(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func checkFile(t *testing.T, s *Store) {
	t.Helper()
	err := s.file.db.View(func(b *bolt.Tx) error {
		for err := range b.Check() {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	s := open(t, path)
	update(t, s, func(tx *Tx) error {
		return tx.put(place{bucketMeta}, keySchema.bytes(), []byte("6"))
	})
	_ = s.Close()
	before, _ := os.ReadFile(path)
	_, err := Open(path)
	want := "open state file " + path + ": schema 6 was written by a newer mybr; this one knows schema 5: use the newer one, or another state directory"
	if err == nil || err.Error() != want {
		t.Errorf("have %v, want %s", err, want)
	}
	after, _ := os.ReadFile(path)
	if string(before) != string(after) {
		t.Error("the file was changed")
	}
}

func TestForeignFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database\n", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.db")
	db, err := bolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(b *bolt.Tx) error { _, err := b.CreateBucket([]byte("theirs")); return err })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		text:  "open state file " + text + ": the file is damaged (invalid database): put back a copy of it, or move it away",
		other: "open state file " + other + ": the file is damaged (not a state file of mybr): put back a copy of it, or move it away",
	} {
		if s, err := Open(path); err == nil || err.Error() != want {
			t.Errorf("%s: have %v, want %s", path, err, want)
			if s != nil {
				_ = s.Close()
			}
		}
	}
}

func TestSecondOpenNamesTheFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	cmd, out := startHelper(t, path)
	if !out.Scan() || out.Text() != "0" {
		t.Fatalf("the first process: %q", out.Text())
	}
	began := time.Now()
	_, err := Open(path)
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
	want := fmt.Sprintf("state file %s is in use by process %d (%s writer)", path, cmd.Process.Pid, os.Args[0])
	if err == nil || err.Error() != want || !errors.Is(err, model.ErrConflict) {
		t.Errorf("have %v, want %s", err, want)
	}
}

func TestFailedUpdateChangesNothing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mybr.db"))
	update(t, s, func(tx *Tx) error { return errors.Join(tx.PutNetwork(network("n1")), tx.PutEndpoint(endpoint("e1"))) })
	want := dump(t, s)
	spoil := func(tx *Tx) {
		_ = tx.DeleteNetwork("n1")
		_ = tx.PutNetwork(network("n2"))
		e, _ := tx.Endpoint("e1")
		e.Ports[0].Count = 7
		_ = tx.PutEndpoint(e)
		_ = tx.PutPool(model.Pool{ID: "p"})
	}
	if _, err := s.Update(func(tx *Tx) error { spoil(tx); return os.ErrClosed }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("have %v, want the closure's own error", err)
	}
	func() {
		defer func() {
			if recover() != "dropped" {
				t.Error("the panic did not come through")
			}
		}()
		_, _ = s.Update(func(tx *Tx) error { spoil(tx); panic("dropped") })
	}()
	if have := dump(t, s); !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v, want %+v", have, want)
	}
	// The lock is free again.
	update(t, s, func(tx *Tx) error { return tx.PutNetwork(network("n3")) })
}

// What a caller does to values that it was given or has given changes no record.
func TestRecordsAreCopies(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mybr.db"))
	n, e := network("n1"), endpoint("e1")
	update(t, s, func(tx *Tx) error {
		err := errors.Join(tx.PutNetwork(n), tx.PutEndpoint(e))
		n.Routes[0].NextHop, e.Ports[0].Count = netip.Addr{}, 9
		return err
	})
	kept := s.Snapshot()
	err := s.View(func(tx *Tx) error {
		e, _ := tx.Endpoint("e1")
		e.Ports[0].Count = 9
		n, _ := tx.Network("n1")
		n.Routes[0].NextHop = netip.Addr{}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := model.Snapshot{Networks: []model.Network{network("n1")}, Endpoints: []*model.Endpoint{shared(endpoint("e1"))}}
	if have := s.Snapshot(); !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v, want %+v", have, want)
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.DeleteNetwork("n1"), tx.PutEndpoint(endpoint("e0")), tx.PutNetwork(network("n0")))
	})
	if !reflect.DeepEqual(kept, want) {
		t.Errorf("a snapshot that was kept changed to %+v", kept)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mybr.db"))
	addr := netip.MustParseAddr("10.0.0.1")
	update(t, s, func(tx *Tx) error {
		_, e1 := tx.Network("x")
		_, e2 := tx.Endpoint("x")
		_, e3 := tx.Pool("x")
		_, e4 := tx.Lease("x", addr)
		_, e5 := tx.LeaseByMAC("x", model.MAC{1})
		e6 := tx.PutLease("x", model.Lease{Addr: addr})
		_, e7 := tx.Lease("x", netip.Addr{})
		for i, err := range []error{e1, e2, e3, e4, e5, e6, e7} {
			if !errors.Is(err, model.ErrNotFound) {
				t.Errorf("%d: have %v, want not found", i+1, err)
			}
		}
		for _, err := range []error{tx.PutNetwork(model.Network{}), tx.PutEndpoint(model.Endpoint{}), tx.PutPool(model.Pool{}), tx.PutLease("x", model.Lease{})} {
			if !errors.Is(err, model.ErrInvalid) {
				t.Errorf("a record without ID: have %v, want invalid", err)
			}
		}
		for range tx.Leases("x", addr) {
			t.Error("a lease of no pool")
		}
		return errors.Join(tx.DeleteNetwork("x"), tx.DeleteEndpoint("x"), tx.DeletePool("x"), tx.DeleteLease("x", addr))
	})
}

func TestBoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	s := open(t, path)
	boot := func(id string, want bool, endpoints int) {
		t.Helper()
		have, err := s.Boot(id)
		if err != nil || have != want || len(s.Snapshot().Endpoints) != endpoints {
			t.Errorf("boot %s: have %v %v and %d endpoints, want %v and %d", id, have, err, len(s.Snapshot().Endpoints), want, endpoints)
		}
	}
	fill := func() {
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.PutNetwork(network("n1")), tx.PutEndpoint(endpoint("e1")), tx.PutEndpoint(endpoint("e2")))
		})
	}
	boot("a", false, 0) // a new file
	fill()
	boot("a", false, 2) // the process came back
	_ = s.Close()
	s = open(t, path)
	lost := func(want bool) {
		t.Helper()
		_ = s.View(func(tx *Tx) error {
			if have := tx.Lost(); have != want {
				t.Errorf("lost %t, want %t", have, want)
			}
			return nil
		})
	}
	lost(false)
	boot("b", true, 0)
	lost(true) // a file of another boot, of which links may be there all the same
	update(t, s, (*Tx).SetFound)
	boot("b", false, 0)
	lost(false)
	boot("c", true, 0) // nothing to delete, but a boot all the same
	if len(s.Snapshot().Networks) != 1 {
		t.Error("the network went too")
	}
	if _, err := s.Boot(""); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("have %v, want invalid", err)
	}

	s = open(t, filepath.Join(t.TempDir(), "mybr.db"))
	fill()
	boot("a", true, 0) // endpoints of an unknown boot
}

// A list is that of the moment it was asked for, whatever the transaction changes while it
// is read, and costs no copies.
func TestListsWhileRecordsChange(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mybr.db"))
	ids := []string{"a", "b", "c", "d"}
	update(t, s, func(tx *Tx) (err error) {
		for _, id := range ids {
			err = errors.Join(err, tx.PutNetwork(network(id)), tx.PutEndpoint(endpoint(id)))
		}
		return err
	})
	var networks, endpoints []string
	update(t, s, func(tx *Tx) (err error) {
		for _, n := range tx.Networks() {
			networks = append(networks, n.ID)
			err = errors.Join(err, tx.DeleteNetwork(n.ID), tx.PutNetwork(network("z"+n.ID)))
		}
		for _, e := range tx.Endpoints() {
			endpoints = append(endpoints, e.ID)
			err = errors.Join(err, tx.DeleteEndpoint(e.ID))
		}
		return err
	})
	if !slices.Equal(networks, ids) || !slices.Equal(endpoints, ids) {
		t.Errorf("read %v and %v, want %v", networks, endpoints, ids)
	}
	if have := s.Snapshot(); len(have.Networks) != len(ids) || len(have.Endpoints) != 0 {
		t.Errorf("have %+v", have)
	}
	err := s.View(func(tx *Tx) error {
		if n := testing.AllocsPerRun(10, func() { _, _ = tx.Networks(), tx.Endpoints() }); n != 0 {
			t.Errorf("the lists are copied: %v allocations", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
