package driver

import (
	"errors"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// optPolicy says whether the host's firewall decides who reaches published ports.
const optPolicy = "mybr.publish.policy"

// parsePolicy reads the option as it is recorded; an empty one says nothing.
func parsePolicy(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	policy, err := model.ParsePublishPolicy(value)
	if err != nil {
		return "", model.Invalid("option %s: %w", optPolicy, err)
	}
	return policy, nil
}

// policyOption reads it among others.
func policyOption(opts map[string]any) (string, error) {
	var value string
	if err := get(opts, optPolicy, &value); err != nil {
		return "", err
	}
	return parsePolicy(value)
}

// checkPolicy refuses a policy that a network can't have, and says why.
func checkPolicy(n model.Network, policy string) error {
	if policy != model.PublishHost || n.TakesPolicy() {
		return nil
	}
	switch {
	case n.Internal:
		return model.Invalid("option %s: an internal network publishes nothing: leave it out", optPolicy)
	case len(n.Trusted) > 0:
		return model.Invalid("option %s: %s: from the interfaces of %s ports are reached at the containers' own addresses, past the host's firewall: give one of the two", optPolicy, policy, optTrusted)
	}
	for _, f := range model.Families() {
		if m := n.Subnet(f).Mode; m == model.ModeRouted || m == model.ModeNATUnprotected {
			return model.Invalid("option %s: %s: with gateway mode %s ports are reached at the containers' own addresses, past the host's firewall: want mode nat for %s", optPolicy, policy, m, f)
		}
	}
	return nil
}

// checkCarried refuses ports that can't be published, since the host's firewall decides about them
// and the process can't carry them.
func (d *Driver) checkCarried(n model.Network, e model.Endpoint) error {
	if !n.ByHost(e, d.byHost) {
		return nil
	}
	carried := func(proto model.Proto) bool { return proto != model.SCTP }
	refused := func(proto model.Proto, port uint16) error {
		return model.Invalid("port %d/%s: with %s=%s the process carries published ports, which it can't do with SCTP: "+
			"publish it with %s=%s on the container or its network", port, proto, optPolicy, model.PublishHost, optPolicy, model.PublishOpen)
	}
	if i := slices.IndexFunc(e.Ports, func(b model.PortBinding) bool { return !carried(b.Proto) }); i >= 0 {
		return refused(e.Ports[i].Proto, e.Ports[i].Container.Port())
	}
	if i := slices.IndexFunc(e.Wanted, func(r model.PortRequest) bool { return !carried(r.Proto) }); i >= 0 {
		to := e.Wanted[i].V4
		if !to.Wanted() {
			to = e.Wanted[i].V6
		}
		return refused(model.SCTP, to.Container.Port())
	}
	return nil
}

// checkAllCarried is that for all endpoints of a network, which gets another policy.
func (d *Driver) checkAllCarried(tx Tx, n model.Network) error {
	var errs []error
	for _, e := range tx.Endpoints() {
		if e.NetworkID != n.ID {
			continue
		}
		if err := d.checkCarried(n, *e); err != nil {
			errs = append(errs, model.Invalid("endpoint %s: %w", short(e.ID), err))
		}
	}
	return errors.Join(errs...)
}

// checkRequests refuses requests of an endpoint as checkCarried does ports.
func (d *Driver) checkRequests(n model.Network, e model.Endpoint, requests []model.PortRequest) error {
	return d.checkCarried(n, model.Endpoint{Policy: e.Policy, PolicySet: e.PolicySet, Wanted: requests})
}
