package driver

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// parsePools reads the one subnet that a family has if it is on.
func parsePools(f model.Family, pools []*network.IPAMData, o netOptions) (model.Subnet, error) {
	switch {
	case len(pools) > 1:
		return model.Subnet{}, model.Invalid("there are %d %s subnets: bridge driver doesn't support multiple subnets", len(pools), f)
	case !o.Families[f].On && len(pools) > 0:
		return model.Subnet{}, model.Invalid("there is %s subnet, but %s is off", article(f), f)
	case !o.Families[f].On:
		return model.Subnet{}, nil
	case len(pools) == 0 || pools[0] == nil:
		return model.Subnet{}, model.Invalid("%s pool is empty: there is no %s subnet", suffix(f), f)
	}
	return parseSubnet(f, pools[0], o)
}

// parseSubnet reads the pool, the gateway and the auxiliary default gateway.
func parseSubnet(f model.Family, data *network.IPAMData, o netOptions) (s model.Subnet, err error) {
	if err := checkText("address space", data.AddressSpace, maxSpace); err != nil {
		return s, err
	}
	pool, err := netip.ParsePrefix(data.Pool)
	if err != nil || !f.Has(pool.Addr()) {
		return s, model.Invalid("%q is not %s subnet", data.Pool, article(f))
	}
	s = model.Subnet{
		Prefix: pool.Masked(), Mode: o.Families[f].Mode,
		Masquerade: o.Masquerade, SNAT: o.Families[f].SNAT, Space: data.AddressSpace,
	}
	gateway, err := parseGateway(f, data.Gateway, s.Prefix)
	if err != nil {
		return s, err
	}
	if err := checkSubnet(f, s.Prefix, gateway); err != nil {
		return s, err
	}
	aux, err := parseAuxGateway(f, data)
	if err != nil {
		return s, err
	}
	if err := checkAuxGateway(f, aux, s.Prefix, o); err != nil {
		return s, err
	}
	if err := checkRoom(data, s.Prefix, gateway); err != nil {
		return s, err
	}
	if !o.bare(f) {
		if !gateway.IsValid() {
			return s, model.Invalid("there is no %s address for the bridge: name one with --gateway, or have a bridge without an address with %s", f, withoutAddress(f))
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
func withoutAddress(f model.Family) string {
	text := "--internal -o " + modeKey(f) + "=isolated"
	if f == model.IPv4 {
		text = "-o " + optInhibit + "=true or " + text
	}
	return text
}

// parseGateway reads the address that IPAM has for the gateway, zero if it has none.
func parseGateway(f model.Family, text string, subnet netip.Prefix) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !f.Has(p.Addr()) {
		return netip.Addr{}, model.Invalid("gateway %q is not %s address with a prefix length", text, article(f))
	}
	return p.Addr(), checkHost("gateway", p.Addr(), subnet)
}

// parseAuxGateway returns the family's auxiliary default gateway, zero if there is none.
// Docker sends it with the pool's prefix length.
func parseAuxGateway(f model.Family, data *network.IPAMData) (netip.Addr, error) {
	var text string
	if err := get(data.AuxAddresses, auxGateway(f), &text); err != nil || text == "" {
		return netip.Addr{}, err
	}
	addr, _, _ := strings.Cut(text, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || !f.Has(a) {
		return netip.Addr{}, model.Invalid("auxiliary address %s: %q is not %s address", auxGateway(f), text, article(f))
	}
	return a, nil
}

// checkSubnet refuses subnets that no network can have, in Docker's words where it has some.
func checkSubnet(f model.Family, subnet netip.Prefix, gateway netip.Addr) error {
	text := subnet.String()
	if gateway.IsValid() {
		text = netip.PrefixFrom(gateway, subnet.Bits()).String()
	}
	err := model.CheckSubnet(subnet)
	switch {
	case subnet.Bits() == 0:
		return model.Invalid("%s pool is empty: subnet %s is none, and the IPAM driver null has no other", suffix(f), subnet)
	case f == model.IPv6 && subnet.Addr().IsMulticast():
		return model.Invalid("multicast subnet '%s' is not allowed", text)
	case err != nil && subnet.Addr().IsLinkLocalUnicast():
		return model.Invalid("'%s' %w", text, err)
	case err != nil:
		return model.Invalid("subnet %s %w", subnet, err)
	}
	return nil
}

func checkAuxGateway(f model.Family, aux netip.Addr, subnet netip.Prefix, o netOptions) error {
	if !aux.IsValid() {
		return nil
	}
	if o.Internal {
		return model.Invalid("auxiliary address %s: no gateway can be set on an internal bridge network", auxGateway(f))
	}
	return checkHost("auxiliary address "+auxGateway(f), aux, subnet)
}

// checkHost refuses an address that no host of the subnet can have: in subnets of
// more than two addresses, the first is the network's (RFC 950, RFC 3021) or that of all
// its routers (RFC 4291, section 2.6.1), and in IPv4 the last is the broadcast address.
func checkHost(noun string, a netip.Addr, subnet netip.Prefix) error {
	if !subnet.Contains(a) {
		return model.Invalid("%s %s is not in subnet %s", noun, a, subnet)
	}
	if subnet.Bits() >= subnet.Addr().BitLen()-1 {
		return nil
	}
	if a == subnet.Addr() {
		return model.Invalid("%s %s is the address of subnet %s itself", noun, a, subnet)
	}
	if a.Is4() && !subnet.Contains(a.Next()) {
		return model.Invalid("%s %s is the broadcast address of subnet %s", noun, a, subnet)
	}
	return nil
}

// checkRoom refuses a subnet in which the gateway and the auxiliary addresses leave none for
// a container. Engines before 28 take an address for the gateway in any case.
func checkRoom(data *network.IPAMData, subnet netip.Prefix, gateway netip.Addr) error {
	taken := map[netip.Addr]bool{}
	if gateway.IsValid() {
		taken[gateway] = true
	}
	for _, aux := range data.AuxAddresses {
		text, _ := aux.(string)
		addr, _, _ := strings.Cut(text, "/")
		if a, err := netip.ParseAddr(addr); err == nil {
			taken[a] = true
		}
	}
	for a := subnet.Addr(); subnet.Contains(a); a = a.Next() {
		if checkHost("address", a, subnet) == nil && !taken[a] {
			return nil
		}
	}
	var text []string
	for _, a := range slices.SortedFunc(maps.Keys(taken), netip.Addr.Compare) {
		text = append(text, a.String())
	}
	if more := len(text) - 8; more > 1 {
		text = append(text[:8], fmt.Sprintf("and %d more", more))
	}
	return model.Invalid("subnet %s has no address beside %s, so that no container could join: give a wider one (--subnet)", subnet, strings.Join(text, ", "))
}

// checkRoutes refuses routes that the kernel would not take in a container.
func checkRoutes(n model.Network) error {
	for _, r := range n.Routes {
		f := model.FamilyOf(r.Destination.Addr())
		subnet := n.Subnet(f).Prefix
		switch {
		case !subnet.IsValid():
			return model.Invalid("option %s: %s is %s prefix, but %s is off", optRoutes, r.Destination, article(f), f)
		case r.Destination == subnet:
			return model.Invalid("option %s: %s is the subnet of the network", optRoutes, r.Destination)
		case r.NextHop.IsValid() && !subnet.Contains(r.NextHop):
			return model.Invalid("option %s: next hop %s is not in subnet %s", optRoutes, r.NextHop, subnet)
		}
	}
	return nil
}

// checkNetworks refuses what another network has already, in Docker's words, which give
// its whole ID: Docker may not know it any more.
func checkNetworks(want model.Network, others []model.Network) error {
	conflict := func(o model.Network, what string) error {
		return model.Conflict("cannot create network %s (%s): conflicts with network %s (%s): %s", want.ID, want.Bridge, o.ID, o.Bridge, what)
	}
	for _, o := range others {
		if o.Bridge == want.Bridge {
			return conflict(o, "networks have same bridge name")
		}
	}
	for _, o := range others {
		for _, f := range model.Families() {
			if have, mine := o.Subnet(f).Prefix, want.Subnet(f).Prefix; have.Overlaps(mine) {
				return conflict(o, "networks have overlapping "+f.String()+": "+mine.String()+" and "+have.String())
			}
		}
	}
	return nil
}

// checkLinks compares a new network with the host's links: its bridge may be there, which
// makes it somebody else's unless it bears mybr's alias; its subnets must not be in the way
// of another link's addresses. warnings are what the user should know of them. A bridge that
// mybr made for a network that is not among the others any more is about to be removed.
func checkLinks(want *model.Network, others []model.Network, links []model.Link) (warnings []string, err error) {
	want.Owned = true
	for _, l := range links {
		if l.Name == want.Bridge {
			if l.Kind != "bridge" {
				return nil, model.Conflict("existing interface %s is not a bridge", l.Name)
			}
			want.Owned = strings.HasPrefix(l.Alias, model.AliasNetwork)
		} else if of, _, ok := model.ParseNetworkAlias(l.Alias); ok && !slices.ContainsFunc(others, func(n model.Network) bool { return n.ID == of.ID }) {
			continue
		}
		for _, a := range l.Addresses {
			s := want.Subnet(model.FamilyOf(a.Addr()))
			if l.Name == want.Bridge {
				s.AddressKept = s.AddressKept || a == s.Address && !want.Owned
				continue
			}
			part, err := checkAddress(s.Prefix, a, l)
			if err != nil {
				return nil, err
			} else if part {
				warnings = append(warnings, fmt.Sprintf("subnet %s is a part of %s, in which interface %s has address %s: the host sends packets for it to bridge %s, not to %s",
					s.Prefix, a.Masked(), l.Name, a.Addr(), want.Bridge, l.Name))
			}
		}
	}
	if want.Owned {
		want.BridgeMAC = randomMAC()
	}
	return warnings, nil
}

// checkAddress refuses a subnet that contains an address of another link, or is in the subnet
// of another bridge: containers there may have any address of it, and the host's packets for
// them would go to the wrong bridge. Docker's own driver makes such a network, and only its
// IPAM driver looks for overlaps, with its own networks.
//
// part reports whether the subnet is a part of another link's subnet otherwise: containers
// with addresses of the LAN (proxy ARP, NDP proxy), or of the range that a VPN leads to.
//
// A link-local subnet is that of any link, and a very wide one says nothing about the subnets
// in it: of these, only the address itself is in the way, and of IPv6 not even a link-local one.
func checkAddress(subnet, addr netip.Prefix, link model.Link) (part bool, err error) {
	a := addr.Addr()
	switch {
	case a.Is6() && a.IsLinkLocalUnicast():
		return false, nil
	case subnet.Contains(a):
		return false, model.Conflict("subnet %s contains %s, an address of interface %s", subnet, a, link.Name)
	case !subnet.Overlaps(addr) || a.IsLinkLocalUnicast() || model.VeryWide(addr):
		return false, nil
	case link.Kind == "bridge":
		return false, model.Conflict("subnet %s overlaps %s, in which interface %s has address %s", subnet, addr.Masked(), link.Name, a)
	}
	return true, nil
}
