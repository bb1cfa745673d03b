package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// crowd is a network with many endpoints, each of which publishes a port.
func crowd(endpoints int) model.Snapshot {
	n := model.Network{ID: "0123456789abcdef0123", Bridge: "br-0123456789ab", Owned: true, ICC: true, BridgeMAC: model.MAC{2, 1}}
	n.V4 = model.Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/16"), Gateway: netip.MustParseAddr("10.0.0.1"), Address: netip.MustParsePrefix("10.0.0.1/16"), Masquerade: true}
	s := model.Snapshot{Networks: []model.Network{n}}
	for i := range endpoints {
		a := netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(1 + i%250)})
		s.Endpoints = append(s.Endpoints, &model.Endpoint{
			ID: fmt.Sprintf("%010d%054d", i, i), NetworkID: n.ID, MAC: model.MAC{2, 2, 0, 0, byte(i >> 8), byte(i)}, V4: netip.PrefixFrom(a, 16), Sandbox: fmt.Sprintf("/run/docker/netns/%012d", i),
			Ports: []model.PortBinding{{Proto: model.TCP, Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(20000+i)), Container: netip.AddrPortFrom(a, 80), Count: 1}},
		})
	}
	return s
}

// BenchmarkRender renders all from nothing.
func BenchmarkRender(b *testing.B) {
	for _, n := range []int{10, 1000} {
		s := crowd(n)
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				Render(s, Options{})
			}
		})
	}
}

// BenchmarkRenderNext renders what one endpoint changes that comes beside others, and tells
// which parts it changes, as a pass does.
func BenchmarkRenderNext(b *testing.B) {
	for _, n := range []int{10, 1000} {
		with := crowd(n + 1)
		without := model.Snapshot{Networks: with.Networks, Endpoints: slices.Concat(with.Endpoints[:n/2], with.Endpoints[n/2+1:])}
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			var r renderer
			options := func(firewall.Families) Options { return Options{} }
			before := r.render(without, Options{}, options)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				after := r.render([]model.Snapshot{with, without}[i%2], Options{}, options)
				if before.Links.Same(after.Links) || before.Firewall.Same(after.Firewall) || before.Flows.Same(after.Flows) || before.Ports.Same(after.Ports) || !before.Sysctls.Same(after.Sysctls) {
					b.Fatal("not the parts that differ")
				}
				before = after
			}
		})
	}
}

// BenchmarkRenderShared renders what a container changes that comes to a second network beside others,
// where it is checked who sends: each of its ports may send from both of its addresses.
func BenchmarkRenderShared(b *testing.B) {
	for _, n := range []int{10, 1000} {
		with := crowd(n + 1)
		second := *with.Endpoints[n/2]
		second.Sandbox = with.Endpoints[0].Sandbox
		with.Endpoints[n/2] = &second
		without := model.Snapshot{Networks: with.Networks, Endpoints: slices.Concat(with.Endpoints[:n/2], with.Endpoints[n/2+1:])}
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			var r renderer
			checked := Options{SpoofDefault: model.SpoofRefuse}
			options := func(firewall.Families) Options { return checked }
			r.render(without, checked, options)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if h := r.render([]model.Snapshot{with, without}[i%2], checked, options); len(h.Spoof.Shares) != 2-2*(i%2) {
					b.Fatal("not who shares addresses")
				}
			}
		})
	}
}
