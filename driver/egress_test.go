package driver

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// What can't be taken is refused by its name, with what can.
func TestEgressOption(t *testing.T) {
	for value, want := range map[string]string{
		"":                           "",
		"all":                        "",
		"none":                       "",
		"10.0.0.0/8:443, host:53":    "",
		"10.0.0.1/8":                 "option mybr.egress: 10.0.0.1/8: it has bits behind its prefix: want 10.0.0.0/8, or 10.0.0.1",
		"192.0.2.1,*.example.com":    "",
		"example":                    "option mybr.egress: example: it is no address, and no name with a domain: want an address such as 192.0.2.7, a prefix such as 10.0.0.0/8, either with :PORT behind it ([fd00::7]:PORT), host:PORT, a name such as example.com or *.example.com, or @NAME of a list",
		"192.0.2.1/gre":              "option mybr.egress: 192.0.2.1/gre: gre is no protocol: want tcp, udp, sctp or icmp",
		"none,192.0.2.1":             "option mybr.egress: none: it stands alone, and not among others",
		"192.0.2.1:443,192.0.2.1:0,": "option mybr.egress: 192.0.2.1:0: 0 is no port: want a number from 1 to 65535, or two with - between",
	} {
		opts := map[string]any{optEgress: value}
		_, _, err := parseEndpointOptions(opts)
		_, netErr := parseNetOptions(map[string]any{optGeneric: opts})
		for what, err := range map[string]error{"endpoint": err, "network": netErr} {
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s of an %s: %q, want %q", value, what, got, want)
			}
		}
	}
	if _, err := parseNetOptions(map[string]any{optGeneric: map[string]any{"mybr.egres": "none"}}); err == nil || !strings.Contains(err.Error(), "is mybr.egress meant?") {
		t.Errorf("mistyped: %v", err)
	}
}

// Lists are there before who names them, stay as long as somebody does, and have only what all who
// name them can take. What is refused changes nothing.
func TestEgressLists(t *testing.T) {
	w := newWorld(t)
	w.running()
	id := w.store.Snapshot().Networks[0].ID
	set := func(value string) error {
		return w.SetNetwork(t.Context(), id, map[string]string{optEgress: value})
	}
	refused := func(err error, kind error, want string) {
		t.Helper()
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	refused(set("@apis"), model.ErrNotFound, "option mybr.egress: there is no list apis: make it with mybr list set apis ENTRY…")
	apis := model.List{Name: "apis", Egress: []string{"192.0.2.1:443"}}
	if err := errors.Join(w.SetList(t.Context(), apis), set("@apis,10.0.0.0/8")); err != nil {
		t.Fatal(err)
	}
	refused(w.RemoveList(t.Context(), "apis"), model.ErrConflict, "list apis is in use by network")
	refused(w.SetNetwork(t.Context(), id, map[string]string{optFrom: "@apis"}), model.ErrInvalid,
		"option mybr.publish.from: list apis has 192.0.2.1:443, which is no address or prefix that clients could have")
	office := model.List{Name: "office", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	if err := errors.Join(w.SetList(t.Context(), office), w.SetNetwork(t.Context(), id, map[string]string{optFrom: "@office"})); err != nil {
		t.Fatal(err)
	}
	office.Egress = apis.Egress
	refused(w.SetList(t.Context(), office), model.ErrInvalid, "list office: 192.0.2.1:443: option mybr.publish.from of network")
	s := w.store.Snapshot()
	if n := s.Networks[0]; n.EgressSet != "10.0.0.0/8,@apis" || len(n.FromSet) != 1 || len(s.Lists) != 2 || len(s.Lists[1].Egress) != 0 {
		t.Errorf("recorded: %+v, lists %+v", n, s.Lists)
	}
	if err := errors.Join(set(""), w.RemoveList(t.Context(), "apis")); err != nil || w.store.Snapshot().Networks[0].EgressSet != "" {
		t.Errorf("taken back: %v", err)
	}
}

// A list counts for who can't send from the addresses of others: it is refused where that can't
// be kept from a container, and where something else may be plugged in.
func TestEgressNeedsSenders(t *testing.T) {
	says := func(err error, want string) {
		t.Helper()
		if !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	endpoint := func(w *world, opts map[string]any) error {
		_, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: ep1,
			Interface: &network.EndpointInterface{Address: "10.1.0.2/24"}, Options: opts})
		return err
	}
	allow := map[string]string{optSpoof: "allow"}
	const both = "option mybr.spoof: allow can't be had together with mybr.egress"

	w := newWorld(t)
	w.noSpoof = errors.New("the kernel can't")
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optEgress, "all")))
	const host = "option mybr.egress: containers could get past the list with addresses of others, which can't be kept from them on this host: the kernel can't"
	says(w.createNetwork(netB, "10.2.0.0/24", user(optEgress, "none")), host)
	says(w.SetNetwork(ctx, netA, map[string]string{optEgress: "none"}), host)
	says(endpoint(w, map[string]any{optEgress: "none"}), host)
	must(t, endpoint(w, map[string]any{optEgress: "all"}))
	says(w.SetEndpoint(ctx, netA, ep1, map[string]string{optEgress: "none"}), host)
	if n := w.networkRecord(netA); n.EgressSet != "" {
		t.Errorf("what was refused has changed it: %+v", n)
	}

	w = newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optSpoof, "allow")))
	says(w.SetNetwork(ctx, netA, map[string]string{optEgress: "none"}), both)
	says(endpoint(w, map[string]any{optEgress: "none"}), both)
	must(t, w.SetNetwork(ctx, netA, map[string]string{optEgress: "none", optSpoof: "refuse"}))
	says(w.SetNetwork(ctx, netA, allow), both)
	says(w.SetNetwork(ctx, netA, map[string]string{optSpoof: "audit"}), "option mybr.spoof: audit can't be had together with mybr.egress")
	says(endpoint(w, map[string]any{optSpoof: "allow"}), both)
	must(t, endpoint(w, map[string]any{optEgress: "all", optSpoof: "allow"}))
	says(w.SetEndpoint(ctx, netA, ep1, map[string]string{optEgress: "192.0.2.1"}), both)
	must(t, w.SetEndpoint(ctx, netA, ep1, map[string]string{optEgress: "192.0.2.1", optSpoof: "refuse"}))

	w = newWorld(t)
	w.host.foreign = append(w.host.foreign, model.Link{Name: "lan0", Kind: "bridge", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}})
	there := "option mybr.egress: the bridge lan0 was there before mybr used it"
	says(w.createNetwork(netA, "10.1.0.0/24", user(optBridge, "lan0", optEgress, "none")), there)
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optBridge, "lan0")))
	says(w.SetNetwork(ctx, netA, map[string]string{optEgress: "none"}), there)
	says(endpoint(w, map[string]any{optEgress: "none"}), there)
}

