package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// machine drives a Driver with random calls and compares it with a map.
type machine struct {
	d    *Driver
	s    *store.Store
	path string

	prefix, sub netip.Prefix
	id          string // "" while the pool is not held
	leases      map[netip.Addr]model.Lease
	rests       map[netip.Addr]model.Lease
	now         time.Time
	quarantine  time.Duration
	rested      netip.Addr // released since an address was chosen last
	fresh       bool       // the capabilities were asked for, and the pool not used since
	again       bool       // it was then asked for again, and not used since
	inherited   bool       // it was taken before a restart, and not asked for since
	second      bool       // for a second network, as the request for its gateway has shown
}

// addrs are the addresses of a subnet that may be granted when named, or chosen.
func (m *machine) addrs(part netip.Prefix) (out []netip.Addr) {
	for a := part.Addr(); part.Contains(a); a = a.Next() {
		first := a == m.prefix.Addr()
		broadcast := a.Is4() && !m.prefix.Contains(a.Next())
		if a.BitLen()-m.prefix.Bits() <= 1 || !first && !broadcast {
			out = append(out, a)
		}
	}
	return out
}

func (m *machine) free() (out []netip.Addr) {
	part := m.prefix
	if m.sub.IsValid() {
		part = m.sub
	}
	for _, a := range m.addrs(part) {
		if _, held := m.leases[a]; !held {
			out = append(out, a)
		}
	}
	return out
}

func (m *machine) request(space, subnet, sub string) (string, error) {
	r, err := m.d.RequestPool(context.Background(), poolRequest(space, subnet, sub))
	if err != nil {
		return "", err
	}
	return r.PoolID, nil
}

func (m *machine) RequestPool(t *rapid.T) {
	sub := ""
	if m.sub.IsValid() {
		sub = m.sub.String()
	}
	id, err := m.request(SpaceLocal, m.prefix.String(), sub)
	switch {
	case m.id == "" || m.fresh || m.inherited && len(m.leases) == 0:
		if err != nil || m.id != "" && id != m.id {
			t.Fatalf("have %s %v, want a pool", id, err)
		}
		m.id, m.inherited = id, false
	case !errors.Is(err, model.ErrConflict):
		t.Fatalf("have %s %v, want a conflict", id, err)
	}
	m.again = m.again || m.fresh
	m.fresh = false
}

// used notes that the pool was used in a way that Docker can't repeat.
func (m *machine) used() { m.fresh, m.again, m.second, m.inherited = false, false, false, false }

