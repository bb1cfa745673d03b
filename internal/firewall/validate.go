package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// Validate refuses what can't be rendered, or would mean something else to a backend. The
// error joins an *plan.Error of its subject for each network, port, opening, limit, egress list and grant;
// they are of model.ErrInvalid, or model.ErrConflict.
func (p Policy) Validate() error {
	var errs []error
	blame := func(subject, format string, args ...any) {
		errs = append(errs, &plan.Error{Subject: subject, Err: fmt.Errorf("firewall: "+format, args...)})
	}
	if m := p.Accept; m.Value&^m.Mask != 0 {
		blame("", "accept mark %#x/%#x: %w: the value has bits outside of the mask", m.Value, m.Mask, model.ErrInvalid)
	}
	networks, invalid := make(map[string]Network, len(p.Networks)), map[string]bool{}
	for _, n := range p.Networks {
		_, twice := networks[n.Bridge]
		networks[n.Bridge] = n
		if err := n.validate(); err != nil {
			invalid[n.Bridge] = true // and so are its ports and openings, which go with it
			blame(n.Bridge, "network %s: %w", n.ID, err)
		} else if twice {
			blame(n.Bridge, "network %s: bridge %s: %w: used twice", n.ID, n.Bridge, model.ErrConflict)
		}
	}
	for _, port := range p.Ports {
		if _, ok := networks[port.Bridge]; !ok {
			blame(port.Link, "port %s: %w: no network has the bridge %q", port, model.ErrInvalid, port.Bridge)
		} else if invalid[port.Bridge] {
			continue
		} else if err := validPort(port.PortBinding); err != nil {
			blame(port.Link, "port %s: %w", port, err)
		}
	}
	for _, o := range p.Openings {
		if n, ok := networks[o.Bridge]; !ok {
			blame(o.Link, "opening %s: %w: no network has the bridge %q", o.Addr, model.ErrInvalid, o.Bridge)
		} else if invalid[o.Bridge] {
			continue
		} else if err := validOpening(n, o); err != nil {
			blame(o.Link, "opening %s: %w", o.Addr, err)
		}
	}
	for _, l := range p.Limits {
		if n, ok := networks[l.Bridge]; !ok {
			blame(l.Link, "limit %s: %w: no network has the bridge %q", l.Addr, model.ErrInvalid, l.Bridge)
		} else if invalid[l.Bridge] {
			continue
		} else if err := validLimit(n, l); err != nil {
			blame(l.Link, "limit %s: %w", l.Addr, err)
		}
	}
	closed, own := map[string]bool{}, map[string]bool{}
	for _, e := range p.Egress {
		own[e.Bridge] = own[e.Bridge] || e.Addr.IsValid()
	}
	for _, e := range p.Egress {
		if n, ok := networks[e.Bridge]; !ok {
			blame(e.Link, "egress list of %s: %w: no network has the bridge %q", e.what(), model.ErrInvalid, e.Bridge)
		} else if invalid[e.Bridge] {
			continue
		} else if err := validEgress(n, e); err != nil {
			blame(e.Link, "egress list of %s: %w", e.what(), err)
		} else if e.Names && !e.Addr.IsValid() && own[e.Bridge] {
			blame(e.Link, "egress list of %s: %w: it has names, and containers have lists of their own", e.what(), model.ErrInvalid)
		}
		closed[e.Bridge] = closed[e.Bridge] || !e.Addr.IsValid()
	}
	for i, g := range p.Grants {
		if n, ok := networks[g.Bridge]; !ok {
			blame(g.Link, "grant to %s: %w: no network has the bridge %q", g.Addr, model.ErrInvalid, g.Bridge)
		} else if invalid[g.Bridge] {
			continue
		} else if err := validGrant(n, g); err != nil {
			blame(g.Link, "grant to %s: %w", g.Addr, err)
		} else if i > 0 && p.Grants[i-1].overlaps(g) {
			blame(g.Link, "grant to %s: to %s: %w: another one has some of it", g.Addr, g.To, model.ErrConflict)
		}
	}
	for _, n := range p.Networks {
		if n.Listed && !closed[n.Bridge] && !invalid[n.Bridge] {
			blame(n.Bridge, "network %s: %w: there is no egress list for whatever address a container gives itself", n.ID, model.ErrInvalid)
		}
	}
	return errors.Join(errs...)
}

// Valid is the policy without the parts that Validate refuses, and what it says of them. ok
// is false if it refuses what concerns all parts: then there is no such policy.
func (p Policy) Valid() (valid Policy, ok bool, refused error) {
	refused = p.Validate()
	parts, rest := plan.Blame(refused)
	if rest != nil {
		return Policy{}, false, refused
	}
	gone := make(map[string]bool, len(parts))
	for _, e := range parts {
		gone[e.Subject] = true
	}
	if len(gone) > 0 {
		p = p.Only(func(subject string) bool { return !gone[subject] })
	}
	return p, true, refused
}

func (n Network) validate() error {
	if err := validName(n.Bridge); err != nil {
		return fmt.Errorf("bridge %w", err)
	}
	for _, f := range model.Families() {
		if err := n.Family(f).validate(f); err != nil {
			return err
		}
	}
	return nil
}

