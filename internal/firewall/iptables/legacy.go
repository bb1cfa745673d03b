package iptables

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// getInfo asks for the size of a table: IPT_SO_GET_INFO of linux/netfilter_ipv4/ip_tables.h,
// the same number as IP6T_SO_GET_INFO.
const getInfo = 64

// info is struct ipt_getinfo, and struct ip6t_getinfo: what is known of a table of the
// legacy variant without reading it.
type info struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [5]uint32
	underflow  [5]uint32
	entries    uint32
	size       uint32 // of all rules, in bytes
}

// sizes are those of mybr's tables, by family and name; zero: there is no such table.
type sizes map[string]info

// measure asks for the sizes of the tables that mybr has rules in, in the network namespace
// of the calling thread. It takes some microseconds.
func (s *side) measure(to sizes) error {
	family, level := unix.AF_INET, unix.SOL_IP
	if s.fam.Family == model.IPv6 {
		family, level = unix.AF_INET6, unix.SOL_IPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	for _, table := range ownTables() {
		var of info
		if s.state.use.unused(table) { // to ask would make it
			to[s.fam.command+" "+table] = of
			continue
		}
		copy(of.name[:], table)
		length := uint32(unsafe.Sizeof(of))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), getInfo,
			uintptr(unsafe.Pointer(&of)), uintptr(unsafe.Pointer(&length)), 0)
		if errno != 0 {
			return fmt.Errorf("ask for the size of table %s: %w", table, errno)
		}
		to[s.fam.command+" "+table] = of
	}
	return nil
}

// measure is that of the families whose chains are in the legacy variant. The caller holds
// b.mu.
func (b *Backend) measure() (sizes, error) {
	all := sizes{}
	for _, s := range []*side{b.v4, b.v6} {
		if s == nil || s.state.use == nil || !s.state.use.legacy {
			continue
		}
		if err := s.measure(all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Changed reports whether rules of the legacy variant were changed since the last call
// otherwise than by the backend: the kernel tells nobody of such changes. It looks at how
// many rules there are and how long they are, so that it misses, rarely, what leaves both
// as they were. While the backend is at work it says no.
func (b *Backend) Changed() (bool, error) {
	if !b.mu.TryLock() {
		return false, nil
	}
	defer b.mu.Unlock()
	b.compareSizes()
	changed, err := b.changed, b.unsized
	b.changed, b.unsized = false, nil
	if err != nil {
		return changed, fmt.Errorf("look for changes of rules: %w", err)
	}
	return changed, nil
}

// compareSizes notes in b.changed whether tables of the legacy variant have other sizes than
// when they were looked at last. It is called before each change of the backend's own, and
// takeSizes behind it; and when no change is needed. The caller holds b.mu.
func (b *Backend) compareSizes() {
	had := b.sizes
	b.takeSizes()
	for table, now := range b.sizes {
		before, known := had[table]
		b.changed = b.changed || known && before != now
	}
}

// takeSizes notes the sizes; an error is kept for Changed. The caller holds b.mu.
func (b *Backend) takeSizes() {
	var err error
	if b.sizes, err = b.measure(); err != nil {
		b.unsized = err
	}
}
