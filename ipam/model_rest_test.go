package ipam

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
)

// This file is what the model knows of rests.

// open opens the records and makes a driver of them.
func (m *machine) open(t tester) {
	m.s = openStore(t, m.path)
	m.d = New(Config{
		Store: records{m.s}, Routes: hostRoutes(nil),
		Quarantine: m.quarantine, Now: func() time.Time { return m.now },
	})
}

// Tick lets time pass; now and then the clock is set back.
func (m *machine) Tick(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(-40, 90).Draw(t, "seconds")) * time.Second)
}

// candidates are those of the free addresses that one is chosen from.
func (m *machine) candidates() []netip.Addr {
	m.settle()
	var fresh, resting []netip.Addr
	for _, a := range m.free() {
		if _, rests := m.rests[a]; rests {
			resting = append(resting, a)
		} else {
			fresh = append(fresh, a)
		}
	}
	if len(fresh) > 0 || len(resting) == 0 {
		return fresh
	}
	named := func(a netip.Addr) int {
		if m.rests[a].Named {
			return 1
		}
		return 0
	}
	return []netip.Addr{slices.MinFunc(resting, func(a, b netip.Addr) int {
		return cmp.Or(named(a)-named(b), cmp.Compare(m.rests[a].Freed, m.rests[b].Freed), a.Compare(b))
	})}
}

// settle ends rests as each use of the pool does.
func (m *machine) settle() {
	for a, l := range m.rests {
		l.Freed = min(l.Freed, m.now.UnixNano())
		m.rests[a] = l
		if !l.Named && time.Duration(m.now.UnixNano()-l.Freed) >= m.quarantine {
			delete(m.rests, a)
			if m.rested == a { // it has rested
				m.rested = netip.Addr{}
			}
		}
	}
}

func (m *machine) lease(l model.Lease) {
	m.leases[l.Addr] = l
	delete(m.rests, l.Addr)
}

func (m *machine) release(l model.Lease) {
	m.settle()
	delete(m.leases, l.Addr)
	m.rested = l.Addr
	if slices.Contains(m.free(), l.Addr) && (l.Named || m.quarantine > 0) {
		m.rests[l.Addr] = model.Lease{Addr: l.Addr, Kind: model.LeaseResting, Named: l.Named, Freed: m.now.UnixNano()}
	}
}
