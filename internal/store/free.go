package store

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	bolt "go.etcd.io/bbolt"
)

// free finds addresses without a lease, whatever the number of those with one: it holds in
// memory which addresses of a pool have a lease, for the pools that it was asked about. It
// follows what the transaction that is under way changes, and is forgotten if that fails.
type free struct {
	pools map[string]map[uint64]*fullness // by pool ID, and by the first half of an IPv6 address (0 for IPv4)
}

// forget drops all that is known.
func (f *free) forget() { f.pools = nil }

// follow learns of a change of the file.
func (f *free) follow(c change) {
	switch {
	case len(f.pools) == 0:
	case c.kind == dropBucket && len(c.at) == 1 && c.at[0] == bucketLeases:
		delete(f.pools, string(c.key))
	case (c.kind == putKey || c.kind == deleteKey) && len(c.at) == 3 && c.at[0] == bucketLeases && c.at[2] == bucketAddr:
		if pool, known := f.pools[string(c.at[1])]; known {
			half, rest := halves(c.key)
			if pool[half] == nil {
				pool[half] = &fullness{}
			}
			pool[half].set(rest, c.kind == putKey)
		}
	}
}

// halves splits an address.
func halves(a []byte) (half, rest uint64) {
	if len(a) == 4 {
		return 0, uint64(binary.BigEndian.Uint32(a))
	}
	return binary.BigEndian.Uint64(a), binary.BigEndian.Uint64(a[8:])
}

// of returns what is known of a pool, which is read if nothing is.
func (f *free) of(poolID string, leases *bolt.Bucket) map[uint64]*fullness {
	if pool, known := f.pools[poolID]; known {
		return pool
	}
	pool := map[uint64]*fullness{}
	c := leases.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if len(k) != 4 && len(k) != 16 {
			continue // damage, which is found elsewhere
		}
		half, rest := halves(k)
		if pool[half] == nil {
			pool[half] = &fullness{}
		}
		pool[half].set(rest, true)
	}
	if f.pools == nil {
		f.pools = map[string]map[uint64]*fullness{}
	}
	f.pools[poolID] = pool
	return pool
}

// FirstFree returns the first of some addresses of a family, the last one included, that has no
// lease, neither in use nor resting; ok is false if there is none. In an update it takes the
// same time however many leases there are; elsewhere all are read.
func (tx *Tx) FirstFree(poolID string, first, last netip.Addr) (a netip.Addr, ok bool) {
	addrs, _ := tx.leases(poolID)
	switch {
	case !first.IsValid() || last.Less(first):
		return a, false
	case addrs == nil:
		return first, true
	}
	known := tx.free
	if known == nil {
		known = &free{}
	}
	if a, ok = firstFree(known.of(poolID, addrs), first); !ok || last.Less(a) {
		return netip.Addr{}, false
	}
	return a, true
}

// firstFree returns the first address from one on that is not among those of a pool.
func firstFree(pool map[uint64]*fullness, from netip.Addr) (a netip.Addr, ok bool) {
	for from.IsValid() {
		raw := from.AsSlice()
		half, rest := halves(raw)
		ok := true
		if of := pool[half]; of != nil {
			rest, ok = of.next(rest)
		}
		switch {
		case len(raw) == 4 && (!ok || rest > 1<<32-1):
			return a, false
		case len(raw) == 4:
			return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(rest)))), true
		case ok:
			return address(half, rest), true
		}
		from = address(half, full).Next() // zero behind the last of all
	}
	return a, false
}

// address puts the halves of an IPv6 address together.
func address(half, rest uint64) netip.Addr {
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, half), rest)))
}

// fullness is a set of numbers of which the first that is missing is found in a few steps.
// Level 0 has a bit for each number, in words of 64; each level above has one for each word of
// the level below, set if that word is full. Words that are empty are not there.
type fullness struct{ levels []map[uint64]uint64 }

const full = 1<<64 - 1

// set puts a number into the set, or takes it out.
func (f *fullness) set(n uint64, in bool) {
	for level := 0; ; level++ {
		if level == len(f.levels) {
			f.levels = append(f.levels, map[uint64]uint64{})
		}
		words, at, bit := f.levels[level], n>>6, uint64(1)<<(n&63)
		was := words[at]
		now := was &^ bit
		if in {
			now = was | bit
		}
		if now == 0 {
			delete(words, at)
		} else {
			words[at] = now
		}
		if (was == full) == (now == full) {
			return
		}
		n = at
	}
}

// next returns the first number from n on that is not in the set; ok is false if there is none.
func (f *fullness) next(n uint64) (missing uint64, ok bool) {
	for level := 0; ; level++ {
		word := f.word(level, n>>6) | (1<<(n&63) - 1) // those before n don't count
		if word != full {
			n = n&^63 | uint64(bits.TrailingZeros64(^word))
			for level--; level >= 0; level-- {
				n = n<<6 | uint64(bits.TrailingZeros64(^f.word(level, n)))
			}
			return n, true
		}
		if n = n>>6 + 1; n > full>>(6*(level+1)) {
			return 0, false
		}
	}
}

func (f *fullness) word(level int, at uint64) uint64 {
	if level >= len(f.levels) {
		return 0
	}
	return f.levels[level][at]
}