// Names are refused where they can't be enforced: on this host, on a network on whose bridge the
// host has no address, and on an internal one; in the option itself and in lists that it names. What is refused
// changes nothing.
func TestEgressNames(t *testing.T) {
	says := func(err error, want string) {
		t.Helper()
		if !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	endpoint := func(w *world, list string) error {
		_, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: ep1,
			Interface: &network.EndpointInterface{Address: "10.1.0.2/24"}, Options: map[string]any{optEgress: list}})
		return err
	}
	names := model.List{Name: "apis", Egress: []string{"api.example.com", "192.0.2.1:443"}}

	w := newWorld(t)
	w.noNames = errors.New("nobody serves them")
	must(t, w.SetList(ctx, model.List{Name: "apis", Egress: []string{"192.0.2.1:443"}}))
	const nobody = "option mybr.egress: example.com:443: nobody serves them"
	says(w.createNetwork(netA, "10.1.0.0/24", user(optEgress, "192.0.2.1,example.com:443")), nobody)
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optEgress, "@apis")))
	says(w.SetNetwork(ctx, netA, map[string]string{optEgress: "example.com:443"}), nobody)
	says(endpoint(w, "example.com:443"), nobody)
	must(t, endpoint(w, "192.0.2.1"))
	says(w.SetEndpoint(ctx, netA, ep1, map[string]string{optEgress: "example.com:443"}), nobody)
	says(w.SetList(ctx, names), "list apis: api.example.com: nobody serves them")
	if n, e, l := w.networkRecord(netA), w.store.Snapshot().Endpoints[0], w.store.Snapshot().Lists; n.EgressSet != "" || e.EgressSet != "" || len(l[0].Egress) != 1 {
		t.Errorf("what was refused has changed something: %+v, %+v, %+v", n, e, l)
	}

	w = newWorld(t)
	must(t, w.SetList(ctx, model.List{Name: "apis", Egress: []string{"192.0.2.1:443"}}))
	const without = "the host has no address on the network's bridge in IPv4"
	inhibit := func(list string) string {
		return user("com.docker.network.bridge.inhibit_ipv4", "true", optEgress, list)
	}
	says(w.createNetwork(netA, "10.1.0.0/24", inhibit("example.com")), without)
	must(t, w.createNetwork(netA, "10.1.0.0/24", inhibit("@apis")))
	says(w.SetNetwork(ctx, netA, map[string]string{optEgress: "example.com"}), without)
	says(endpoint(w, "example.com"), without)
	says(w.SetList(ctx, names), "list apis: network "+short(netA)+": option mybr.egress: api.example.com: "+without)
	must(t, w.SetNetwork(ctx, netA, map[string]string{optEgress: "none"}))
	must(t, endpoint(w, "none"))
	must(t, w.SetList(ctx, names))
	says(w.SetEndpoint(ctx, netA, ep1, map[string]string{optEgress: "@apis"}), "option mybr.egress: api.example.com: "+without)

	w = newWorld(t)
	must(t, w.SetList(ctx, model.List{Name: "apis", Egress: []string{"192.0.2.1:443"}}))
	const inside = "the network is internal, so nothing leaves it"
	internal := func(list string) string {
		return strings.Replace(user(optEgress, list), "{", `{"`+optInternal+`":true,`, 1)
	}
	says(w.createNetwork(netA, "10.1.0.0/24", internal("example.com")), inside)
	must(t, w.createNetwork(netA, "10.1.0.0/24", internal("@apis")))
	says(w.SetNetwork(ctx, netA, map[string]string{optEgress: "example.com"}), inside)
	says(endpoint(w, "example.com"), inside)
	says(w.SetList(ctx, names), "list apis: network "+short(netA)+": option mybr.egress: api.example.com: "+inside)

	w = newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optEgress, "example.com,10.0.0.0/8")))
	must(t, endpoint(w, "git.example.com:22"))
	if n, e := w.networkRecord(netA), w.store.Snapshot().Endpoints[0]; n.Egress != "10.0.0.0/8,example.com" || e.Egress != "git.example.com:22" {
		t.Errorf("recorded: %q, %q", n.Egress, e.Egress)
	}
}