func (m *machine) GetCapabilities(t *rapid.T) {
	if _, err := m.d.GetCapabilities(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.fresh, m.again, m.second = m.id != "", false, false
}

// Choose asks for some address: for one of a few MACs, or as an auxiliary one.
func (m *machine) Choose(t *rapid.T) {
	mac := model.MAC{2, 0, 0, 0, 0, byte(rapid.IntRange(0, 12).Draw(t, "mac"))}
	kind, what := model.LeaseEndpoint, mac.String()
	if mac[5] == 0 {
		mac, kind, what = model.MAC{}, model.LeaseAux, "aux"
	}
	text, err := ask(m.d, m.id, what, "")
	m.used()
	if m.id == "" {
		if !errors.Is(err, model.ErrNotFound) {
			t.Fatalf("no pool: have %s %v", text, err)
		}
		return
	}
	m.settle()
	for a := m.prefix.Addr(); kind == model.LeaseEndpoint && m.prefix.Contains(a); a = a.Next() {
		if m.leases[a].MAC == mac {
			m.same(t, text, err, a)
			return
		}
	}
	free := m.candidates()
	if len(free) == 0 {
		if !errors.Is(err, model.ErrConflict) || !strings.Contains(err.Error(), "exhausted") {
			t.Fatalf("have %s %v, want exhaustion", text, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("%v, but %v are free", err, free)
	}
	m.granted(t, text, kind, mac, free)
}

// granted checks an address that was chosen freely, and records it.
func (m *machine) granted(t *rapid.T, text string, kind model.LeaseKind, mac model.MAC, free []netip.Addr) {
	got := netip.MustParsePrefix(text)
	ok := false
	for _, a := range free {
		ok = ok || a == got.Addr()
	}
	if !ok || got.Bits() != m.prefix.Bits() {
		t.Fatalf("have %s, want one of %v with /%d", text, free, m.prefix.Bits())
	}
	if got.Addr() == m.rested && len(free) > 1 {
		t.Fatalf("%s was only just released, and %v are free", text, free)
	}
	m.rested = netip.Addr{}
	m.lease(model.Lease{Addr: got.Addr(), Kind: kind, MAC: mac})
}

// checkRefused checks the refusal of a second network's gateway.
func (m *machine) checkRefused(t *rapid.T, text string, err error) {
	if !errors.Is(err, model.ErrConflict) || !strings.Contains(err.Error(), "overlaps") {
		t.Fatalf("have %s %v, want it refused as a second network's", text, err)
	}
	m.used()
	m.second = true
}

func (m *machine) same(t *rapid.T, text string, err error, a netip.Addr) {
	if want := netip.PrefixFrom(a, m.prefix.Bits()).String(); err != nil || text != want {
		t.Fatalf("have %s %v, want %s again", text, err, want)
	}
}

// Gateway asks for a gateway without an address.
func (m *machine) Gateway(t *rapid.T) {
	if m.id == "" {
		t.Skip("no pool")
	}
	text, err := ask(m.d, m.id, "gateway", "")
	if m.again {
		m.checkRefused(t, text, err)
		return
	}
	m.used()
	m.settle()
	for a := m.prefix.Addr(); m.prefix.Contains(a); a = a.Next() {
		if m.leases[a].Kind == model.LeaseGateway {
			m.same(t, text, err, a)
			return
		}
	}
	free := m.candidates()
	if len(free) == 0 {
		if !errors.Is(err, model.ErrConflict) {
			t.Fatalf("have %s %v, want exhaustion", text, err)
		}
		return
	}
	m.same(t, text, err, free[0])
	m.lease(model.Lease{Addr: free[0], Kind: model.LeaseGateway})
}

// near draws an address of the pool, or one just beside it.
func (m *machine) near(t *rapid.T) netip.Addr {
	size := 1 << (m.prefix.Addr().BitLen() - m.prefix.Bits())
	return plusInt(m.prefix.Addr(), rapid.IntRange(-1, size).Draw(t, "address"))
}

// Wish asks for one address, in the pool or just beside it.
func (m *machine) Wish(t *rapid.T) {
	if m.id == "" {
		t.Skip("no pool")
	}
	a := m.near(t)
	l := model.Lease{Addr: a, Kind: rapid.SampledFrom([]model.LeaseKind{model.LeaseGateway, model.LeaseEndpoint}).Draw(t, "kind")}
	what := string(l.Kind)
	if l.Kind == model.LeaseEndpoint {
		l.MAC = model.MAC{2, 0, 0, 0, 0, byte(rapid.IntRange(1, 12).Draw(t, "mac"))}
		what = l.MAC.String()
	}
	text, err := ask(m.d, m.id, what, a.String())
	l.Named = l.Kind == model.LeaseEndpoint
	have, held := m.leases[a]
	if l.Kind == model.LeaseGateway && m.again {
		if have.Kind == model.LeaseGateway {
			m.settle()
			m.same(t, text, err, a)
		} else {
			m.checkRefused(t, text, err)
		}
		return
	}
	m.used()
	m.settle()
	usable := false
	for _, u := range m.addrs(m.prefix) {
		usable = usable || u == a
	}
	switch {
	case !usable:
		if !errors.Is(err, model.ErrInvalid) {
			t.Fatalf("%s: have %s %v, want it refused", a, text, err)
		}
	case held && (have.Kind != l.Kind || have.MAC != l.MAC):
		if !errors.Is(err, model.ErrConflict) {
			t.Fatalf("%s: have %s %v, want a conflict with %v", a, text, err, have)
		}
	default:
		m.same(t, text, err, a)
		m.lease(l)
	}
}

func (m *machine) ReleaseAddress(t *rapid.T) {
	a := m.near(t)
	release(t, m.d, m.id, a.String())
	m.used()
	if l, held := m.leases[a]; held {
		m.release(l)
	}
}

func (m *machine) ReleasePool(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
		t.Skip("seldom")
	}
	releasePool(t, m.d, m.id)
	if !m.second {
		m.id, m.leases, m.rests, m.rested = "", map[netip.Addr]model.Lease{}, map[netip.Addr]model.Lease{}, netip.Addr{}
	}
	m.used()
}

// Restart ends the process and starts it again.
func (m *machine) Restart(t *rapid.T) {
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
	m.used()
	m.inherited = m.id != ""
}

// Check compares the records with the model after every call.
func (m *machine) Check(t *rapid.T) {
	w := dump(t, m.s)
	if m.id == "" {
		if len(w.Pools) != 0 {
			t.Fatalf("have %v, want no pool", w.Pools)
		}
		return
	}
	if len(w.Pools) != 1 || len(w.Leases[m.id]) != len(m.leases) || len(w.Rests[m.id]) != len(m.rests) {
		t.Fatalf("have %+v, want %v, at rest %v", w, m.leases, m.rests)
	}
	for _, l := range w.Rests[m.id] {
		if m.rests[l.Addr] != l {
			t.Fatalf("have %v at rest, want %v", l, m.rests[l.Addr])
		}
	}
	for _, l := range w.Leases[m.id] {
		if m.leases[l.Addr] != l {
			t.Fatalf("have %v, want %v", l, m.leases[l.Addr])
		}
	}
}

func TestAgainstAModel(t *testing.T) {
	dir, round := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		m := &machine{path: filepath.Join(dir, fmt.Sprint(round)), leases: map[netip.Addr]model.Lease{}}
		base := rapid.SampledFrom(prefixes("10.0.0.0/28", "2001:db8::/124", "2001:db8::ffff:ffff:ffff:fff0/124")).Draw(t, "base")
		longest := base.Addr().BitLen()
		m.prefix = drawPrefix(t, base, longest, "prefix")
		if rapid.Bool().Draw(t, "sub-pool") {
			m.sub = drawPrefix(t, m.prefix, longest, "sub")
			if len(m.addrs(m.sub)) == 0 {
				m.sub = netip.Prefix{}
			}
		}
		m.rests, m.now = map[netip.Addr]model.Lease{}, time.Unix(1_800_000_000, 0)
		m.quarantine = rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "quarantine")
		m.open(t)
		defer func() { _ = m.s.Close() }()
		t.Repeat(rapid.StateMachineActions(m))
	})
}
