package driver

import (
	"net/netip"
	"strings"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// parsePools reads the one subnet that a family has if it is on.
func (f family) parsePools(pools []*network.IPAMData, o netOptions) (model.Subnet, error) {
	switch {
	case len(pools) > 1:
		return model.Subnet{}, invalid("there are %d %s subnets: bridge driver doesn't support multiple subnets", len(pools), f)
	case !o.Families[f].On && len(pools) > 0:
		return model.Subnet{}, invalid("there is %s subnet, but %s is off", f.article(), f)
	case !o.Families[f].On:
		return model.Subnet{}, nil
	case len(pools) == 0 || pools[0] == nil:
		return model.Subnet{}, invalid("%s pool is empty: there is no %s subnet", f.suffix(), f)
	}
	return f.parseSubnet(pools[0], o)
}

// parseSubnet reads the pool, the gateway and the auxiliary default gateway.
func (f family) parseSubnet(data *network.IPAMData, o netOptions) (s model.Subnet, err error) {
	pool, err := netip.ParsePrefix(data.Pool)
	if err != nil || !f.has(pool.Addr()) {
		return s, invalid("%q is not %s subnet", data.Pool, f.article())
	}
	s = model.Subnet{
		Prefix: pool.Masked(), Mode: o.Families[f].Mode,
		Masquerade: o.Masquerade, SNAT: o.Families[f].SNAT, Space: data.AddressSpace,
	}
	gateway, err := f.parseGateway(data.Gateway, s.Prefix)
	if err != nil {
		return s, err
	}
	if err := f.checkUnicast(s.Prefix, gateway); err != nil {
		return s, err
	}
	aux, err := f.parseAuxGateway(data)
	if err != nil {
		return s, err
	}
	if err := f.checkAuxGateway(aux, s.Prefix, o); err != nil {
		return s, err
	}
	if !o.bare(f) {
		if !gateway.IsValid() {
			return s, invalid("there is no %s address for the bridge: name one with --gateway, or have a bridge without an address with %s", f, f.withoutAddress())
		}
		s.Address = netip.PrefixFrom(gateway, s.Prefix.Bits())
	}
	if aux.IsValid() {
		gateway = aux
	}
	if !o.Internal {
		s.Gateway = gateway
	}
	return s, nil
}

// withoutAddress are the options that keep addresses of the family from the bridge.
func (f family) withoutAddress() string {
	text := "--internal -o " + f.optMode() + "=isolated"
	if f == ipv4 {
		text = "-o " + optInhibit + "=true or " + text
	}
	return text
}

// parseGateway reads the address that IPAM has for the gateway, zero if it has none.
func (f family) parseGateway(text string, subnet netip.Prefix) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !f.has(p.Addr()) {
		return netip.Addr{}, invalid("gateway %q is not %s address with a prefix length", text, f.article())
	}
	return p.Addr(), checkHost("gateway", p.Addr(), subnet)
}

// checkUnicast refuses subnets whose addresses interfaces can't have. All of fe80::/64 is
// allowed, as the bridge's own link-local addresses are; any other that overlaps it would
// hide them.
func (f family) checkUnicast(subnet netip.Prefix, gateway netip.Addr) error {
	text := subnet.String()
	if gateway.IsValid() {
		text = netip.PrefixFrom(gateway, subnet.Bits()).String()
	}
	within := func(prefix string) bool { return subnet.Overlaps(netip.MustParsePrefix(prefix)) }
	a, linkLocal := subnet.Addr(), netip.MustParsePrefix("fe80::/64")
	switch {
	case subnet.Bits() == 0:
		return invalid("%s pool is empty: subnet %s is none, and the IPAM driver null has no other", f.suffix(), subnet)
	case f == ipv4 && (a.IsMulticast() || a.IsLoopback() || a.As4()[0] == 0 || a.As4()[0] > 239):
		return invalid("subnet %s is not of unicast addresses", subnet)
	case f == ipv6 && a.IsMulticast():
		return invalid("multicast subnet '%s' is not allowed", text)
	case f == ipv6 && (within("::/127") || within("::ffff:0:0/96") || within("ff00::/8")):
		return invalid("subnet %s is not of unicast addresses", subnet)
	case subnet != linkLocal && subnet.Overlaps(linkLocal):
		return invalid("'%s' clashes with the Link-Local prefix '%s'", text, linkLocal)
	}
	return nil
}

