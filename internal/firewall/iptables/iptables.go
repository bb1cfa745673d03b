// Package iptables brings a firewall.Policy about with iptables, in chains of its
// own beside Docker's:
//
//	filter  MYBR-FORWARD      from FORWARD, behind Docker's own first jumps; accepts
//	filter  MYBR-ISOLATE      from DOCKER-USER, behind the administrator's rules, and from MYBR-FORWARD; only drops, but for
//	filter  MYBR-REPLIES      from MYBR-ISOLATE, with MYBR-REPLY-IN and -OUT; accepts what belongs to a connection that was let through
//	filter  MYBR-NO-EXIT      from MYBR-ISOLATE and MYBR-REPLY-IN; what leaves a closed network; only drops
//	filter  MYBR-NO-ENTRY     from MYBR-ISOLATE and MYBR-REPLY-OUT; what enters one; only drops
//	filter  MYBR-FROM         from MYBR-ISOLATE; what is new and leaves a network; only drops
//	filter  MYBR-TO           from MYBR-ISOLATE; what is new and enters one; only drops
//	filter  MYBR-EGRESS       from MYBR-FROM, and MYBR-EGRESS-NAT where addresses are translated; only drops
//	filter  MYBR-DIRECT       from MYBR-TO; what may enter at the containers' own addresses; only drops
//	filter  MYBR-LIMIT-IN     from MYBR-ISOLATE; what begins at a port that only some clients reach, while there is one; leads to MYBR-CLI-…; only drops
//	filter  MYBR-LIMIT-OUT    from MYBR-FROM; what such a server begins; leads to MYBR-SRV-…; only drops
//	filter  MYBR-LISTED       from MYBR-ISOLATE; what begins in a network whose containers may not begin everything, while there is one; leads to MYBR-OF-… and MYBR-DST-…; only drops
//	filter  MYBR-REFUSED      from MYBR-DST-…; what a list does not have: tells the process, and drops
//	filter  MYBR-AUDIT        from MYBR-DST-… of lists that are only watched; tells the process
//	filter  MYBR-UNPROTECTED  from MYBR-EGRESS, and DOCKER-ISOLATION-STAGE-2 or MYBR-ISOLATE, while others may enter a network at containers' own addresses; only drops
//	filter  MYBR-FORWARD-DROP from FORWARD, behind everything, where mybr has the host forward; only drops
//	filter  MYBR-INPUT        from INPUT, before everything, where the host doesn't take everything from a bridge; only drops
//	nat     MYBR-PORTS        from PREROUTING and OUTPUT
//	nat     MYBR-POSTROUTING  from POSTROUTING
//
// The same chains are there for IPv6, by ip6tables. Each family is looked at, changed
// and reported by itself: what concerns one costs nothing in the other, and what fails
// in one is done in the other. A family that a network hasn't is closed to it.
//
// Where there are many networks or ports, these chains lead to more, whose names have a
// slash behind what they begin with, as MYBR-PORTS/tcp-8192-4: see index.
//
// Nothing else is written: no policy of a built-in chain and no rule of anyone else.
// Every chain that begins with "MYBR-" is taken for mybr's, and so is every rule that
// jumps to one.
//
// A change is one iptables-restore --noflush, which commits each table at once, so
// that at no moment a rule is missing that was there before and is wanted after. Rules
// of different networks, and of different ports, commute; so what is new is appended,
// or in chains that end with a drop, such as MYBR-DIRECT, put in front. Chains come and
// go with what is in them.
//
// Be aware: Docker from 29 has no list of its bridges that could lead to
// MYBR-UNPROTECTED. There its bridges are those that its rules name when mybr next changes
// a rule, or is told that Docker has (Matters, Changed): one that Docker makes can reach
// unprotected networks for that moment. In a family that Docker has no chains for they are
// those that its rules of IPv4 named when all rules were last read.
//
// Be aware: iptables has two variants, nf_tables and legacy, whose rules both apply,
// and a drop in either is final. The variant that Docker's chains are in is used, or,
// as long as there are none, what the command `iptables` is. IPv6 follows IPv4, unless
// Docker's chains for IPv6 are in the other variant.
//
// Be aware: replies and what a published port leads in are told by conntrack's state
// (xt_conntrack, "DNAT" being a virtual state, iptables-extensions(8)). Somebody
// else's DNAT rule to a container therefore opens that container too.
//
// Be aware: a range whose container ports differ from its host ports is one rule with
// an offset (Linux 4.18, iptables 1.8). If one client uses one source port for the
// same published port at two of the host's addresses at a time, the kernel leads the
// second flow to the next port of such a range, for it can't tell the replies apart.
package iptables

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/plan"
)

// Name is what the backend is opened by.
const Name = "iptables"

// Backend applies policies. It is a firewall.Backend.
type Backend struct {
	mu     sync.Mutex // held while rules are read or written
	v4     *side
	v6     *side // nil where IPv6 can't be filtered
	noIPv6 error // why

	inUse atomic.Pointer[variant] // where IPv4's chains are; nil: nowhere
	input atomic.Bool             // a jump has ever been wanted in INPUT
	ran   *commands
	sizes sizes // of tables of the legacy variant, when they were looked at last

	changed bool  // others have changed those
	unsized error // why they could not be looked at
}

// New finds the commands. It reads no rules, but looks whether those of IPv6 can be read.
func New(cfg firewall.Config) (*Backend, error) {
	for _, f := range []*func(string, ...any){&cfg.Info, &cfg.Warn} {
		if *f == nil {
			*f = func(string, ...any) {}
		}
	}
	ran := &commands{}
	variants, err := findVariants(ran, cfg.Dir, ipv4())
	if err != nil {
		return nil, err
	}
	b := &Backend{ran: ran}
	b.v4 = &side{b: b, fam: ipv4(), variants: variants, info: cfg.Info, warn: cfg.Warn}
	if variants, b.noIPv6 = usableIPv6(ran, cfg.Dir, "/proc/thread-self/net"); b.noIPv6 == nil {
		b.v6 = &side{b: b, fam: ipv6(), variants: variants, info: cfg.Info, warn: cfg.Warn}
	}
	return b, nil
}

// Name returns "iptables".
func (b *Backend) Name() string { return Name }

// SlowHint asks for the lock that all programs share that change rules of the legacy
// variant (iptables(8), --wait).
func (b *Backend) SlowHint() string { return "does another program hold /run/xtables.lock?" }

// Variant says where mybr's chains are: "iptables (nf_tables)" or "iptables (legacy)";
// "" while there are none.
func (b *Backend) Variant() string {
	v := b.inUse.Load()
	switch {
	case v == nil:
		return ""
	case v.legacy:
		return "iptables (legacy)"
	}
	return "iptables (nf_tables)"
}

// Close does nothing: each change has a process of its own.
func (b *Backend) Close() {}

// IPv6 says why the host's IPv6 can't be filtered; nil: it can.
func (b *Backend) IPv6() error { return b.noIPv6 }

// Plan makes one step for each family and variant that has to change; each is one
// iptables-restore.
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
	if b.v4.fam.layout(want).input || b.v6 != nil && b.v6.fam.layout(want).input {
		b.input.Store(true)
	}
	all, next, err := b.v4.plan(ctx, have, want, defaults{legacy: b.v4.variants[0].legacy})
	errs := []error{invalid, wrap(err)}
	if b.v6 != nil && ctx.Err() == nil {
		steps, _, err := b.v6.plan(ctx, have, want, next.defaultsFor(b.v4))
		all, errs = append(all, steps...), append(errs, wrap(err))
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
