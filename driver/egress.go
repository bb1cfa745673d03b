package driver

import (
	"errors"
	"fmt"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/model"
)

// optEgress says what containers may begin connections to.
const optEgress = "mybr.egress"

// parseEgress reads the option as it is recorded; an empty one says nothing.
func parseEgress(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	l, err := egress.Parse(value)
	if err != nil {
		return "", model.Invalid("option %s: %w", optEgress, err)
	}
	return l.String(), nil
}

// egressOption reads it among others.
func egressOption(opts map[string]any) (string, error) {
	var value string
	if err := get(opts, optEgress, &value); err != nil {
		return "", err
	}
	return parseEgress(value)
}

// checkEgress refuses a list that could not be held against a container of the network: it counts
// only for who sends from its own address (model.SpoofMode), and where mybr knows all ports of
// the bridge. One that is only watched needs neither.
func (d *Driver) checkEgress(n model.Network, e model.Endpoint) error {
	if err := checkEgressMode(n, e); err != nil {
		return err
	}
	if !model.EgressEnforced(n, e) {
		return nil
	}
	return d.checkSenders(n, e, optEgress, "containers could get past the list with addresses of others, which can't be kept from them on this host")
}

// checkSenders refuses an option whose list holds only where senders are checked. unable is what it
// means that this host can't check them.
func (d *Driver) checkSenders(n model.Network, e model.Endpoint, option, unable string) error {
	switch {
	case !n.Owned:
		return model.Invalid("option %s: the bridge %s was there before mybr used it: what else is plugged in there would be a way past the list", option, n.Bridge)
	case d.noSpoof != nil:
		return model.Invalid("option %s: %s: %w", option, unable, d.noSpoof)
	}
	for _, mode := range []string{e.SpoofSet.Over(e.Spoof).Mode, n.SpoofSet.Over(n.Spoof).Mode} {
		if mode == model.SpoofAllow || mode == model.SpoofAudit {
			return model.Invalid("option %s: %s can't be had together with %s: containers could get past the list with addresses of others", optSpoof, mode, option)
		}
	}
	return nil
}

// checkLists is checkEgress, checkNames and checkICC; of a network alone with no endpoint.
func (d *Driver) checkLists(lists model.Lists, n model.Network, e model.Endpoint) error {
	return errors.Join(d.checkEgress(n, e), d.checkNames(lists, n, e), d.checkICC(n, e))
}

// checkEndpoints is checkLists for a network and all its endpoints.
func (d *Driver) checkEndpoints(tx Tx, n model.Network) error {
	lists := listsOf(tx)
	if err := d.checkLists(lists, n, model.Endpoint{}); err != nil {
		return err
	}
	for _, e := range tx.Endpoints() {
		if e.NetworkID != n.ID {
			continue
		}
		if err := d.checkLists(lists, n, *e); err != nil {
			return fmt.Errorf("endpoint %s: %w", short(e.ID), err)
		}
	}
	return nil
}

// checkEgressLists refuses a list that names others which are not there.
func checkEgressLists(tx Tx, recorded string) error {
	if recorded == "" {
		return nil
	}
	l, err := egress.Parse(recorded)
	if err != nil {
		return err
	}
	lists := listsOf(tx)
	for _, name := range l.Lists() {
		if _, there := lists[name]; !there {
			return model.NotFound("option %s: there is no list %s: make it with mybr list set %s ENTRY…", optEgress, name, name)
		}
	}
	return nil
}

// checkClients refuses entries that make no sense for clients in a list that limits name.
func checkClients(tx Tx, l model.List) error {
	if len(l.Egress) == 0 {
		return nil
	}
	for _, n := range tx.Networks() {
		if model.Uses(n.From, l.Name) || model.Uses(n.FromSet, l.Name) {
			return model.Invalid("list %s: %s: option %s of network %s names the list, and takes addresses and prefixes alone", l.Name, l.Egress[0], optFrom, short(n.ID))
		}
	}
	for _, e := range tx.Endpoints() {
		if model.Uses(e.From, l.Name) || model.Uses(e.FromSet, l.Name) {
			return model.Invalid("list %s: %s: option %s of endpoint %s names the list, and takes addresses and prefixes alone", l.Name, l.Egress[0], optFrom, short(e.ID))
		}
	}
	return nil
}
