package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mybr/mybr/internal/model"
)

// Between its release and its next use an address rests: other hosts may know it by the
// MAC that it had, and send what was meant for the one that had it (RFC 1122, 2.3.2.1
// gives entries of the ARP cache a minute, and so does Linux, gc_stale_time of arp(7)).
const (
	// DefaultQuarantine is how long an address rests.
	DefaultQuarantine = time.Minute
	// MaxQuarantine is the longest rest that can be asked for.
	MaxQuarantine = 24 * time.Hour

	// maxNamed is how many released addresses are kept for those who named them, in each
	// pool: as many as a bridge has ports (BR_MAX_PORTS of the kernel). Those that have been
	// free longest are given up first.
	maxNamed = 1024

	// maxEnded is how many ended rests one request clears away. Each makes one at most.
	maxEnded = 64
)

// ParseQuarantine reads the value of the flag --address-quarantine, such as 90s; 0 means that
// addresses don't rest.
func ParseQuarantine(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > MaxQuarantine {
		return 0, fmt.Errorf("want a time from 0 to %s, such as %s", MaxQuarantine, DefaultQuarantine)
	}
	return d, nil
}

// rests is what is done about resting addresses at one moment.
type rests struct {
	quarantine time.Duration
	now        time.Time
}

// settle ends the rests of a pool that have lasted long enough. What was released later
// than now was so before the clock was set back, and counts as released now: it must not
// rest until the clock is there again.
func (r rests) settle(tx Tx, p model.Pool) error {
	var errs []error
	for _, named := range []bool{false, true} {
		var later []model.Lease
		for l := range tx.Resting(p.ID, named, r.now.UnixNano()+1) {
			later = append(later, l)
		}
		for _, l := range later {
			l.Freed = r.now.UnixNano()
			errs = append(errs, tx.PutLease(p.ID, l))
		}
	}
	var ended []netip.Addr
	for l := range tx.Resting(p.ID, false, 0) {
		if len(ended) == maxEnded || l.Freed > r.now.Add(-r.quarantine).UnixNano() {
			break
		}
		ended = append(ended, l.Addr)
	}
	for _, a := range ended {
		errs = append(errs, tx.DeleteLease(p.ID, a))
	}
	return errors.Join(errs...)
}

// rest makes a lease that is released a resting one, or deletes it: an address that is
// never chosen needs no rest.
func (r rests) rest(tx Tx, p model.Pool, l model.Lease) error {
	s := rangeOf(p)
	chosen := !l.Addr.Less(s.first) && !s.last.Less(l.Addr)
	if !chosen || r.quarantine == 0 && !l.Named {
		return tx.DeleteLease(p.ID, l.Addr)
	}
	err := tx.PutLease(p.ID, model.Lease{Addr: l.Addr, Kind: model.LeaseResting, Named: l.Named, Freed: r.now.UnixNano()})
	if err != nil || !l.Named {
		return err
	}
	var first netip.Addr
	kept := 0
	for l := range tx.Resting(p.ID, true, 0) {
		if kept++; kept == 1 {
			first = l.Addr
		}
	}
	if kept > maxNamed {
		return tx.DeleteLease(p.ID, first)
	}
	return nil
}

// longest returns the address of a pool that has rested longest, if one rests: one that was
// named only if all that rest were.
func longest(tx Tx, p model.Pool) (netip.Addr, bool) {
	for _, named := range []bool{false, true} {
		for l := range tx.Resting(p.ID, named, 0) {
			return l.Addr, true
		}
	}
	return netip.Addr{}, false
}
