package model

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func one(proto Proto, host string, container string) PortBinding {
	return PortBinding{Proto: proto, Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(container), Count: 1}
}

func bindingTexts(bindings []PortBinding) string {
	var lines []string
	for _, b := range bindings {
		lines = append(lines, b.String())
	}
	return strings.Join(lines, "\n")
}

func TestCoalesceJoinsEqualAndShiftedRuns(t *testing.T) {
	got := Coalesce([]PortBinding{
		one(TCP, "0.0.0.0:8001", "172.30.0.2:81"),
		one(TCP, "[::]:8000", "172.30.0.2:80"),
		one(TCP, "0.0.0.0:8000", "172.30.0.2:80"),
		one(TCP, "0.0.0.0:8002", "172.30.0.2:90"),
		one(TCP, "[::]:8001", "172.30.0.2:81"),
		one(UDP, "0.0.0.0:8002", "172.30.0.2:82"),
		one(TCP, "0.0.0.0:65535", "172.30.0.2:65535"),
		one(TCP, "0.0.0.0:65534", "172.30.0.2:65534"),
		one(TCP, "0.0.0.0:8000", "172.30.0.2:80"), // again
	})
	want := "tcp 0.0.0.0:8000-8001 -> 172.30.0.2:80-81\n" +
		"tcp 0.0.0.0:8002 -> 172.30.0.2:90\n" +
		"tcp 0.0.0.0:65534-65535 -> 172.30.0.2:65534-65535\n" +
		"tcp [::]:8000-8001 -> 172.30.0.2:80-81\n" +
		"udp 0.0.0.0:8002 -> 172.30.0.2:82"
	if bindingTexts(got) != want {
		t.Errorf("have\n%s\nwant\n%s", bindingTexts(got), want)
	}
}

func TestCoalesceIsTheFewestBindingsThatExpandToTheSame(t *testing.T) {
	addrs := []string{"0.0.0.0", "::", "10.0.0.1"}
	rapid.Check(t, func(t *rapid.T) {
		ones := rapid.SliceOf(rapid.Custom(func(t *rapid.T) PortBinding {
			host := rapid.Uint16Range(65525, 65535).Draw(t, "host")
			return PortBinding{
				Proto:     rapid.SampledFrom([]Proto{TCP, UDP}).Draw(t, "proto"),
				Host:      netip.AddrPortFrom(netip.MustParseAddr(rapid.SampledFrom(addrs).Draw(t, "addr")), host),
				Container: netip.AddrPortFrom(netip.MustParseAddr("172.30.0.2"), host-rapid.Uint16Range(0, 2).Draw(t, "shift")),
				Count:     1,
			}
		})).Draw(t, "ports")
		given := map[PortBinding]bool{}
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
		joined := Coalesce(slices.Clone(ones))
		if len(joined) != starts {
			t.Fatalf("%d bindings, %d would do:\n%s", len(joined), starts, bindingTexts(joined))
		}
		seen := map[PortBinding]bool{}
		for _, b := range joined {
			for p := range b.Ones() {
				if !given[p] || seen[p] {
					t.Fatalf("%s was not asked for, or twice", p)
				}
				seen[p] = true
			}
		}
		if len(seen) != len(given) {
			t.Fatalf("%d ports of %d", len(seen), len(given))
		}
		if again := Coalesce(rapid.Permutation(ones).Draw(t, "order")); !slices.Equal(again, joined) {
			t.Fatalf("the order matters:\n%s\nand\n%s", bindingTexts(joined), bindingTexts(again))
		}
	})
}
