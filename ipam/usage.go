package ipam

import (
	"fmt"
	"iter"
	"math"
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// Usage is how much of a pool is in use. Numbers are of addresses, at most math.MaxUint64.
type Usage struct {
	Pool    model.Pool
	Size    uint64     // addresses that are chosen from
	Used    uint64     // in use, those outside of that part too
	Resting uint64     // released less than the quarantine ago
	Kept    uint64     // released, and kept for who named them
	Free    uint64     // of Size: neither in use nor resting nor kept
	Next    netip.Addr // what a request gets that names none; zero: none is left
}

// Usage tells how much of each pool is in use, sorted by ID. It reads the keys of the leases
// and decodes no record.
//
// Be aware: an address whose release was lost counts as used until the pool is exhausted,
// when those are looked for; Next doesn't know of them.
func (d *Driver) Usage() ([]Usage, error) {
	var all []Usage
	err := d.store.View(func(tx Tx) error {
		for _, p := range tx.Pools() {
			all = append(all, d.rests().usage(tx, p))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the use of pools: %w", err)
	}
	return all, nil
}

func (r rests) usage(tx Tx, p model.Pool) Usage {
	s := rangeOf(p)
	u := Usage{Pool: p, Size: s.size()}
	taken := uint64(0) // of Size
	for a := range tx.Leased(p.ID, netip.Addr{}) {
		u.Used++
		if !a.Less(s.first) && !s.last.Less(a) {
			taken++
		}
	}
	ended := map[netip.Addr]bool{} // the next request clears these away, see settle
	for l := range tx.Resting(p.ID, false, 0) {
		u.Used--
		if l.Freed > r.now.Add(-r.quarantine).UnixNano() {
			u.Resting++
			continue
		}
		taken--
		if len(ended) < maxEnded {
			ended[l.Addr] = true
		}
	}
	for range tx.Resting(p.ID, true, 0) {
		u.Used--
		u.Kept++
	}
	if u.Size == math.MaxUint64 {
		taken = 0 // more than that are free
	}
	u.Free = u.Size - taken
	next, ok := nextAddr(s, p.Last, gaps(func(from netip.Addr) iter.Seq[netip.Addr] { return without(tx.Leased(p.ID, from), ended) }))
	if !ok {
		next, _ = longest(tx, p)
	}
	u.Next = next
	return u
}

// without leaves addresses out.
func without(all iter.Seq[netip.Addr], out map[netip.Addr]bool) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for a := range all {
			if !out[a] && !yield(a) {
				return
			}
		}
	}
}
