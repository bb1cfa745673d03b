package plugin

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/ipam"
)

// sentCall is a request as Docker was seen to send it.
type sentCall struct{ path, body string }

// sent reads testdata/sent.txt.
func sent(t testing.TB) (all []sentCall) {
	t.Helper()
	text, err := os.ReadFile("testdata/sent.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			path, body, _ := strings.Cut(line, " ")
			all = append(all, sentCall{path, body})
		}
	}
	if len(all) < 20 {
		t.Fatalf("there are %d calls", len(all))
	}
	return all
}

// nowhere is a host on which everything succeeds.
type nowhere struct{}

func (nowhere) Sync(context.Context, ...string) error { return nil }
func (nowhere) Links() ([]model.Link, error)          { return nil, nil }
func (nowhere) Routes() ([]netip.Prefix, error)       { return nil, nil }
func (nowhere) Reserve(owner string, reqs []model.PortRequest) ([]model.PortBinding, func(), error) {
	return nil, func() {}, nil
}

// granting is nowhere, where each host port is free that no endpoint in the store has.
type granting struct {
	nowhere
	records *store.Store
}

func (g granting) Reserve(owner string, reqs []model.PortRequest) (all []model.PortBinding, release func(), err error) {
	taken := map[model.PortBinding]bool{} // protocol and host address alone
	key := func(b model.PortBinding) model.PortBinding { return model.PortBinding{Proto: b.Proto, Host: b.Host} }
	held := map[model.PortBinding]model.PortBinding{} // of the owner, by protocol and container address
	for _, e := range g.records.Snapshot().Endpoints {
		for _, b := range e.Ports {
			if e.PortOwner() == owner {
				held[model.PortBinding{Proto: b.Proto, Container: b.Container}] = b
			} else {
				taken[key(b)] = true
			}
		}
	}
	for _, r := range reqs {
		for port := max(r.First, 1); ; port++ {
			if r.First == 0 && port == 1 {
				port = 32768
			}
			var of []model.PortBinding
			for _, t := range []model.Target{r.V4, r.V6} {
				if t.Wanted() {
					of = append(of, model.PortBinding{Proto: r.Proto, Host: netip.AddrPortFrom(t.Host, port), Container: t.Container, Count: 1})
				}
			}
			if !slices.ContainsFunc(of, func(b model.PortBinding) bool { return taken[key(b)] }) {
				for _, b := range of {
					taken[key(b)] = true
				}
				all = append(all, of...)
				break
			}
			if port == max(r.Last, r.First) && r.First != 0 || port == 65535 {
				return nil, func() {}, model.Conflict("port %d is already allocated", port)
			}
		}
	}
	return all, func() {}, nil
}

// recorder answers the calls of both protocols with a store and without a host.
func recorder(t testing.TB) (*handler, *store.Store) {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "mybr-test-") // where fsync costs nothing
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	records, err := store.Open(filepath.Join(dir, "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { records.Close() })
	log, _ := newLog()
	host := granting{records: records}
	networks := driver.New(driver.Config{Store: driverRecords{records}, Sync: host, Ports: host, Links: host})
	calls := routes(networks, ipam.New(ipam.Config{Store: pools{records}, Routes: host}), func() {})
	return &handler{calls: calls, ready: closed(), stopping: make(chan struct{}), log: log}, records
}

// everything is what a store has.
type everything struct {
	model.Snapshot
	Pools      []poolRecord
	Unanswered []string
}

type poolRecord struct {
	model.Pool
	Leases []model.Lease
}

func recorded(t testing.TB, s *store.Store) everything {
	t.Helper()
	all := everything{Snapshot: s.Snapshot()}
	err := s.View(func(tx *store.Tx) error {
		all.Unanswered = tx.Unanswered()
		for _, p := range tx.Pools() {
			r := poolRecord{Pool: p}
			for l := range tx.Leases(p.ID, netip.Addr{}) {
				r.Leases = append(r.Leases, l)
			}
			all.Pools = append(all.Pools, r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
