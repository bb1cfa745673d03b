package driver

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"reflect"
	"strings"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// aliasNetwork begins the alias of a bridge that mybr made; the network's ID follows.
const aliasNetwork = "mybr network "

// GwAllocCheckRequest asks whether a network needs addresses for its gateways.
// Options are those that CreateNetwork will have.
type GwAllocCheckRequest struct {
	Options map[string]any
}

// GwAllocCheckResponse says which families need no gateway address.
type GwAllocCheckResponse struct {
	SkipIPv4 bool
	SkipIPv6 bool
}

// GwAllocCheck answers the first call of `docker network create` from Engine 28 on.
func (d *Driver) GwAllocCheck(_ context.Context, r *GwAllocCheckRequest) (*GwAllocCheckResponse, error) {
	o, err := parseNetOptions(r.Options)
	if err != nil {
		return nil, invalid("create network: %w", err)
	}
	return &GwAllocCheckResponse{SkipIPv4: !o.needsGateway()}, nil
}

// CreateNetwork records a network and makes its bridge, or uses the bridge that is
// there. A network that exists with the same settings is a success.
func (d *Driver) CreateNetwork(ctx context.Context, r *network.CreateNetworkRequest) (err error) {
	defer wrap(&err, "create network", r.NetworkID)
	want, err := parseNetwork(r)
	if err != nil {
		return err
	}
	ctx, end := d.beginNetwork(ctx, r.NetworkID)
	defer end()
	have, err := d.network(want.ID)
	if err == nil {
		if !sameNetwork(have, want) {
			return exists("there is a network of this ID with other settings")
		}
		if err := d.sync.Sync(ctx, have.Bridge); err != nil {
			return err
		}
		return d.answerable(ctx, have)
	} else if !errors.Is(err, model.ErrNotFound) {
		return err
	}
	d.buryRivals(ctx, want)
	links, err := d.links.Links()
	if err != nil {
		return err
	}
	err = d.commit(ctx, want.Bridge, func(tx *store.Tx) error {
		if err := checkNetworks(want, tx.Networks()); err != nil {
			return err
		}
		if err := settle(&want, links); err != nil {
			return err
		}
		return errors.Join(tx.PutNetwork(want), tx.SetPending(want.ID, true))
	})
	if err != nil {
		return err
	}
	return d.answerable(ctx, want)
}

// answerable takes the mark off a network that is there now. Should the process end
// before that, then Docker gives the network up without a word: it repeats the call, but
// with an empty body.
func (d *Driver) answerable(ctx context.Context, n model.Network) error {
	_, err := d.store.Update(func(tx *store.Tx) error { return tx.SetPending(n.ID, false) })
	if err != nil {
		return errors.Join(err, d.forgetNetwork(ctx, n))
	}
	return nil
}

