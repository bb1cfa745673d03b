package driver

import (
	"github.com/mybr/mybr/internal/icc"
	"github.com/mybr/mybr/internal/model"
)

// optICCList says which containers of a network may begin connections to which others, and
// optGroup the groups of a container that it names.
const (
	optICCList = "mybr.icc"
	optGroup   = "mybr.group"
)

// parseICC reads the option as it is recorded; an empty one says nothing.
func parseICC(value string) (string, error) {
	switch value {
	case "", model.ICCAll, model.ICCNone:
		return value, nil
	}
	l, err := icc.Parse(value)
	if err != nil {
		return "", model.Invalid("option %s: %w", optICCList, err)
	}
	return l.String(), nil
}

// parseGroup is that for the groups of a container.
func parseGroup(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	groups, err := icc.ParseGroups(value)
	if err != nil {
		return "", model.Invalid("option %s: %w", optGroup, err)
	}
	return groups, nil
}

// groupOption reads it among others.
func groupOption(opts map[string]any) (string, error) {
	var value string
	if err := get(opts, optGroup, &value); err != nil {
		return "", err
	}
	return parseGroup(value)
}

// setICC reads the list among the options of a network, and refuses one that contradicts Docker's
// option.
func (o *netOptions) setICC(user map[string]any) (err error) {
	var value string
	if err := get(user, optICCList, &value); err != nil {
		return err
	}
	if o.ICCList, err = parseICC(value); err != nil || o.ICCList == "" {
		return err
	}
	said := user[optICC] != nil
	switch o.ICCList {
	case model.ICCNone:
		if said && o.ICC {
			return model.Invalid("option %s: %s contradicts option %s=true: give one of them", optICCList, o.ICCList, optICC)
		}
		o.ICC = false
	default:
		if said && !o.ICC {
			return model.Invalid("option %s: %s contradicts option %s=false: give one of them", optICCList, quoted(value), optICC)
		}
	}
	return nil
}

// checkICC refuses a list that could not be held against a container of the network, as
// checkEgress does.
func (d *Driver) checkICC(n model.Network, e model.Endpoint) error {
	if !n.ICCListed() {
		return nil
	}
	return d.checkSenders(n, e, optICCList, "frames between containers can't be filtered on this host")
}