func (f family) checkAuxGateway(aux netip.Addr, subnet netip.Prefix, o netOptions) error {
	if !aux.IsValid() {
		return nil
	}
	if o.Internal {
		return invalid("auxiliary address %s: no gateway can be set on an internal bridge network", f.auxGateway())
	}
	return checkHost("auxiliary address "+f.auxGateway(), aux, subnet)
}

// checkHost refuses an address that no host of the subnet can have: in subnets of
// more than two addresses, the first is the network's (RFC 950, RFC 3021) or that of all
// its routers (RFC 4291, section 2.6.1), and in IPv4 the last is the broadcast address.
func checkHost(noun string, a netip.Addr, subnet netip.Prefix) error {
	if !subnet.Contains(a) {
		return invalid("%s %s is not in subnet %s", noun, a, subnet)
	}
	if subnet.Bits() >= subnet.Addr().BitLen()-1 {
		return nil
	}
	if a == subnet.Addr() {
		return invalid("%s %s is the address of subnet %s itself", noun, a, subnet)
	}
	if a.Is4() && !subnet.Contains(a.Next()) {
		return invalid("%s %s is the broadcast address of subnet %s", noun, a, subnet)
	}
	return nil
}

// checkRoutes refuses routes that the kernel would not take in a container.
func checkRoutes(n model.Network) error {
	for _, r := range n.Routes {
		f := familyOf(r.Destination.Addr())
		subnet := f.subnet(&n).Prefix
		switch {
		case !subnet.IsValid():
			return invalid("option %s: %s is %s prefix, but %s is off", optRoutes, r.Destination, f.article(), f)
		case r.Destination == subnet:
			return invalid("option %s: %s is the subnet of the network", optRoutes, r.Destination)
		case r.NextHop.IsValid() && !subnet.Contains(r.NextHop):
			return invalid("option %s: next hop %s is not in subnet %s", optRoutes, r.NextHop, subnet)
		}
	}
	return nil
}

// checkNetworks refuses what another network has already, in Docker's words, which give
// its whole ID: Docker may not know it any more.
func checkNetworks(want model.Network, others []model.Network) error {
	clash := func(o model.Network, what string) error {
		return conflict("cannot create network %s (%s): conflicts with network %s (%s): %s", want.ID, want.Bridge, o.ID, o.Bridge, what)
	}
	for _, o := range others {
		if o.Bridge == want.Bridge {
			return clash(o, "networks have same bridge name")
		}
	}
	for _, o := range others {
		for _, f := range families() {
			if have, mine := f.subnet(&o).Prefix, f.subnet(&want).Prefix; have.Overlaps(mine) {
				return clash(o, "networks have overlapping "+f.String()+": "+mine.String()+" and "+have.String())
			}
		}
	}
	return nil
}

// settle compares a new network with the host's links: its bridge may be there, which
// makes it somebody else's unless it bears mybr's alias; its subnets must have no
// address of another link, unless it is one that every link can have.
func settle(want *model.Network, links []model.Link) error {
	want.Owned = true
	for _, l := range links {
		if l.Name == want.Bridge {
			if l.Kind != "bridge" {
				return conflict("existing interface %s is not a bridge", l.Name)
			}
			want.Owned = strings.HasPrefix(l.Alias, model.AliasNetwork)
		}
		for _, a := range l.Addresses {
			f := familyOf(a.Addr())
			s := f.subnet(want)
			switch {
			case l.Name == want.Bridge:
				s.AddressKept = s.AddressKept || a == s.Address && !want.Owned
			case s.Prefix.Contains(a.Addr()) && !(f == ipv6 && a.Addr().IsLinkLocalUnicast()):
				return conflict("subnet %s contains %s, an address of interface %s", s.Prefix, a.Addr(), l.Name)
			}
		}
	}
	if want.Owned {
		want.BridgeMAC = randomMAC()
	}
	return nil
}