// DeleteNetwork forgets a network and whatever endpoints it still has. Docker does
// not ask twice: it forgets the network even if this fails.
func (d *Driver) DeleteNetwork(ctx context.Context, r *network.DeleteNetworkRequest) (err error) {
	defer wrap(&err, "delete network", r.NetworkID)
	ctx, end := d.beginNetwork(ctx, r.NetworkID)
	defer end()
	n, err := d.network(r.NetworkID)
	if errors.Is(err, model.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return d.forgetNetwork(ctx, n)
}

// parseNetwork reads all of a network that depends on nothing but the request.
func parseNetwork(r *network.CreateNetworkRequest) (n model.Network, err error) {
	if err := checkID("network", r.NetworkID); err != nil {
		return n, err
	}
	o, err := parseNetOptions(r.Options)
	if err != nil {
		return n, err
	}
	n = model.Network{
		ID: r.NetworkID, Bridge: o.Bridge, MTU: o.MTU,
		Internal: o.Internal, ICC: o.ICC,
		IfacePrefix: o.IfacePrefix, HostBinding: o.HostBinding, Routes: o.Routes,
	}
	if n.Bridge == "" {
		n.Bridge = "br-" + n.ID[:min(12, len(n.ID))]
	}
	if len(r.IPv6Data) > 0 {
		return n, invalid("IPv6 is not supported yet")
	}
	if len(r.IPv4Data) > 1 {
		return n, invalid("there are %d IPv4 subnets: a bridge has one", len(r.IPv4Data))
	}
	if len(r.IPv4Data) == 0 || r.IPv4Data[0] == nil {
		return n, invalid("there is no IPv4 subnet")
	}
	if n.V4, err = parseSubnet(r.IPv4Data[0], o); err != nil {
		return n, err
	}
	return n, checkRoutes(n.Routes, n.V4.Prefix)
}

// parseSubnet reads the pool, the gateway and the auxiliary default gateway.
func parseSubnet(data *network.IPAMData, o netOptions) (s model.Subnet, err error) {
	pool, err := netip.ParsePrefix(data.Pool)
	if err != nil || !pool.Addr().Is4() {
		return s, invalid("%q is not an IPv4 subnet", data.Pool)
	}
	s = model.Subnet{Prefix: pool.Masked(), Masquerade: o.Masquerade, SNAT: o.SNAT, Space: data.AddressSpace}
	if s.Prefix.Bits() == 0 {
		return s, invalid("subnet %s: mybr needs a subnet; the IPAM driver null has none", s.Prefix)
	}
	if a := s.Prefix.Addr(); a.IsMulticast() || a.IsLoopback() || a.As4()[0] == 0 || a.As4()[0] > 239 {
		return s, invalid("subnet %s is not of unicast addresses", s.Prefix)
	}
	gateway, err := parseGateway(data.Gateway, s.Prefix)
	if err != nil {
		return s, err
	}
	aux, err := parseAuxGateway(data)
	if err != nil {
		return s, err
	}
	if err := checkAuxGateway(aux, s.Prefix, o); err != nil {
		return s, err
	}
	if !gateway.IsValid() && !o.Inhibit {
		return s, invalid("there is no address for the bridge: name one with --gateway, or have a bridge without an address with -o %s=true", optInhibit)
	}
	if !o.Inhibit {
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

// parseGateway reads the address that IPAM has for the gateway, zero if it has none.
func parseGateway(text string, subnet netip.Prefix) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return netip.Addr{}, invalid("gateway %q is not an IPv4 address with a prefix length", text)
	}
	return p.Addr(), checkHost("gateway", p.Addr(), subnet)
}

func checkAuxGateway(aux netip.Addr, subnet netip.Prefix, o netOptions) error {
	if !aux.IsValid() {
		return nil
	}
	if o.Internal {
		return invalid("auxiliary address %s: an internal network has no default gateway", auxGateway)
	}
	return checkHost("auxiliary address "+auxGateway, aux, subnet)
}

// checkHost refuses an address that no host of the subnet can have: in subnets of
// more than two addresses, the first is the network's and the last the broadcast
// address (RFC 950, RFC 3021).
func checkHost(noun string, a netip.Addr, subnet netip.Prefix) error {
	if !subnet.Contains(a) {
		return invalid("%s %s is not in subnet %s", noun, a, subnet)
	}
	if subnet.Bits() >= 31 {
		return nil
	}
	if a == subnet.Addr() {
		return invalid("%s %s is the address of subnet %s itself", noun, a, subnet)
	}
	if !subnet.Contains(a.Next()) {
		return invalid("%s %s is the broadcast address of subnet %s", noun, a, subnet)
	}
	return nil
}

// checkRoutes refuses routes that the kernel would not take in a container.
func checkRoutes(routes []model.Route, subnet netip.Prefix) error {
	for _, r := range routes {
		if r.Destination == subnet {
			return invalid("option %s: %s is the subnet of the network", optRoutes, r.Destination)
		}
		if r.NextHop.IsValid() && !subnet.Contains(r.NextHop) {
			return invalid("option %s: next hop %s is not in subnet %s", optRoutes, r.NextHop, subnet)
		}
	}
	return nil
}

// sameNetwork reports whether want asks for what have is.
func sameNetwork(have, want model.Network) bool {
	want.Owned, want.BridgeMAC, want.V4.AddressKept = have.Owned, have.BridgeMAC, have.V4.AddressKept
	return reflect.DeepEqual(have, want)
}

// checkNetworks refuses what another network has already, and gives its whole ID: Docker
// may not know it any more.
func checkNetworks(want model.Network, others []model.Network) error {
	for _, o := range others {
		if o.Bridge == want.Bridge {
			return conflict("bridge %s is used by network %s", want.Bridge, o.ID)
		}
	}
	for _, o := range others {
		if o.V4.Prefix.Overlaps(want.V4.Prefix) {
			return conflict("subnet %s overlaps subnet %s of network %s", want.V4.Prefix, o.V4.Prefix, o.ID)
		}
	}
	return nil
}

// settle compares a new network with the host's links: its bridge may be there, which
// makes it somebody else's unless it bears mybr's alias; its subnet must have no
// address of another link.
func settle(want *model.Network, links []model.Link) error {
	want.Owned = true
	for _, l := range links {
		if l.Name == want.Bridge {
			if l.Kind != "bridge" {
				return conflict("interface %s is there already and is no bridge", l.Name)
			}
			want.Owned = strings.HasPrefix(l.Alias, aliasNetwork)
			for _, a := range l.Addresses {
				want.V4.AddressKept = want.V4.AddressKept || a == want.V4.Address && !want.Owned
			}
			continue
		}
		for _, a := range l.Addresses {
			if want.V4.Prefix.Contains(a.Addr()) {
				return conflict("subnet %s contains %s, an address of interface %s", want.V4.Prefix, a.Addr(), l.Name)
			}
		}
	}
	if want.Owned {
		want.BridgeMAC = randomMAC()
	}
	return nil
}

// randomMAC returns a random locally administered unicast address (IEEE 802, the two
// lowest bits of the first octet).
func randomMAC() model.MAC {
	var m model.MAC
	_, _ = rand.Read(m[:]) // never fails, see crypto/rand
	m[0] = m[0]&^0x01 | 0x02
	return m
}
