package nftables

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/plan"
)

// Leftovers removes what the backend has left, where another one is used now.
type Leftovers struct{ sockets sockets }

// Plan has mybr's tables removed, if there are any.
func (l *Leftovers) Plan(ctx context.Context) (steps plan.Plan, err error) {
	conn, end, err := l.sockets.open(ctx)
	if err != nil {
		return nil, wrap(err)
	}
	defer end()
	for _, fam := range []family{ipv4(), ipv6()} {
		there, err := hasTable(conn, fam.table, tableName)
		// The kernel has no nf_tables, or not for this family.
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			return steps, wrap(err)
		}
		if !there {
			continue
		}
		c := fam.compare(found{there: true}, ruleset{})
		steps = append(steps, plan.Step{Kind: "rules", Changes: c.text, Do: func(ctx context.Context) error { return wrap(l.remove(ctx, c)) }})
	}
	return steps, nil
}

// remove removes one table. One that is gone is fine.
func (l *Leftovers) remove(ctx context.Context, c change) error {
	conn, end, err := l.sockets.open(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := c.put(conn); err != nil {
		return err
	}
	if err := commit(conn); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// Own is Backend.Own.
func (l *Leftovers) Own(pid int) bool { return l.sockets.own(pid) }

// Told is Backend.Told.
func (l *Leftovers) Told(change string) (firewall.Change, bool) { return told(change) }
