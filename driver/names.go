package driver

import (
	"cmp"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/model"
)

// This file is about host names in lists of what containers may begin connections to.

// checkNames refuses a list with host names, its own or those of the lists that it names, where they
// can't be enforced: what is asked of names is led to mybr's process at the bridge's own address.
// One that is only watched leads nothing.
// On an internal network, which nothing leaves, whoever asks that address would be carried outside.
func (d *Driver) checkNames(lists model.Lists, n model.Network, e model.Endpoint) error {
	if !model.EgressEnforced(n, e) {
		return nil
	}
	names := egress.RecordedNames(cmp.Or(e.EgressInForce(), n.EgressInForce()), lists).Entries()
	if len(names) == 0 {
		return nil
	}
	if d.noNames != nil {
		return model.Invalid("option %s: %s: %w", optEgress, names[0], d.noNames)
	}
	if n.Internal {
		return model.Invalid("option %s: %s: the network is internal, so nothing leaves it: want addresses, none, or a network that is not", optEgress, names[0])
	}
	for _, f := range model.Families() {
		if s := n.Subnet(f); s.Prefix.IsValid() && !s.Address.IsValid() {
			return model.Invalid("option %s: %s: the host has no address on the network's bridge in %s, where containers would ask it for names: want addresses, or a network with a gateway", optEgress, names[0], f)
		}
	}
	return nil
}

// checkKept refuses a list with names where nobody could enforce them, of itself and for all whose
// option names it.
func (d *Driver) checkKept(tx Tx, l model.List) error {
	var name egress.Entry
	for _, e := range egress.Kept(l) {
		if e.Name != "" {
			name = e
			break
		}
	}
	switch {
	case name.Name == "":
		return nil
	case d.noNames != nil:
		return model.Invalid("list %s: %s: %w", l.Name, name, d.noNames)
	}
	lists := listsOf(tx)
	lists[l.Name] = l
	networks := map[string]model.Network{}
	for _, n := range tx.Networks() {
		if networks[n.ID] = n; !n.EgressUses(l.Name) {
			continue
		}
		if err := d.checkNames(lists, n, model.Endpoint{}); err != nil {
			return model.Invalid("list %s: network %s: %w", l.Name, short(n.ID), err)
		}
	}
	for _, e := range tx.Endpoints() {
		if n, there := networks[e.NetworkID]; there && e.EgressUses(l.Name) {
			if err := d.checkNames(lists, n, *e); err != nil {
				return model.Invalid("list %s: endpoint %s: %w", l.Name, short(e.ID), err)
			}
		}
	}
	return nil
}

// listsOf are the lists of a transaction.
func listsOf(tx Tx) model.Lists { return model.ListsOf(model.Snapshot{Lists: tx.Lists()}) }
