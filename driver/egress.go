package driver

import (
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
	if names := l.Names(); len(names) > 0 {
		return "", model.Invalid("option %s: %s: names are not supported yet: want the addresses that are meant", optEgress, names[0])
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

// checkEgressLists refuses a list that names others which are not there.
func checkEgressLists(tx Tx, recorded string) error {
	if recorded == "" {
		return nil
	}
	l, err := egress.Parse(recorded)
	if err != nil {
		return err
	}
	lists := model.ListsOf(model.Snapshot{Lists: tx.Lists()})
	for _, name := range l.Lists() {
		if _, there := lists[name]; !there {
			return model.NotFound("option %s: there is no list %s: make it with mybr list set %s ENTRY…", optEgress, name, name)
		}
	}
	return nil
}

// checkKept refuses a list with entries that nobody enforces.
func checkKept(l model.List) error {
	for _, e := range egress.Kept(l) {
		if e.Name != "" {
			return model.Invalid("list %s: %s: names are not supported yet: want the addresses that are meant", l.Name, e)
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