// validate refuses what a network can't have in a family.
func (s Family) validate(f model.Family) error {
	if a := s.Prefix; a.IsValid() && (!f.Has(a.Addr()) || a != a.Masked()) {
		return fmt.Errorf("subnet %s: %w %s prefix", a, model.ErrInvalid, f)
	}
	if a := s.SNAT; a.IsValid() && (!f.Has(a) || a.IsUnspecified()) {
		return fmt.Errorf("source address %s: %w %s address", a, model.ErrInvalid, f)
	}
	if a := s.Gateway; a.IsValid() && (!f.Has(a) || a.IsUnspecified()) {
		return fmt.Errorf("gateway %s: %w %s address", a, model.ErrInvalid, f)
	}
	inputs := []Input{InputAll, InputNone}
	if f == model.IPv6 {
		inputs = append(inputs, InputNoAdvertisements)
	}
	switch {
	case !slices.Contains([]Direct{DirectNone, DirectOpenings, DirectRouted, DirectAll}, s.Direct):
		return fmt.Errorf("direct access %q in %s: %w", s.Direct, f, model.ErrInvalid)
	case !slices.Contains(inputs, s.Input):
		return fmt.Errorf("input %q in %s: %w", s.Input, f, model.ErrInvalid)
	}
	return nil
}

func validPort(b model.PortBinding) error {
	if err := validProto(b.Proto); err != nil {
		return err
	}
	host, to := b.Host.Addr(), b.Container.Addr()
	alike := func(f model.Family) bool { return f.Has(host) && f.Has(to) }
	switch {
	case !alike(model.IPv4) && !alike(model.IPv6) || to.IsUnspecified():
		return fmt.Errorf("%w: both addresses must be IPv4 addresses, or both IPv6 addresses", model.ErrInvalid)
	case host.IsLoopback():
		return fmt.Errorf("%w: a loopback address can't be translated", model.ErrInvalid)
	case !validSpan(b.Host.Port(), b.Count) || !validSpan(b.Container.Port(), b.Count):
		return fmt.Errorf("%w: ports are numbers from 1 to 65535", model.ErrInvalid)
	}
	return nil
}

// validOpening refuses an opening that would have no effect, or not the one it says.
func validOpening(n Network, o Opening) error {
	f := model.FamilyOf(o.Addr)
	if !f.Has(o.Addr) {
		return fmt.Errorf("%w address", model.ErrInvalid)
	}
	switch s := n.Family(f); {
	case n.Internal || s.Direct != DirectOpenings && s.Direct != DirectRouted:
		return fmt.Errorf("%w: the network %s takes none", model.ErrInvalid, n.ID)
	case !s.Prefix.IsValid() || !s.Prefix.Contains(o.Addr):
		return fmt.Errorf("%w: the network's subnet is %s", model.ErrInvalid, subnet(s.Prefix))
	case !validSpan(o.First, o.Count):
		return fmt.Errorf("ports %d, %d of them: %w: ports are numbers from 1 to 65535", o.First, o.Count, model.ErrInvalid)
	}
	if o.From != "" {
		if err := validName(o.From); err != nil {
			return fmt.Errorf("from interface %w", err)
		}
	}
	return validProto(o.Proto)
}

// validLimit refuses a limit that would have no effect, or not the one it says. One of a network
// that everything may enter would be one in name only.
func validLimit(n Network, l Limit) error {
	f := model.FamilyOf(l.Addr)
	if !f.Has(l.Addr) {
		return fmt.Errorf("%w address", model.ErrInvalid)
	}
	switch s := n.Family(f); {
	case !n.Limited && !l.From.All(f) || !n.Arrivals && l.Via != "" || !n.Forwards(f) || n.Unprotected(f):
		return fmt.Errorf("%w: the network %s takes none", model.ErrInvalid, n.ID)
	case !s.Prefix.Contains(l.Addr):
		return fmt.Errorf("%w: the network's subnet is %s", model.ErrInvalid, subnet(s.Prefix))
	case !validSpan(l.First, l.Count):
		return fmt.Errorf("ports %d, %d of them: %w: ports are numbers from 1 to 65535", l.First, l.Count, model.ErrInvalid)
	case l.From.All(f) && l.Via == "":
		return fmt.Errorf("%w: everybody is let in", model.ErrInvalid)
	}
	for _, name := range l.Via.Names() {
		if err := validName(name); err != nil {
			return fmt.Errorf("interface %w", err)
		}
	}
	return validProto(l.Proto)
}

func subnet(p netip.Prefix) string {
	if !p.IsValid() {
		return "off"
	}
	return p.String()
}

func validProto(p model.Proto) error {
	if p != model.TCP && p != model.UDP && p != model.SCTP {
		return fmt.Errorf("protocol %s: %w: it has no ports that can be published", p, model.ErrInvalid)
	}
	return nil
}

// validSpan reports whether there are count ports from the first on.
func validSpan(first, count uint16) bool {
	return first > 0 && count > 0 && int(first)+int(count) <= 1<<16
}

// validName refuses names of links that the kernel takes (dev_valid_name) but that
// the commands read otherwise: a final + is a wildcard (iptables(8)), ! negates, quotes
// are taken off.
func validName(name string) error {
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"'\/:`, r) }
	if name == "" || len(name) > 15 || name[0] == '-' || name[0] == '!' || strings.HasSuffix(name, "+") || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%q: %w: iptables can't match such a name", name, model.ErrInvalid)
	}
	return nil
}
