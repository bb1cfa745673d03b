package driver

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// Routes that come to overlap a network are warned of once each, and again if they come
// back.
func TestWarnOverlaps(t *testing.T) {
	w := newWorld(t)
	var routes []model.HostRoute
	w.Driver.routes = func() ([]model.HostRoute, error) { return routes, nil }
	if err := w.createNetwork(netA, "10.8.0.0/16", ""); err != nil {
		t.Fatal(err)
	}
	bridge := w.networkRecord(netA).Bridge
	route := func(prefix, link string) model.HostRoute {
		return model.HostRoute{Prefix: netip.MustParsePrefix(prefix), Link: link}
	}
	usual := []model.HostRoute{
		route("10.8.0.0/16", bridge), route("192.0.2.0/24", "eth0"), route("fe80::/64", "eth0"),
		route("0.0.0.0/1", "tun0"), // instead of a default route
	}
	wide, same, narrow := route("10.8.0.0/14", "tun0"), route("10.8.0.0/16", "tun0"), route("10.8.1.0/24", "tun1")
	const hosts, containers = "do not reach hosts behind", "the host does not reach containers with addresses in"
	for _, step := range []struct {
		what  string
		came  []model.HostRoute
		warns []string // what each warning has in it
	}{
		{"nothing overlaps", nil, nil},
		{"a wider one comes", []model.HostRoute{wide}, []string{"10.8.0.0/14 by tun0", hosts + " tun0"}},
		{"it is there", []model.HostRoute{wide}, nil},
		{"a narrower one comes too", []model.HostRoute{wide, narrow}, []string{"10.8.1.0/24 by tun1", containers + " 10.8.1.0/24"}},
		{"they go", nil, nil},
		{"one comes back, another as wide as the network", []model.HostRoute{narrow, same}, []string{"10.8.1.0/24 by tun1", containers, "10.8.0.0/16 by tun0", hosts}},
	} {
		w.said, routes = nil, append(usual, step.came...)
		if err := w.WarnOverlaps(); err != nil {
			t.Fatal(err)
		}
		said := strings.Join(w.said, "\n")
		if len(w.said) != len(step.warns)/2 {
			t.Errorf("%s: %d warnings, want %d: %s", step.what, len(w.said), len(step.warns)/2, said)
		}
		for _, text := range step.warns {
			if !strings.Contains(said, text) || !strings.Contains(said, "docker network create --subnet") || !strings.Contains(said, netA[:12]) {
				t.Errorf("%s: no %q in %s", step.what, text, said)
			}
		}
	}
	w.Driver.routes = func() ([]model.HostRoute, error) { return nil, errors.New("no") }
	if err := w.WarnOverlaps(); err == nil {
		t.Error("routes can't be read: no error")
	}
}
