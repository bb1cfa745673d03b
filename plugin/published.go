package plugin

import (
	"context"
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// Published is what one endpoint publishes. GET /v1/published answers a list of the
// endpoints that can publish ports, all on networks with a way out, sorted by ID; those
// that publish none are among them. It is asked for each docker ps, and costs less than
// /v1/view, which reads counters.
type Published struct {
	Endpoint string    `json:"endpoint"` // Docker's endpoint ID
	Ports    []Binding `json:"ports"`
}

// Binding is one published port or range of ports.
type Binding struct {
	Proto     string         `json:"proto"`
	Host      netip.AddrPort `json:"host,omitzero"` // the first port; zero: reached at the container's own address (routed networks)
	Container netip.AddrPort `json:"container"`     // the first port
	Count     uint16         `json:"count"`         // of consecutive ports
}

// published lists what every endpoint publishes.
func published(s model.Snapshot) []Published {
	internal := map[string]bool{}
	for _, n := range s.Networks {
		internal[n.ID] = n.Internal
	}
	list := []Published{} // never null in JSON
	for _, e := range s.Endpoints {
		if internal[e.NetworkID] {
			continue
		}
		p := Published{Endpoint: e.ID, Ports: bindings(e.Ports)}
		p.Ports = append(p.Ports, opened(e.OpenV4, e.V4.Addr())...)
		p.Ports = append(p.Ports, opened(e.OpenV6, e.V6.Addr())...)
		list = append(list, p)
	}
	return list
}

// bindings are those of records, never null in JSON.
func bindings(of []model.PortBinding) []Binding {
	list := []Binding{}
	for _, b := range of {
		list = append(list, Binding{Proto: b.Proto.String(), Host: b.Host, Container: b.Container, Count: b.Count})
	}
	return list
}

// opened are the ports that are reached at the container's own address.
func opened(spans []model.PortSpan, container netip.Addr) (list []Binding) {
	for _, o := range spans {
		list = append(list, Binding{Proto: o.Proto.String(), Container: netip.AddrPortFrom(container, o.First), Count: o.Count})
	}
	return list
}

// Published asks what each endpoint publishes.
func (c Client) Published(ctx context.Context) ([]Published, error) {
	var list []Published
	err := c.get(ctx, "/v1/published", &list)
	for i := range list {
		list[i].Endpoint = Printable(list[i].Endpoint)
		for j := range list[i].Ports {
			list[i].Ports[j].Proto = Printable(list[i].Ports[j].Proto)
		}
	}
	return list, err
}
