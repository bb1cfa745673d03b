// Package iptables brings a firewall.Policy about with iptables, in chains of its
// own beside Docker's:
//
//	filter  MYBR-FORWARD      from FORWARD, behind Docker's own first jumps
//	filter  MYBR-ISOLATE      from DOCKER-USER, behind the administrator's rules, and from MYBR-FORWARD; only drops
//	filter  MYBR-DIRECT       from MYBR-ISOLATE; what may enter at the containers' own addresses; only drops
//	filter  MYBR-UNPROTECTED  from MYBR-ISOLATE and DOCKER-ISOLATION-STAGE-2, while others may enter a network at containers' own addresses; only drops
//	filter  MYBR-CLOSED       from FORWARD, behind everything, where mybr has the host forward; only drops
//	nat     MYBR-PORTS        from PREROUTING and OUTPUT
//	nat     MYBR-POSTROUTING  from POSTROUTING
//
// The same chains are there for IPv6, by ip6tables. Each family is looked at, changed
// and reported by itself: what concerns one costs nothing in the other, and what fails
// in one is done in the other. A family that a network hasn't is closed to it.
//
// Nothing else is written: no policy of a built-in chain and no rule of anyone else.
// Every chain that begins with "MYBR-" is taken for mybr's, and so is every rule that
// jumps to one.
//
// A change is one iptables-restore --noflush, which commits each table at once, so
// that at no moment a rule is missing that was there before and is wanted after. Rules
// of different networks, and of different ports, commute; so what is new is appended,
// or in MYBR-DIRECT, which ends with a drop, put in front.
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
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/mybr/mybr/internal/firewall"
)

// Config is how a Backend finds its commands and whom it tells what it does.
type Config struct {
	// Dir is searched for the commands before PATH; "" for PATH alone.
	Dir string
	// Info is told of every change in a chain that mybr doesn't own; nil for nobody.
	Info func(format string, args ...any)
	// Warn is told what is odd but no error; nil for nobody.
	Warn func(format string, args ...any)
}

// Backend applies policies. Its calls run one after the other.
type Backend struct {
	mu     sync.Mutex
	v4     *side
	v6     *side // nil where IPv6 can't be filtered
	noIPv6 error // why

	inUse atomic.Pointer[variant] // where IPv4's chains are; nil: nowhere
}

// New finds the commands. It reads no rules, but looks whether those of IPv6 can be read.
func New(cfg Config) (*Backend, error) {
	for _, f := range []*func(string, ...any){&cfg.Info, &cfg.Warn} {
		if *f == nil {
			*f = func(string, ...any) {}
		}
	}
	variants, err := findVariants(cfg.Dir, ipv4())
	if err != nil {
		return nil, err
	}
	b := &Backend{v4: &side{fam: ipv4(), variants: variants, info: cfg.Info, warn: cfg.Warn}}
	if variants, b.noIPv6 = usableIPv6(cfg.Dir, "/proc/thread-self/net"); b.noIPv6 == nil {
		b.v6 = &side{fam: ipv6(), variants: variants, info: cfg.Info, warn: cfg.Warn}
	}
	return b, nil
}

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

// IPv6 says why the host's IPv6 can't be filtered; nil: it can. If it can't, Apply
// leaves IPv6 alone, and the caller must see to it that no network has any.
func (b *Backend) IPv6() error { return b.noIPv6 }

// Apply makes the packet filter do what want says. have is the policy that the last
// Apply achieved, of which the difference is then applied; nil means that nothing is
// known: everything of mybr's is read and put right, its leftovers are removed, and if
// want has no networks, nothing of mybr's stays.
func (b *Backend) Apply(ctx context.Context, have *firewall.Policy, want firewall.Policy) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if have != nil && reflect.DeepEqual(*have, want) {
		return nil
	}
	if err := validate(want); err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	err := b.v4.apply(ctx, have, want, lead{legacy: b.v4.variants[0].legacy})
	b.inUse.Store(b.v4.hint.use)
	if b.v6 != nil && ctx.Err() == nil {
		err = errors.Join(err, b.v6.apply(ctx, have, want, b.v4.lead()))
	}
	if err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	return nil
}
