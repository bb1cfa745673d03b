// Package iptables brings a firewall.Policy about with iptables, in chains of its
// own beside Docker's:
//
//	filter  MYBR-FORWARD      from FORWARD, behind Docker's own first jumps
//	filter  MYBR-ISOLATE      from DOCKER-USER, behind the administrator's rules, and from MYBR-FORWARD; only drops
//	nat     MYBR-PORTS        from PREROUTING and OUTPUT
//	nat     MYBR-POSTROUTING  from POSTROUTING
//
// Nothing else is written: no policy of a built-in chain and no rule of anyone else.
// Every chain that begins with "MYBR-" is taken for mybr's, and so is every rule that
// jumps to one.
//
// A change is one iptables-restore --noflush, which commits each table at once, so
// that at no moment a rule is missing that was there before and is wanted after. Rules
// of different networks, and of different ports, commute; so what is new is appended.
//
// Be aware: iptables has two variants, nf_tables and legacy, whose rules both apply,
// and a drop in either is final. The variant that Docker's chains are in is used, or,
// as long as there are none, what the command `iptables` is.
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
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mybr/mybr/internal/firewall"
)

// Config is how a Backend finds its commands and whom it tells what it does.
type Config struct {
	// Dir is searched for the commands before PATH; "" for PATH alone.
	Dir string
	// Said is told of every change in a chain that mybr doesn't own; nil for nobody.
	Said func(format string, args ...any)
	// Warn is told what is odd but no error; nil for nobody.
	Warn func(format string, args ...any)
}

// Backend applies policies. Its calls run one after the other.
type Backend struct {
	said, warn func(format string, args ...any)
	variants   []*variant // the one that the command `iptables` is comes first

	mu   sync.Mutex
	hint hint

	inUse atomic.Pointer[variant] // where the chains are; nil: nowhere
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

// IPv6 says why the host's IPv6 can't be filtered; nil: it can.
func (b *Backend) IPv6() error { return nil }

// hint is what the last full Apply saw. It tells a small Apply where mybr's chains are
// and whether it is enough; a full Apply doesn't look at it.
type hint struct {
	use     *variant // nil: no full Apply yet, or none wanted anything
	facts   facts
	jumps   string // Docker's jumps in FORWARD of every variant, see dockerJumps
	settled bool   // Docker has made all of its chains, so jumps need not be looked at again
}

// New finds the commands. It reads no rules.
func New(cfg Config) (*Backend, error) {
	b := &Backend{said: cfg.Said, warn: cfg.Warn}
	for _, f := range []*func(string, ...any){&b.said, &b.warn} {
		if *f == nil {
			*f = func(string, ...any) {}
		}
	}
	var err error
	if b.variants, err = findVariants(cfg.Dir); err != nil {
		return nil, err
	}
	return b, nil
}

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
	if have != nil && b.hint.use != nil && commutes(*have, want) {
		done, err := b.applyDelta(ctx, *have, want)
		if err != nil {
			return fmt.Errorf("firewall: %w", err)
		}
		if done {
			return nil
		}
	}
	if err := b.applyFull(ctx, want); err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	return nil
}

// commutes reports whether the difference can be had by deleting and appending rules:
// no network has changed in place, and the chains are there before and after.
func commutes(have, want firewall.Policy) bool {
	if len(have.Networks) == 0 || len(want.Networks) == 0 {
		return false
	}
	was := make(map[string]firewall.Network, len(have.Networks))
	for _, n := range have.Networks {
		n.ID = ""
		was[n.Bridge] = n
	}
	for _, n := range want.Networks {
		n.ID = ""
		if h, ok := was[n.Bridge]; ok && h != n {
			return false
		}
	}
	return true
}

// applyDelta deletes the rules that went and appends those that came. done is false
// if Docker's chains are others than the last full Apply saw.
func (b *Backend) applyDelta(ctx context.Context, have, want firewall.Policy) (done bool, err error) {
	input := delta(render(have, b.hint.facts), render(want, b.hint.facts))
	if input == "" {
		return true, nil
	}
	if !b.hint.settled {
		jumps, err := dockerJumps(ctx, b.variants)
		if err != nil || jumps != b.hint.jumps {
			return false, err
		}
	}
	return true, b.hint.use.restore(ctx, input)
}

// delta is the input of iptables-restore that turns one ruleset into the other; ""
// if they are alike.
func delta(have, want ruleset) string {
	var out strings.Builder
	for i, t := range want {
		var gone, came strings.Builder
		for j, c := range t.chains {
			difference(&gone, "-D", have[i].chains[j], c)
			difference(&came, "-A", c, have[i].chains[j])
		}
		section(&out, t.name, gone.String()+came.String())
	}
	return out.String()
}

// difference writes the rules of a chain that the other version of it hasn't.
func difference(out *strings.Builder, action string, of, not chain) {
	known := make(map[string]bool, len(not.rules))
	for _, r := range not.rules {
		known[r.text] = true
	}
	for _, r := range of.rules {
		if !known[r.text] {
			fmt.Fprintf(out, "%s %s %s\n", action, of.name, r.text)
		}
	}
}

// section writes a table's part of the input of iptables-restore, if there is any.
func section(out *strings.Builder, table, lines string) {
	if lines != "" {
		fmt.Fprintf(out, "*%s\n%sCOMMIT\n", table, lines)
	}
}
