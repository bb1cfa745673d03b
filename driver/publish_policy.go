package driver

import (
	"errors"
	"fmt"
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
	refused := func(proto model.Proto, port uint16) error {
		return model.Invalid("port %d/%s: with %s=%s the process carries published ports, which it can't do with SCTP: "+
			"publish it with %s=%s on the container or its network", port, proto, optPolicy, model.PublishHost, optPolicy, model.PublishOpen)
	}
	if i := slices.IndexFunc(e.Ports, func(b model.PortBinding) bool { return !b.Proto.Carried() }); i >= 0 {
		return refused(e.Ports[i].Proto, e.Ports[i].Container.Port())
	}
	if i := slices.IndexFunc(e.Wanted, func(r model.PortRequest) bool { return !r.Proto.Carried() }); i >= 0 {
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

// closedPort is a port of a container that nothing carries.
type closedPort struct {
	owner string // Endpoint.PortOwner
	proto model.Proto
	first uint16
}

// WarnClosed warns, once each, of recorded ports that nothing carries: a daemon whose default the
// host's firewall is finds those that were published while it was not. New ones are refused
// (checkCarried). It is to be called at the start.
func (d *Driver) WarnClosed() error {
	return d.store.View(func(tx Tx) error {
		networks := map[string]model.Network{}
		for _, n := range tx.Networks() {
			networks[n.ID] = n
		}
		told := map[closedPort]bool{}
		for _, e := range tx.Endpoints() {
			n, ok := networks[e.NetworkID]
			if !ok || !n.ByHost(*e, d.byHost) {
				continue
			}
			for _, b := range e.Ports {
				p := closedPort{e.PortOwner(), b.Proto, b.Host.Port()}
				if b.Proto.Carried() || told[p] { // it may be published in both families
					continue
				}
				told[p] = true
				by := optPolicy + "=" + model.PublishHost
				if e.PolicyInForce() == "" && n.PolicyInForce() == "" {
					by = "--publish-policy " + model.PublishHost
				}
				d.warn("%s port %s of endpoint %s is closed: with %s the process carries published ports, which it can't do with SCTP: mybr endpoint set %s %s=%s opens all ports of the container past the host's firewall, until it stops",
					b.Proto, span(b), short(e.ID), by, short(e.ID), optPolicy, model.PublishOpen)
			}
		}
		return nil
	})
}

// span is the host's port of a binding, or the first and the last one.
func span(b model.PortBinding) string {
	if b.Count <= 1 {
		return fmt.Sprint(b.Host.Port())
	}
	return fmt.Sprintf("%d-%d", b.Host.Port(), int(b.Host.Port())+int(b.Count)-1)
}
