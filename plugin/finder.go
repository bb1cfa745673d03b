package plugin

import (
	"net/netip"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nflog"
)

// finder knows whose packets are that came in by a bridge. It is for one goroutine.
type finder struct {
	snapshot func() model.Snapshot
	linkName func(index int) (string, error)

	known   directory
	before  directory // what was known then: packets are told of a moment after they came
	hasRead bool
}

// directory is networks and endpoints by what packets have of them.
type directory struct {
	of       model.Snapshot
	networks map[string]string  // IDs, by bridge
	byAddr   map[ownAddr]string // endpoints' IDs
	byMAC    map[ownMAC]string
	at       map[netip.Addr]*model.Endpoint // with an address, of whichever network
}

type ownAddr struct {
	network string
	addr    netip.Addr
}

type ownMAC struct {
	network string
	mac     model.MAC
}

func newDirectory(s model.Snapshot) directory {
	d := directory{s, map[string]string{}, map[ownAddr]string{}, map[ownMAC]string{}, map[netip.Addr]*model.Endpoint{}}
	for i := range s.Networks {
		d.networks[s.Networks[i].Bridge] = s.Networks[i].ID
	}
	for _, e := range s.Endpoints {
		for _, f := range model.Families() {
			if a := e.Address(f).Addr(); a.IsValid() {
				d.byAddr[ownAddr{e.NetworkID, a}], d.at[a] = e.ID, e
			}
		}
		d.byMAC[ownMAC{e.NetworkID, e.MAC}] = e.ID
	}
	return d
}

// find returns the network of a bridge, and the endpoint that a packet is of: that with its address,
// or else with its MAC; "": it is known of none.
func (d *directory) find(bridge string, from netip.Addr, mac model.MAC) (network, endpoint string) {
	network = d.networks[bridge]
	if network == "" {
		return "", ""
	}
	if endpoint = d.byAddr[ownAddr{network, from}]; endpoint == "" {
		endpoint = d.byMAC[ownMAC{network, mac}]
	}
	return network, endpoint
}

// whose returns the network and the endpoint of a packet; "": it is known of none.
func (f *finder) whose(p nflog.Packet) (network, endpoint string) {
	bridge, err := f.linkName(p.Link)
	if err != nil {
		return "", "" // the bridge is gone, and with it its network
	}
	if s := f.snapshot(); !f.hasRead || !sameRecords(s.Networks, f.known.of.Networks) || !sameRecords(s.Endpoints, f.known.of.Endpoints) {
		f.before, f.known, f.hasRead = f.known, newDirectory(s), true
	}
	from := p.From.Addr().Unmap()
	network, endpoint = f.known.find(bridge, from, p.MAC)
	if endpoint == "" {
		if n, e := f.before.find(bridge, from, p.MAC); n != "" && (network == "" || n == network) {
			network, endpoint = n, e
		}
	}
	return network, endpoint
}

// asked is where a packet was sent that the kernel has told without its flow. What a published port
// has led on is on its way to the container that has the port by then: it was sent to the port, at
// the address that the port is published at, where that is one. whose was asked about it before.
func (f *finder) asked(p nflog.Packet) netip.AddrPort {
	e := f.known.at[p.To.Addr().Unmap()]
	if e == nil {
		return p.To
	}
	for _, b := range e.Ports {
		first := b.Container.Port()
		if b.Proto == model.Proto(p.Proto) && b.Container.Addr() == p.To.Addr().Unmap() && p.To.Port() >= first && p.To.Port()-first < b.Count {
			return netip.AddrPortFrom(b.Host.Addr(), b.Host.Port()+p.To.Port()-first)
		}
	}
	return p.To
}

// sameRecords reports whether two lists are one: records are never changed in place.
func sameRecords[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
