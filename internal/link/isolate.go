package link

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Isolate has bridges keep these ports apart (isolated in bridge(8)) before a plan says so: for whoever
// takes away what has kept them apart until then. Links that are not there, or are no ports of a
// bridge, are passed over: what becomes of them is for a plan.
//
// Every error names the link; the others are set all the same.
func (a *Applier) Isolate(ctx context.Context, links []string) error {
	k := a.kernel()
	var errs []error
	for _, name := range links {
		if err := context.Cause(ctx); err != nil {
			return errors.Join(append(errs, err)...)
		}
		// EOPNOTSUPP: it is a port of nothing (rtnl_changelink).
		if err := k.isolate(name); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EOPNOTSUPP) {
			errs = append(errs, fmt.Errorf("link %s: isolate: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
