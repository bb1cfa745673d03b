package view

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// fromName is the option of who reaches published ports, viaName that of by which interfaces; a port
// can follow. modeName is that of
// whether an egress list is enforced, iccName that of what containers may begin to each other, and
// groupName that of the groups which that is about.
const (
	fromName = "mybr.publish.from"
	viaName  = "mybr.publish.interface"

	policyName = "mybr.publish.policy"
	modeName   = "mybr.egress.mode"
	iccName    = "mybr.icc"
	groupName  = "mybr.group"
)

// EgressName is the Setting of what containers may begin connections to.
const EgressName = "mybr.egress"

// textSetting is an option as it was given, and as it was set since.
func textSetting(name, given, set string) []Setting {
	if given == "" && set == "" {
		return nil
	}
	s := Setting{Name: name, Value: cmp.Or(set, given), Set: set != ""}
	if given != "" {
		s.Given = &given
	}
	return []Setting{s}
}

// Groups are those that the network's mybr.icc names an endpoint by, with commas between; "": none.
func (e Endpoint) Groups() string {
	for _, s := range e.Settings {
		if s.Name == groupName && s.Value != model.GroupNone {
			return s.Value
		}
	}
	return ""
}

// settings are the limits that were given, and those that were set since.
func settings(given, set []model.Limit) (all []Setting) {
	for _, l := range model.MergeLimits(given, set) {
		s := Setting{Name: fromName, Value: l.String(), Set: slices.ContainsFunc(set, l.Same)}
		if l.ByInterface() {
			s.Name = viaName
		}
		if ports := l.Ports(); ports != "" {
			s.Name += "." + ports
		}
		if i := slices.IndexFunc(given, l.Same); i >= 0 {
			value := given[i].String()
			s.Given = &value
		}
		all = append(all, s)
	}
	return all
}

// spoofSettings are the options about who may send what that were given, and those that were set
// since; sorted, and behind those of published ports.
func spoofSettings(given, set model.Spoof) (all []Setting) {
	for _, o := range []struct{ name, given, set string }{
		{"mybr.spoof", given.Mode, set.Mode}, {"mybr.spoof.addresses", given.Addresses, set.Addresses},
		{"mybr.spoof.macs", given.MACs, set.MACs}, {"mybr.spoof.trusted", given.Trusted, set.Trusted},
	} {
		if o.given == "" && o.set == "" {
			continue
		}
		s := Setting{Name: o.name, Value: cmp.Or(o.set, o.given), Set: o.set != ""}
		if o.given != "" {
			s.Given = &o.given
		}
		all = append(all, s)
	}
	return all
}

// lists are those of clients, with how often each is named.
func lists(s model.Snapshot) []List {
	all := []List{} // never null in JSON
	for _, l := range s.Lists {
		v := List{Name: l.Name, Prefixes: append([]netip.Prefix{}, l.Prefixes...), Egress: slices.Clone(l.Egress)}
		for _, n := range s.Networks {
			if model.Uses(n.From, l.Name) || model.Uses(n.FromSet, l.Name) || n.EgressUses(l.Name) {
				v.UsedBy++
			}
		}
		for _, e := range s.Endpoints {
			if model.Uses(e.From, l.Name) || model.Uses(e.FromSet, l.Name) || e.EgressUses(l.Name) {
				v.UsedBy++
			}
		}
		all = append(all, v)
	}
	return all
}

// ByPort is what is said of a range of which not all ports have the same clients.
const ByPort = "differs by port"

// admitted puts into a port who reaches it, and those behind it.
func (p *Port) admitted(n model.Network, e model.Endpoint, proto model.Proto, first uint16) {
	if n.Internal {
		return
	}
	for byInterface, to := range map[bool]*string{false: &p.From, true: &p.Interface} {
		of, texts := n.LimitOf(e, byInterface), map[string]bool{}
		for i := range p.Count {
			text := ""
			if l, ok := of(proto, first+i); ok && l.String() != model.FromAll {
				text = l.String()
			}
			texts[text] = true
			*to = text
		}
		if len(texts) > 1 {
			*to = ByPort
		}
	}
}
