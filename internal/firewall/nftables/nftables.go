// Package nftables brings a firewall.Policy about in tables of its own of nf_tables: "ip
// mybr" and "ip6 mybr". The rules are the same whatever networks and ports there are; what
// there is of them is elements of sets and maps, so that a packet costs the same with any
// number of either, and a change is a few elements in one transaction:
//
//	forward      by the bridge that a packet comes from, and by the one that it goes to
//	prerouting   published ports, by protocol and port, and by address where one is given
//	output       the same for what the host sends to itself
//	postrouting  by the subnet that a packet comes from
//	limited-…    ports that only some clients reach: a set of addresses for each set of clients
//	arriving-…   ports that are reached by some interfaces alone: a set of names for each set of interfaces
//	listed       what containers may begin: a chain for each list, which looks into sets of addresses
//	leadable     what containers begin whose list has host names: led to mybr's process by DNAT, unless
//	             the list has the address, or DNS has given it (granted…)
//	process      the ports of mybr's process, for what was led there alone
//	input        bridges that the host doesn't take everything from, if there are any
//
// A transaction is made by netlink alone: no command is run, and nothing is read on the way
// of a request. Each family is looked at, changed and reported by itself.
//
// What may pass is accepted for this table only: others' rules are asked, too. Where iptables
// has a table for what is forwarded, its policy may drop that; there a packet bears one bit
// of the mark from here to a rule in MYBR-FORWARD, behind DOCKER-USER, which accepts it, and
// directly behind that the bit is taken away again (iptables.Gate).
//
// The two tables are taken for mybr's, with all that is in them.
//
// Be aware: what is dropped here is dropped, whatever DOCKER-USER accepts. What is to pass
// all the same gets the mark of Policy.Accept, before it comes to the hook "forward".
//
// Be aware: Docker's bridges, which unprotected networks are closed to, are those that its
// rules name when all rules were last read, be they of iptables or of its own table of
// nf_tables: one that Docker makes can reach unprotected networks until an event of that has
// been dealt with (Matters).
//
// Be aware: replies and what a published port leads in are told by conntrack's state.
// Somebody else's DNAT rule to a container therefore opens that container too.
//
// Be aware: a range of published ports has an element for each port.
package nftables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/iptables"
	"github.com/mybr/mybr/internal/plan"
)

// Name is what the backend is opened by.
const Name = "nftables"

// Backend applies policies. It is a firewall.Backend.
type Backend struct {
	mu      sync.Mutex // held while rules are read or written
	v4, v6  *side      // v6 is nil where the kernel has no IPv6
	noIPv6  error      // why
	sockets sockets

	gate   *iptables.Gate // nil: iptables isn't installed
	noGate error          // why

	inUse atomic.Bool // there are rules
	warn  func(format string, args ...any)
}

// New finds out what the kernel has, and the commands of iptables, if there are any.
func New(cfg firewall.Config) (*Backend, error) {
	if cfg.Warn == nil {
		cfg.Warn = func(string, ...any) {}
	}
	b := &Backend{warn: cfg.Warn}
	if _, err := generation(); err != nil {
		return nil, fmt.Errorf("the kernel has no nf_tables, or mybr may not use it: %w", err)
	}
	b.v4 = &side{b: b, fam: ipv4()}
	// proc(5), if_inet6: it is there if the kernel has IPv6.
	if _, err := os.Stat("/proc/thread-self/net/if_inet6"); err != nil {
		b.noIPv6 = fmt.Errorf("the kernel has no IPv6: %w", err)
	} else {
		b.v6 = &side{b: b, fam: ipv6()}
	}
	b.gate, b.noGate = iptables.NewGate(cfg, firewall.Mark{Value: passBit, Mask: passBit})
	if b.v6 != nil {
		b.noIPv6 = b.closed(b.v6.fam)
	}
	return b, nil
}

