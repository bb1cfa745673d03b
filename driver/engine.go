package driver

import (
	"context"
	"errors"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// engineKey is the key of the engine that calls in the context of its call.
type engineKey struct{}

// WithEngine returns the context of a call with the process that calls: a name which no other
// process of the host has or had since it was booted. "" says that it is not known.
//
// Several Docker Engines of a host can use one mybr. None says in its calls which it is.
func WithEngine(ctx context.Context, engine string) context.Context {
	return context.WithValue(ctx, engineKey{}, engine)
}

func engineOf(ctx context.Context) string {
	e, _ := ctx.Value(engineKey{}).(string)
	return e
}

// useNetwork records that an engine, which may have been started again, uses a network. It is
// the engine that used the network before, then, and if that process has ended, its other
// networks are the engine's too.
func (d *Driver) useNetwork(ctx context.Context, tx Tx, id string) error {
	by := engineOf(ctx)
	if by == "" {
		return nil
	}
	n, err := tx.Network(id)
	if err != nil || n.Engine == by {
		return err
	}
	before := n.Engine
	again := before != "" && !d.lives(before)
	var errs []error
	for _, o := range tx.Networks() {
		if o.ID == id || again && o.Engine == before {
			o.Engine = by
			errs = append(errs, tx.PutNetwork(o))
		}
	}
	return errors.Join(errs...)
}

// used is useNetwork for a call that takes away what the network has, or the network itself.
// There is nothing to record, as a rule.
func (d *Driver) used(ctx context.Context, n model.Network) error {
	if by := engineOf(ctx); by == "" || n.Engine == by {
		return nil
	}
	_, err := d.store.Update(func(tx Tx) error { return d.useNetwork(ctx, tx, n.ID) })
	return err
}

// ofOther reports whether a network can be that of another engine than the one that calls: of
// one that runs, or, if the engine that used it last has ended, of any where another runs.
func (d *Driver) ofOther(n model.Network, engine string, all []model.Network) bool {
	if n.Engine == engine {
		return false
	}
	return d.lives(n.Engine) || slices.ContainsFunc(all, func(o model.Network) bool { return o.Engine != engine && d.lives(o.Engine) })
}
