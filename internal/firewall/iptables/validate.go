package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// validate refuses what can't be rendered, or would mean something else to iptables.
func validate(p firewall.Policy) error {
	if m := p.Accept; m.Value&^m.Mask != 0 {
		return fmt.Errorf("accept mark %#x/%#x: %w: the value has bits outside of the mask", m.Value, m.Mask, model.ErrInvalid)
	}
	networks := make(map[string]firewall.Network, len(p.Networks))
	for _, n := range p.Networks {
		if err := validName(n.Bridge); err != nil {
			return fmt.Errorf("network %s: bridge %w", n.ID, err)
		}
		if _, ok := networks[n.Bridge]; ok {
			return fmt.Errorf("network %s: bridge %s: %w: used twice", n.ID, n.Bridge, model.ErrConflict)
		}
		networks[n.Bridge] = n
		for _, fam := range []family{ipv4(), ipv6()} {
			if err := fam.validate(fam.of(n)); err != nil {
				return fmt.Errorf("network %s: %w", n.ID, err)
			}
		}
	}
	for _, port := range p.Ports {
		if _, ok := networks[port.Bridge]; !ok {
			return fmt.Errorf("port %s: %w: no network has the bridge %q", port, model.ErrInvalid, port.Bridge)
		}
		if err := validPort(port.PortBinding); err != nil {
			return fmt.Errorf("port %s: %w", port, err)
		}
	}
	for _, o := range p.Openings {
		n, ok := networks[o.Bridge]
		if !ok {
			return fmt.Errorf("opening %s: %w: no network has the bridge %q", o.Addr, model.ErrInvalid, o.Bridge)
		}
		if err := validOpening(n, o); err != nil {
			return fmt.Errorf("opening %s: %w", o.Addr, err)
		}
	}
	return nil
}

// validate refuses what a network can't have in a family.
func (fam family) validate(f firewall.Family) error {
	if a := f.Prefix; a.IsValid() && (!fam.owns(a.Addr()) || a != a.Masked()) {
		return fmt.Errorf("subnet %s: %w %s prefix", a, model.ErrInvalid, fam)
	}
	if a := f.SNAT; a.IsValid() && (!fam.owns(a) || a.IsUnspecified()) {
		return fmt.Errorf("source address %s: %w %s address", a, model.ErrInvalid, fam)
	}
	switch f.Direct {
	case firewall.DirectNone, firewall.DirectOpenings, firewall.DirectRouted, firewall.DirectAll:
		return nil
	}
	return fmt.Errorf("direct access %q in %s: %w", f.Direct, fam, model.ErrInvalid)
}

func validPort(b model.PortBinding) error {
	if err := validProto(b.Proto); err != nil {
		return err
	}
	host, to := b.Host.Addr(), b.Container.Addr()
	alike := func(fam family) bool { return fam.owns(host) && fam.owns(to) }
	switch {
	case !alike(ipv4()) && !alike(ipv6()) || to.IsUnspecified():
		return fmt.Errorf("%w: both addresses must be IPv4 addresses, or both IPv6 addresses", model.ErrInvalid)
	case host.IsLoopback():
		return fmt.Errorf("%w: a loopback address can't be translated", model.ErrInvalid)
	case !validSpan(b.Host.Port(), b.Count) || !validSpan(b.Container.Port(), b.Count):
		return fmt.Errorf("%w: ports are numbers from 1 to 65535", model.ErrInvalid)
	}
	return nil
}

// validOpening refuses an opening that would have no effect, or not the one it says.
func validOpening(n firewall.Network, o firewall.Opening) error {
	all := []family{ipv4(), ipv6()}
	i := slices.IndexFunc(all, func(fam family) bool { return fam.owns(o.Addr) })
	if i < 0 {
		return fmt.Errorf("%w address", model.ErrInvalid)
	}
	switch f := all[i].of(n); {
	case n.Internal || f.Direct != firewall.DirectOpenings && f.Direct != firewall.DirectRouted:
		return fmt.Errorf("%w: the network %s takes none", model.ErrInvalid, n.ID)
	case !f.Prefix.IsValid() || !f.Prefix.Contains(o.Addr):
		return fmt.Errorf("%w: the network's subnet is %s", model.ErrInvalid, subnet(f.Prefix))
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
// iptables reads otherwise: a final + is a wildcard, ! negates, quotes are taken off.
func validName(name string) error {
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"'\/:`, r) }
	if name == "" || len(name) > 15 || name[0] == '-' || name[0] == '!' || strings.HasSuffix(name, "+") || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%q: %w: iptables can't match such a name", name, model.ErrInvalid)
	}
	return nil
}