// closed says why nothing of a family is forwarded, whatever mybr's own table lets pass: there
// are rules of iptables that mybr can't read or change; nil: it can.
func (b *Backend) closed(fam family) error {
	blind := b.blind(fam)
	if blind == nil {
		return nil
	}
	conn, end, err := b.sockets.open(context.Background())
	if err != nil {
		return err
	}
	defer end()
	if _, drops, err := hasFilter(conn, fam.table); err != nil || !drops {
		return err
	}
	return untold(fam, blind)
}

// blind says why iptables can't be told in a family what may pass; nil: it can.
func (b *Backend) blind(fam family) error {
	if b.gate == nil {
		return b.noGate
	}
	return b.gate.Lacks(fam.Family)
}

func untold(fam family, blind error) error {
	return fmt.Errorf("iptables drops what is forwarded in %s, and can't be told what may pass: %w", fam.Family, blind)
}

// Name returns "nftables".
func (b *Backend) Name() string { return Name }

// Variant says where mybr's rules are; "" while there are none.
func (b *Backend) Variant() string {
	if b.inUse.Load() {
		return Name
	}
	return ""
}

// SlowHint asks for what changes rules at the same time: the kernel has one lock for all
// changes of nf_tables in a network namespace.
func (b *Backend) SlowHint() string { return "does another program change nf_tables all the time?" }

// Close closes the socket that is kept for changes.
func (b *Backend) Close() { b.sockets.forget() }

// IPv6 says why the host's IPv6 can't be filtered; nil: it can.
func (b *Backend) IPv6() error { return b.noIPv6 }

// sides are the families that can be filtered.
func (b *Backend) sides() []*side {
	if b.v6 == nil {
		return []*side{b.v4}
	}
	return []*side{b.v4, b.v6}
}

// Own reports whether a process, or the address of a socket where the kernel's PIDs can't be
// told, is of this process's: the kernel tells of the thread that has made a change.
func (b *Backend) Own(pid int) bool {
	if b.sockets.own(pid) || b.gate != nil && b.gate.Own(pid) {
		return true
	}
	_, err := os.Stat(filepath.Join("/proc/self/task", strconv.Itoa(pid)))
	return err == nil
}

// Matters reports whether a change is about one of mybr's tables, about the chains of
// iptables that have a rule of mybr's, or about the maps in which Docker has its bridges.
func (b *Backend) Matters(table, chain string, message []byte) bool {
	return table == tableName || table == DockersTable && chain == "" || b.gate != nil && b.gate.Matters(table, chain, message)
}

// Changed reports what Gate.Changed does: of nf_tables the kernel tells.
func (b *Backend) Changed() (bool, error) {
	if b.gate == nil {
		return false, nil
	}
	return b.gate.Changed()
}

// Told reads one of the Changes of a plan of the backend.
func (b *Backend) Told(change string) (firewall.Change, bool) {
	if c, ok := told(change); ok {
		return c, true
	}
	if b.gate == nil {
		return firewall.Change{}, false
	}
	return b.gate.Told(change)
}

// Plan makes one step for each family that has to change, and behind it one for each variant
// of iptables whose rules have to: what is to pass is decided before it is accepted.
func (b *Backend) Plan(ctx context.Context, have *firewall.Policy, want firewall.Policy) (plan.Plan, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if have != nil && have.Equal(want) {
		return nil, nil
	}
	want, ok, invalid := want.Valid()
	if !ok {
		return nil, invalid
	}
	var all plan.Plan
	errs := []error{invalid}
	var others []string // Docker's bridges; those that only IPv4's rules name are IPv6's, too
	for _, s := range b.sides() {
		if ctx.Err() != nil {
			break
		}
		steps, passing, next, err := s.plan(ctx, have, want, others)
		steps = steps.Then(passing, "iptables keeps what mybr has there until table "+s.fam.name()+" is as it should be")
		all, errs = append(all, steps...), append(errs, wrap(err))
		others = next.others
	}
	return all, errors.Join(errs...)
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("firewall: %w", err)
}

// Apply is Plan, and what the plan says.
func (b *Backend) Apply(ctx context.Context, have *firewall.Policy, want firewall.Policy) error {
	p, err := b.Plan(ctx, have, want)
	return errors.Join(err, p.Do(ctx))
}
