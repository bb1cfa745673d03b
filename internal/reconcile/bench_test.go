package reconcile

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// crowd is a network with many endpoints, each of which publishes a port.
func crowd(endpoints int) model.Snapshot {
	n := model.Network{ID: "0123456789abcdef0123", Bridge: "br-0123456789ab", Owned: true, ICC: true, BridgeMAC: model.MAC{2, 1}}
	n.V4 = model.Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/16"), Gateway: netip.MustParseAddr("10.0.0.1"), Address: netip.MustParsePrefix("10.0.0.1/16"), Masquerade: true}
	s := model.Snapshot{Networks: []model.Network{n}}
	for i := range endpoints {
		a := netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(1 + i%250)})
		s.Endpoints = append(s.Endpoints, model.Endpoint{
			ID: fmt.Sprintf("%010d%054d", i, i), NetworkID: n.ID, MAC: model.MAC{2, 2, 0, 0, byte(i >> 8), byte(i)}, V4: netip.PrefixFrom(a, 16), Sandbox: fmt.Sprintf("/run/docker/netns/%012d", i),
			Ports: []model.PortBinding{{Proto: model.TCP, Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(20000+i)), Container: netip.AddrPortFrom(a, 80), Count: 1}},
		})
	}
	return s
}

func BenchmarkRender(b *testing.B) {
	for _, n := range []int{10, 1000} {
		s := crowd(n)
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				Render(s, Options{})
			}
		})
		b.Run(fmt.Sprintf("compare/endpoints=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			x, y := Render(s, Options{}), Render(s, Options{})
			for range b.N {
				if !reflect.DeepEqual(x.Links, y.Links) || !reflect.DeepEqual(x.Firewall, y.Firewall) || !reflect.DeepEqual(x.Flows, y.Flows) || !reflect.DeepEqual(x.Ports, y.Ports) {
					b.Fatal("they differ")
				}
			}
		})
	}
}
