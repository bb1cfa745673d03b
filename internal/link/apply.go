package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// Applier makes links match a Set, in the network namespace of the calling thread.
// It holds no state.
type Applier struct {
	// Warn is told about leftovers that were deleted, and about addresses that could not
	// be announced. It may be nil.
	Warn func(format string, args ...any)
	// Prepare is called for a bridge that was just made, before it is brought up, and for
	// one that is to get an IPv6 address, before it gets that, which the kernel refuses
	// where disable_ipv6 is set (ip-sysctl.rst). It may be nil.
	Prepare func(ctx context.Context, b Bridge) error
}

// Apply makes the links match want. With have, which they are known to match, only the
// differences are looked at; with nil every link is read and mended, and what mybr
// made and nobody wants is deleted.
//
// One link that can't be made to match doesn't keep the others from it: the error
// joins one *Error for each. Deletions come last.
func (a *Applier) Apply(ctx context.Context, have *Set, want Set) error {
	p := &pass{ctx: ctx, warn: a.Warn, prepare: a.Prepare, ready: map[string]int{}, broken: map[string]bool{}}
	if have == nil {
		links, err := dumpLinks()
		if err != nil {
			return err
		}
		p.links = make(map[string]found, len(links))
		for _, l := range links {
			p.links[l.name] = l
		}
		have = &Set{}
	}
	bridges, veths := byName(have.Bridges, Bridge.key), byName(have.Veths, Veth.key)
	for _, b := range want.Bridges {
		if had := bridges[b.Name]; had != b {
			p.do(b.Name, func() error { return p.bridge(b, had) })
		}
		delete(bridges, b.Name)
	}
	for _, v := range want.Veths {
		had := veths[v.Host]
		if v.Joined && had.Host != "" {
			had.Joined = true // that Docker takes the peer changes nothing here
		}
		if had != v {
			p.do(v.Host, func() error { return p.veth(v, had) })
		}
		delete(veths, v.Host)
	}
	for _, v := range have.Veths {
		if _, gone := veths[v.Host]; gone {
			p.do(v.Host, func() error { return p.dropVeth(v) })
		}
	}
	for _, b := range have.Bridges {
		if _, gone := bridges[b.Name]; gone {
			p.do(b.Name, func() error { return p.dropBridge(b) })
		}
	}
	p.dropLeftovers(want)
	return errors.Join(p.errs...)
}

func (b Bridge) key() string { return b.Name }
func (v Veth) key() string   { return v.Host }

func byName[T any](list []T, name func(T) string) map[string]T {
	m := make(map[string]T, len(list))
	for _, e := range list {
		m[name(e)] = e
	}
	return m
}

// pass is what one Apply knows and has run into.
type pass struct {
	ctx     context.Context
	warn    func(format string, args ...any)
	prepare func(ctx context.Context, b Bridge) error
	links   map[string]found  // every link of the host by name; nil: only differences are looked at
	addrs   map[int][]address // by link index, read when first asked for
	ready   map[string]int    // indexes of bridges that veths may join
	broken  map[string]bool   // bridges that failed in this pass
	errs    []error
}

// do runs one step for a link, unless the context is done, and keeps its error.
func (p *pass) do(link string, step func() error) {
	err := p.ctx.Err()
	if err == nil {
		err = step()
	}
	if err != nil {
		p.errs = append(p.errs, &Error{Link: link, Err: err})
	}
}

// find reads one link, from the dump where there is one.
func (p *pass) find(name string) (l found, ok bool, err error) {
	if p.links != nil {
		l, ok = p.links[name]
		return l, ok, nil
	}
	l, err = getLink(name, 0)
	if errors.Is(err, model.ErrNotFound) {
		return found{}, false, nil
	}
	return l, err == nil, err
}

// addresses returns those of the link with an index, as they were when this pass first asked.
func (p *pass) addresses(index int) ([]address, error) {
	if p.addrs == nil {
		var err error
		if p.addrs, err = dumpAddresses(); err != nil {
			return nil, err
		}
	}
	return p.addrs[index], nil
}

// dropAddress takes an address off a link. With the first address of an IPv4 subnet the
// kernel takes the others of that subnet too, unless promote_secondaries is set
// (ip-sysctl.rst); those are somebody else's, and are put back.
func (p *pass) dropAddress(index int, a netip.Prefix) error {
	before, err := p.addresses(index)
	if err != nil || !has(before, a) {
		return err
	}
	if err := deleteAddress(index, a); err != nil {
		return fmt.Errorf("delete address %s: %w", a, err)
	}
	p.addrs = nil
	if a.Addr().Is6() {
		return nil
	}
	after, err := p.addresses(index)
	if err != nil {
		return err
	}
	for _, b := range before {
		if b.Prefix != a && b.Masked() == a.Masked() && !has(after, b.Prefix) {
			if err := addAddress(index, b.Prefix); err != nil {
				return fmt.Errorf("put back address %s: %w", b.Prefix, err)
			}
		}
	}
	p.addrs = nil
	return nil
}

func has(all []address, a netip.Prefix) bool {
	return slices.ContainsFunc(all, func(b address) bool { return b.Prefix == a })
}

// dropLeftovers deletes the links that mybr made and nobody wants, veths first. Only
// names count: a link that bears a wanted one has been seen to.
func (p *pass) dropLeftovers(want Set) {
	wanted := map[string]bool{}
	for _, b := range want.Bridges {
		wanted[b.Name] = true
	}
	for _, v := range want.Veths {
		wanted[v.Host] = true
	}
	for _, kind := range []string{kindVeth, kindBridge} {
		for name, l := range p.links {
			if l.kind != kind || wanted[name] || !l.ours() {
				continue
			}
			p.do(name, func() error {
				if err := deleteLink(l.index); err != nil {
					return fmt.Errorf("delete leftover %s %s: %w", kind, name, err)
				}
				if p.warn != nil {
					p.warn("deleted leftover %s %s (%s)", kind, name, l.alias)
				}
				return nil
			})
		}
	}
}

// ours reports whether mybr made the link: by its alias, which nobody else gives to a
// link of that kind.
func (l found) ours() bool {
	return l.kind == kindBridge && strings.HasPrefix(l.alias, model.AliasNetwork) ||
		l.kind == kindVeth && strings.HasPrefix(l.alias, model.AliasEndpoint)
}

// foreign is the error for a wanted name that a link of somebody else has.
func (l found) foreign() error {
	kind := l.kind
	if kind == "" {
		kind = "hardware"
	}
	return fmt.Errorf("link %s is there already and is not mybr's (kind %s, alias %q): %w", l.name, kind, l.alias, model.ErrConflict)
}
