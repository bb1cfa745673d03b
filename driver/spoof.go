package driver

import (
	"maps"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// Options about who may send what. The first is of networks and of endpoints, the others are of
// endpoints alone: a network does not know which of its containers they would be for.
const (
	optSpoof          = "mybr.spoof"           // refuse, audit or allow what is not the endpoint's own
	optSpoofAddresses = "mybr.spoof.addresses" // prefixes that count as its own
	optSpoofMACs      = "mybr.spoof.macs"      // MACs that do
	optSpoofTrusted   = "mybr.spoof.trusted"   // what it may be for others: dhcp, ra
)

// isSpoof reports whether a key is one of these, or meant to be.
func isSpoof(key string) bool { return key == optSpoof || strings.HasPrefix(key, optSpoof+".") }

// spoofField is what an option is recorded in, and what reads it; nil: there is no such option.
func spoofField(s *model.Spoof, key string) (*string, func(string) (string, error)) {
	switch key {
	case optSpoof:
		return &s.Mode, model.ParseSpoofMode
	case optSpoofAddresses:
		return &s.Addresses, model.ParseSpoofAddresses
	case optSpoofMACs:
		return &s.MACs, model.ParseSpoofMACs
	case optSpoofTrusted:
		return &s.Trusted, model.ParseSpoofTrusted
	}
	return nil, nil
}

// setSpoof reads one option into s; an empty value says nothing.
func setSpoof(s *model.Spoof, key, value string, endpoint bool) error {
	field, parse := spoofField(s, key)
	switch {
	case field == nil:
		return model.Invalid("option %s is not known: want %s, %s, %s or %s", quoted(key), optSpoof, optSpoofAddresses, optSpoofMACs, optSpoofTrusted)
	case key != optSpoof && !endpoint:
		return model.Invalid("option %s is one of containers: give it with docker run --network name=NETWORK,driver-opt=%s=…, or mybr endpoint set", key, key)
	case value == "":
		*field = ""
		return nil
	}
	read, err := parse(value)
	if err != nil {
		return model.Invalid("option %s: %w", key, err)
	}
	*field = read
	return nil
}

// parseSpoof reads these options among others.
func parseSpoof(opts map[string]any, endpoint bool) (s model.Spoof, err error) {
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		var value string
		if !isSpoof(key) {
			continue
		}
		if err := get(opts, key, &value); err != nil {
			return s, err
		}
		if err := setSpoof(&s, key, value, endpoint); err != nil {
			return s, err
		}
	}
	return s, nil
}

// checkSpoof refuses what this host can't do.
func (d *Driver) checkSpoof(s model.Spoof) error {
	if (s.Mode == model.SpoofRefuse || s.Mode == model.SpoofAudit) && d.noSpoof != nil {
		return model.Invalid("option %s: %s can't be had on this host: %w", optSpoof, s.Mode, d.noSpoof)
	}
	return nil
}

// changeSpoof is what was set, after changes, of which an empty value takes back what was set.
func (d *Driver) changeSpoof(set model.Spoof, changes map[string]string, endpoint bool) (model.Spoof, error) {
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		if err := setSpoof(&set, key, changes[key], endpoint); err != nil {
			return set, err
		}
	}
	return set, d.checkSpoof(set)
}

// shares reports whether an endpoint that joins a sandbox makes a difference to who may send
// what: the ports of one container may send from the addresses of all of them.
func (d *Driver) shares(tx Tx, joins model.Endpoint, sandbox string) bool {
	checked := func(e *model.Endpoint) bool {
		n, err := tx.Network(e.NetworkID)
		return err == nil && model.SpoofMode(n, *e, d.spoofDefault) != model.SpoofAllow
	}
	others, isChecked := false, false
	for _, e := range tx.EndpointsOf(sandbox) {
		if e.Sandbox == sandbox && e.ID != joins.ID {
			others, isChecked = true, isChecked || checked(e)
		}
	}
	return isChecked || others && checked(&joins)
}
