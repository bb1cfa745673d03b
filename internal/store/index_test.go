package store

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// drawShared is an endpoint that has much in common with others.
func drawShared(t *rapid.T) model.Endpoint {
	e := model.Endpoint{
		// some have interfaces of one name
		ID:        rapid.SampledFrom([]string{"a", "b", "c", "0123456789", "0123456789a", "0123456789b", "012345678"}).Draw(t, "id"),
		NetworkID: rapid.SampledFrom([]string{"n", "m"}).Draw(t, "network"),
		Sandbox:   rapid.SampledFrom([]string{"", "/a", "/b", "a"}).Draw(t, "sandbox"), // the last is an ID, too
		Ports:     make([]model.PortBinding, rapid.IntRange(0, 2).Draw(t, "ports")),
	}
	if n := rapid.IntRange(0, 3).Draw(t, "v4"); n > 0 {
		e.V4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), rapid.IntRange(16, 17).Draw(t, "bits"))
	}
	if n := rapid.IntRange(0, 2).Draw(t, "v6"); n > 0 {
		e.V6 = netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", n))
	}
	return e
}

// drawChange puts an endpoint, or deletes one.
func drawChange(t *rapid.T, tx *Tx) error {
	e := drawShared(t)
	if rapid.IntRange(0, 3).Draw(t, "deletes") == 0 {
		return tx.DeleteEndpoint(e.ID)
	}
	return tx.PutEndpoint(e)
}

// checkEndpoints compares what the index answers with what a look at all of them finds.
func checkEndpoints(t *rapid.T, tx *Tx) {
	all := slices.Clone(tx.Endpoints())
	check := func(what string, have []*model.Endpoint, is func(*model.Endpoint) bool) {
		var want []*model.Endpoint
		for _, e := range all {
			if is(e) {
				want = append(want, e)
			}
		}
		if !slices.Equal(have, want) { // the same memory
			t.Fatalf("%s: have %v, want %v", what, values(have), values(want))
		}
	}
	for _, owner := range []string{"", "/a", "/b", "a", "b", "none"} {
		check("owner "+owner, tx.EndpointsOf(owner), func(e *model.Endpoint) bool { return e.PortOwner() == owner })
	}
	for _, network := range []string{"n", "m", "none"} {
		for _, text := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2", "192.0.2.1"} {
			a := netip.MustParseAddr(text)
			check(text, tx.EndpointsAt(network, a), func(e *model.Endpoint) bool {
				return e.NetworkID == network && (e.V4.Addr() == a || e.V6.Addr() == a)
			})
		}
	}
	for _, id := range []string{"a", "0123456789", "0123456789ff", "012345678", "none"} {
		like := &model.Endpoint{ID: id}
		check("interface of "+id, tx.EndpointsAlike(like), func(e *model.Endpoint) bool { return e.HostIface() == like.HostIface() })
	}
}

// Whatever updates do, fail and take back, and however a process ends, endpoints are found by what they are, in a transaction and
// behind it; and no snapshot changes any more, nor a record of it: snapshots share them.
func TestEndpointsAreFoundAndStay(t *testing.T) {
	dir, round := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		path := filepath.Join(dir, fmt.Sprint(round))
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { s.Close() }()
		type kept struct {
			snapshot []*model.Endpoint
			pointers []*model.Endpoint
			records  []model.Endpoint
		}
		var seen []kept
		keep := func(list []*model.Endpoint) {
			k := kept{snapshot: list, pointers: slices.Clone(list)}
			for _, e := range list {
				k.records = append(k.records, e.Clone())
			}
			seen = append(seen, k)
		}
		refused := errors.New("refused")
		for range rapid.IntRange(1, 8).Draw(t, "updates") {
			fails := rapid.IntRange(0, 3).Draw(t, "fails") == 0
			undo, err := s.Update(func(tx *Tx) error {
				for range rapid.IntRange(0, 6).Draw(t, "steps") {
					if err := drawChange(t, tx); err != nil {
						return err
					}
					if rapid.Bool().Draw(t, "looks") { // at a list that later steps must leave alone
						keep(tx.Endpoints())
					}
					checkEndpoints(t, tx)
				}
				if fails {
					return refused
				}
				return nil
			})
			if fails != errors.Is(err, refused) || err != nil && !fails {
				t.Fatal(err)
			}
			if err == nil && rapid.IntRange(0, 3).Draw(t, "reverts") == 0 {
				if err := s.Revert(undo); err != nil {
					t.Fatal(err)
				}
			}
			again := rapid.IntRange(0, 5).Draw(t, "opens again")
			if again == 1 { // as a process does behind one that was killed: the last changes may be in the journal alone
				path = ended(t, s)
			}
			if again <= 1 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = Open(path); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 5).Draw(t, "the disk fails") == 0 { // before the commit, or when the change is there
				point := rapid.SampledFrom([]string{"store: before the commit", "store: at the end of the commit"}).Draw(t, "point")
				restore := fault.Set(func(p string) error {
					if p == point {
						return unix.ENOSPC
					}
					return nil
				})
				_, err := s.Update(func(tx *Tx) error {
					return errors.Join(drawChange(t, tx), tx.PutNetwork(model.Network{ID: fmt.Sprint("late", len(seen))}))
				})
				if restore(); !errors.Is(err, unix.ENOSPC) {
					t.Fatal(err)
				}
			}
			keep(s.Snapshot().Endpoints)
			if err := s.View(func(tx *Tx) error { checkEndpoints(t, tx); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		for _, k := range seen {
			if !slices.Equal(k.snapshot, k.pointers) || !reflect.DeepEqual(values(k.snapshot), k.records) {
				t.Fatalf("a list has changed since it was read: have %v, want %v", values(k.snapshot), k.records)
			}
		}
	})
}

// Two snapshots share the records that are in both.
func TestSnapshotsShareRecords(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mybr.db"))
	put := func(e model.Endpoint) { update(t, s, func(tx *Tx) error { return tx.PutEndpoint(e) }) }
	put(model.Endpoint{ID: "a", NetworkID: "n"})
	put(model.Endpoint{ID: "c", NetworkID: "n"})
	before := s.Snapshot().Endpoints
	put(model.Endpoint{ID: "b", NetworkID: "n"})
	put(model.Endpoint{ID: "c", NetworkID: "m"})
	after := s.Snapshot().Endpoints
	if len(after) != 3 || after[0] != before[0] || after[2] == before[1] || before[1].NetworkID != "n" {
		t.Errorf("before %v, after %v", values(before), values(after))
	}
}

// BenchmarkPutEndpoint is what an update of one endpoint costs beside others.
func BenchmarkPutEndpoint(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "mybr.db"))
			record := func(i int) model.Endpoint {
				return model.Endpoint{ID: fmt.Sprintf("%064x", i), NetworkID: "n", Sandbox: fmt.Sprintf("/run/docker/netns/%012x", i),
					V4: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 16)}
			}
			update(b, s, func(tx *Tx) error {
				var errs []error
				for i := range n {
					errs = append(errs, tx.PutEndpoint(record(i)))
				}
				return errors.Join(errs...)
			})
			e := record(n / 2)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e.MACGiven = i%2 == 0
				update(b, s, func(tx *Tx) error { return tx.PutEndpoint(e) })
			}
		})
	}
}
