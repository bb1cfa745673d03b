package hostport

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
)

func one(proto model.Proto, host string, container string) model.PortBinding {
	return model.PortBinding{Proto: proto, Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(container), Count: 1}
}

func TestCoalesceJoinsEqualAndShiftedRuns(t *testing.T) {
	got := coalesce([]model.PortBinding{
		one(model.TCP, "0.0.0.0:8001", "172.30.0.2:81"),
		one(model.TCP, "[::]:8000", "172.30.0.2:80"),
		one(model.TCP, "0.0.0.0:8000", "172.30.0.2:80"),
		one(model.TCP, "0.0.0.0:8002", "172.30.0.2:90"),
		one(model.TCP, "[::]:8001", "172.30.0.2:81"),
		one(model.UDP, "0.0.0.0:8002", "172.30.0.2:82"),
		one(model.TCP, "0.0.0.0:65535", "172.30.0.2:65535"),
		one(model.TCP, "0.0.0.0:65534", "172.30.0.2:65534"),
		one(model.TCP, "0.0.0.0:8000", "172.30.0.2:80"), // again
	})
	want := "tcp 0.0.0.0:8000-8001 -> 172.30.0.2:80-81\n" +
		"tcp 0.0.0.0:8002 -> 172.30.0.2:90\n" +
		"tcp 0.0.0.0:65534-65535 -> 172.30.0.2:65534-65535\n" +
		"tcp [::]:8000-8001 -> 172.30.0.2:80-81\n" +
		"udp 0.0.0.0:8002 -> 172.30.0.2:82"
	if text(got) != want {
		t.Errorf("have\n%s\nwant\n%s", text(got), want)
	}
}

func TestCoalesceIsTheFewestBindingsThatExpandToTheSame(t *testing.T) {
	addrs := []string{"0.0.0.0", "::", "10.0.0.1"}
	rapid.Check(t, func(t *rapid.T) {
		ones := rapid.SliceOf(rapid.Custom(func(t *rapid.T) model.PortBinding {
			host := rapid.Uint16Range(65525, 65535).Draw(t, "host")
			return model.PortBinding{
				Proto:     rapid.SampledFrom([]model.Proto{model.TCP, model.UDP}).Draw(t, "proto"),
				Host:      netip.AddrPortFrom(netip.MustParseAddr(rapid.SampledFrom(addrs).Draw(t, "addr")), host),
				Container: netip.AddrPortFrom(netip.MustParseAddr(containerAddr), host-rapid.Uint16Range(0, 2).Draw(t, "shift")),
				Count:     1,
			}
		})).Draw(t, "ports")
		given := map[model.PortBinding]bool{}
		starts := 0
		for _, p := range ones {
			given[p] = true
		}
		for p := range given { // a run begins where the port before it is missing
			before := p
			before.Host = netip.AddrPortFrom(p.Host.Addr(), p.Host.Port()-1)
			before.Container = netip.AddrPortFrom(p.Container.Addr(), p.Container.Port()-1)
			if !given[before] {
				starts++
			}
		}
		joined := coalesce(slices.Clone(ones))
		if len(joined) != starts {
			t.Fatalf("%d bindings, %d would do:\n%s", len(joined), starts, text(joined))
		}
		seen := map[model.PortBinding]bool{}
		for _, b := range joined {
			for p := range expand(b) {
				if !given[p] || seen[p] {
					t.Fatalf("%s was not asked for, or twice", p)
				}
				seen[p] = true
			}
		}
		if len(seen) != len(given) {
			t.Fatalf("%d ports of %d", len(seen), len(given))
		}
		if again := coalesce(rapid.Permutation(ones).Draw(t, "order")); !slices.Equal(again, joined) {
			t.Fatalf("the order matters:\n%s\nand\n%s", text(joined), text(again))
		}
	})
}
