package driver

import (
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// span is the entry's port of the container.
func (p portEntry) span() model.PortSpan {
	return model.PortSpan{Proto: model.Proto(p.Proto), First: p.Port, Count: 1}
}

// entriesOf are the ports of spans one by one.
func entriesOf(spans []model.PortSpan) (all []portEntry) {
	for _, s := range spans {
		for i := range s.Count {
			all = append(all, portEntry{Proto: uint8(s.Proto), Port: s.First + i})
		}
	}
	return all
}

// atContainer are the ports of a span at a container's address, each as of model.Endpoint.Added.
func atContainer(s model.PortSpan, a netip.Addr) (all []model.PortBinding) {
	for _, p := range entriesOf([]model.PortSpan{s}) {
		all = append(all, model.PortBinding{Proto: s.Proto, Container: netip.AddrPortFrom(a, p.Port), Count: 1})
	}
	return all
}

// openBindings is what an endpoint opens in its routed families.
func openBindings(e model.Endpoint) (all []model.PortBinding) {
	for _, f := range model.Families() {
		for _, s := range *e.Open(f) {
			all = append(all, atContainer(s, e.Address(f).Addr())...)
		}
	}
	return all
}

// changedOpen is what Docker has a family of an endpoint open, after what an operator has changed.
func changedOpen(spans []model.PortSpan, f model.Family, e model.Endpoint) []model.PortSpan {
	if len(e.Added)+len(e.Removed) == 0 {
		return spans
	}
	set := model.PortSet{}
	for _, s := range spans {
		for _, b := range atContainer(s, e.Address(f).Addr()) {
			set[b] = true
		}
	}
	for _, b := range e.Removed {
		delete(set, b)
	}
	for _, b := range e.Added {
		if !b.Host.IsValid() && model.FamilyOf(b.Container.Addr()) == f {
			set[b] = true
		}
	}
	var entries []portEntry
	for b := range set {
		entries = append(entries, portEntry{Proto: uint8(b.Proto), Port: b.Container.Port()})
	}
	return opened(entries)
}
