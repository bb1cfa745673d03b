package driver

import (
	"net/netip"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// kind is what differs between kinds of networks: what an endpoint is made of, and how
// one sees what has become of it.
type kind interface {
	// parse reads what Docker asks of a new endpoint.
	parse(n model.Network, r *network.CreateEndpointRequest) (model.Endpoint, error)
	// subject is the link whose failures concern the endpoint.
	subject(e model.Endpoint) string
	// source is the interface that Docker moves into the sandbox.
	source(e model.Endpoint) string
	// place says where the endpoint's interface is, by the names of the host's links.
	place(e model.Endpoint, links map[string]bool) place
	// returned reports whether the endpoint's interface, which is on the host, has certainly
	// been in a sandbox.
	returned(e model.Endpoint, links hostLinks) bool
}

// place is where an endpoint's interface is.
type place int

const (
	placeNowhere place = iota // it is gone, as it goes with its sandbox
	placeHost                 // on the host, where Docker takes it from and puts it back
	placeSandbox
)

// kindOf returns the kind of the network with an ID: there is one so far.
func (d *Driver) kindOf(_ string) kind { return bridgePort{} }

// bridgePort is the kind of networks with a bridge on this host: an endpoint is a veth
// pair whose host's end is a port of the bridge.
type bridgePort struct{}

func (bridgePort) subject(e model.Endpoint) string { return e.HostIface() }
func (bridgePort) source(e model.Endpoint) string  { return e.PeerIface() }

func (bridgePort) place(e model.Endpoint, links map[string]bool) place {
	switch {
	case !links[e.HostIface()]:
		return placeNowhere
	case links[e.PeerIface()]:
		return placeHost
	}
	return placeSandbox
}

// returned is by the carrier, which the host's end has had if the container's end was up: it
// comes up in the sandbox, and goes down when it is moved back. Programs of the host may set it
// up too (dhcpcd does), and leave it so.
func (bridgePort) returned(e model.Endpoint, links hostLinks) bool {
	return links.hadLink[e.HostIface()] && !links.up[e.PeerIface()]
}

func (bridgePort) parse(n model.Network, r *network.CreateEndpointRequest) (e model.Endpoint, err error) {
	limits, egress, err := parseEndpointOptions(r.Options)
	if err == nil {
		err = checkLimits(n, limits)
	}
	policy := ""
	if err == nil {
		policy, err = policyOption(r.Options)
	}
	if err == nil {
		err = checkPolicy(n, policy)
	}
	if err != nil {
		return e, err
	}
	more, err := parseSpoof(r.Options, true)
	if err != nil {
		return e, err
	}
	group, err := groupOption(r.Options)
	if err != nil {
		return e, err
	}
	i := r.Interface
	if i == nil {
		i = &network.EndpointInterface{}
	}
	mode, err := egressModeOption(r.Options)
	if err != nil {
		return e, err
	}
	e = model.Endpoint{ID: r.EndpointID, NetworkID: n.ID, From: limits, Policy: policy, Egress: egress, EgressMode: mode, Spoof: more, Group: group}
	for _, f := range model.Families() {
		if *e.Address(f), err = parseAddress(f, n, sent(f, i)); err != nil {
			return e, err
		}
	}
	if i.MacAddress == "" {
		e.MAC = randomMAC()
		return e, nil
	}
	e.MACGiven = true
	if e.MAC, err = model.ParseMAC(i.MacAddress); err != nil || e.MAC.IsZero() || e.MAC[0]&1 != 0 {
		return e, model.Invalid("%q is not the MAC address of an interface", i.MacAddress)
	}
	return e, nil
}

// parseAddress reads an endpoint's address, which has the subnet's prefix length. There
// is one if the network has the family; but Docker gives no IPv6 address, from 28 on, to a
// container that has IPv6 switched off by a sysctl.
func parseAddress(f model.Family, n model.Network, text string) (netip.Prefix, error) {
	subnet := *n.Subnet(f)
	switch {
	case text == "" && !subnet.Prefix.IsValid():
		return netip.Prefix{}, nil
	case text == "" && f == model.IPv6 && n.V4.Prefix.IsValid():
		return netip.Prefix{}, nil
	case text == "":
		return netip.Prefix{}, model.Invalid("there is no %s address for it: mybr needs an IPAM driver that gives one", f)
	case !subnet.Prefix.IsValid():
		return netip.Prefix{}, model.Invalid("address %s: network %s has no %s", text, short(n.ID), f)
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !f.Has(p.Addr()) {
		return netip.Prefix{}, model.Invalid("%q is not %s address with a prefix length", text, article(f))
	}
	a := p.Addr()
	if err := checkHost("address", a, subnet.Prefix); err != nil {
		return netip.Prefix{}, err
	}
	if a == subnet.Address.Addr() {
		return netip.Prefix{}, model.Conflict("address %s is that of bridge %s", a, n.Bridge)
	}
	if a == subnet.Gateway {
		return netip.Prefix{}, model.Conflict("address %s is that of the default gateway of network %s", a, short(n.ID))
	}
	return netip.PrefixFrom(a, subnet.Prefix.Bits()), nil
}
