package driver

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// What can't be taken is refused by its name, with what can; networks take one of the options.
func TestSpoofOptions(t *testing.T) {
	const ofContainers = " is one of containers: give it with docker run --network name=NETWORK,driver-opt="
	for _, c := range []struct{ key, value, endpoint, network string }{
		{optSpoof, "refuse", "", ""}, {optSpoof, "allow", "", ""}, {optSpoof, "audit", "", ""}, {optSpoof, "", "", ""},
		{optSpoof, "no", "option mybr.spoof: no: want refuse, audit or allow", "option mybr.spoof: no: want refuse, audit or allow"},
		{optSpoofAddresses, "10.0.0.0/8,fd00::1", "", optSpoofAddresses + ofContainers},
		{optSpoofAddresses, "10.0.0.1/8", "option mybr.spoof.addresses: 10.0.0.1/8 has bits behind its prefix: want 10.0.0.0/8, or 10.0.0.1", optSpoofAddresses + ofContainers},
		{optSpoofMACs, "00:00:5e:00:01:33", "", optSpoofMACs + ofContainers},
		{optSpoofMACs, "x", "option mybr.spoof.macs: x is no address of an interface", optSpoofMACs + ofContainers},
		{optSpoofTrusted, "dhcp,ra", "", optSpoofTrusted + ofContainers},
		{optSpoofTrusted, "dns", "option mybr.spoof.trusted: dns: want dhcp, ra", optSpoofTrusted + ofContainers},
		{"mybr.spoof.adresses", "10.0.0.1", "option mybr.spoof.adresses is not known: want mybr.spoof, mybr.spoof.addresses, mybr.spoof.macs or mybr.spoof.trusted", "option mybr.spoof.adresses is not known"},
		{"mybr.spoofing", "allow", "option mybr.spoofing is not known", "option mybr.spoofing is not known"},
	} {
		says := func(what string, err error, want string) {
			t.Helper()
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, model.ErrInvalid)) {
				t.Errorf("%s=%s: %s: %v, want %q", c.key, c.value, what, err, want)
			}
		}
		err := endpointOptionsError(map[string]any{c.key: c.value})
		if err == nil {
			_, err = parseSpoof(map[string]any{c.key: c.value}, true)
		}
		says("endpoint", err, c.endpoint)
		_, err = parseNetOptions(map[string]any{optGeneric: map[string]any{c.key: c.value}})
		says("network", err, c.network)
	}
}

// What is given and what is set are recorded apart, and an empty value takes back what was set.
func TestSpoofIsRecorded(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optSpoof, "refuse")))
	create := func(id, address string, options map[string]any) error {
		_, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: id,
			Interface: &network.EndpointInterface{Address: address}, Options: options})
		return err
	}
	must(t, create(ep1, "10.1.0.2/24", map[string]any{optSpoofAddresses: "10.2.0.1,10.2.0.0/16", optSpoofTrusted: "ra"}))
	must(t, create(ep1, "10.1.0.2/24", map[string]any{optSpoofAddresses: "10.2.0.1,10.2.0.0/16", optSpoofTrusted: "ra"}))
	if err := create(ep1, "10.1.0.2/24", nil); !errors.Is(err, model.ErrExists) {
		t.Errorf("the same endpoint with other options: %v", err)
	}
	if n := w.networkRecord(netA); n.Spoof != (model.Spoof{Mode: "refuse"}) {
		t.Errorf("%+v", n.Spoof)
	}
	must(t, w.SetEndpoint(ctx, netA, ep1, map[string]string{optSpoof: "allow", optSpoofAddresses: "none", optSpoofMACs: "00:00:5e:00:01:01"}))
	must(t, w.SetEndpoint(ctx, netA, ep1, map[string]string{optSpoof: "", optFrom: "none"}))
	e := w.endpointRecord(ep1)
	if e.Spoof != (model.Spoof{Addresses: "10.2.0.0/16", Trusted: "ra"}) || e.SpoofSet != (model.Spoof{Addresses: "none", MACs: "00:00:5e:00:01:01"}) || len(e.FromSet) != 1 {
		t.Errorf("%+v", e)
	}
	must(t, w.SetNetwork(ctx, netA, map[string]string{optSpoof: "allow"}))
	if n := w.networkRecord(netA); n.SpoofSet.Mode != "allow" || n.Spoof.Mode != "refuse" {
		t.Errorf("%+v", n)
	}
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optSpoof, "refuse"))) // Docker repeats it
	for _, wrong := range []map[string]string{{optSpoof: "x"}, {optSpoofMACs: ""}, {optSpoof: "refuse", optFrom: "x"}} {
		if err := w.SetNetwork(ctx, netA, wrong); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	if n := w.networkRecord(netA); n.SpoofSet.Mode != "allow" {
		t.Errorf("what was refused has changed it: %+v", n)
	}
}

// A host that can't check refuses who asks for it, and nobody else.
func TestSpoofThatCantBeHad(t *testing.T) {
	w := newWorld(t)
	w.noSpoof = errors.New("the kernel can't")
	const says = "option mybr.spoof: refuse can't be had on this host: the kernel can't"
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optSpoof, "allow")))
	for what, err := range map[string]error{
		"network": w.createNetwork(netB, "10.2.0.0/24", user(optSpoof, "refuse")),
		"set":     w.SetNetwork(ctx, netA, map[string]string{optSpoof: "refuse"}),
		"audit":   w.SetNetwork(ctx, netA, map[string]string{optSpoof: "audit"}),
	} {
		says := says
		if what == "audit" {
			says = strings.Replace(says, "refuse", "audit", 1)
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: ep1,
		Interface: &network.EndpointInterface{Address: "10.1.0.2/24"}, Options: map[string]any{optSpoof: "refuse"}})
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("endpoint: %v", err)
	}
	if n := w.networkRecord(netA); n.SpoofSet != (model.Spoof{}) {
		t.Errorf("%+v", n)
	}
}

// The ports of one container may send from the addresses of all of them: who joins where others
// are has a pass made for that, if any of them is checked.
func TestSpoofIsSharedAtJoin(t *testing.T) {
	for mode, passes := range map[string]int{"refuse": 1, "audit": 1, "allow": 0} {
		w := newWorld(t)
		must(t, w.createNetwork(netA, "10.1.0.0/24", user(optSpoof, mode)))
		must(t, w.createNetwork(netB, "10.2.0.0/24", ""))
		for id, at := range map[string][2]string{ep1: {netA, "10.1.0.2/24"}, ep2: {netB, "10.2.0.2/24"}} {
			_, err := w.createEndpoint(at[0], id, at[1])
			must(t, err)
		}
		before := w.sync.n
		must(t, w.joinSandbox(netA, ep1, sandbox))
		if w.sync.n != before {
			t.Errorf("%s: the first one to join has %d passes made", mode, w.sync.n-before)
		}
		must(t, w.joinSandbox(netB, ep2, sandbox))
		if w.sync.n-before != passes {
			t.Errorf("%s: the second one to join has %d passes made, want %d", mode, w.sync.n-before, passes)
		}
	}
}

// countedTx counts what is asked of networks.
type countedTx struct {
	Tx
	endpoints []*model.Endpoint
	networks  int
}

func (tx *countedTx) EndpointsOf(owner string) []*model.Endpoint {
	i := slices.IndexFunc(tx.endpoints, func(e *model.Endpoint) bool { return e.PortOwner() == owner })
	if i < 0 {
		return nil
	}
	return tx.endpoints[i : i+1]
}

func (tx *countedTx) Network(id string) (model.Network, error) {
	tx.networks++
	return model.Network{ID: id, SpoofSet: model.Spoof{Mode: model.SpoofRefuse}}, nil
}

// What a join looks at of the endpoints of other sandboxes costs neither memory nor a look at
// their networks.
func TestSpoofSharesCost(t *testing.T) {
	tx := &countedTx{}
	for i := range 1000 {
		tx.endpoints = append(tx.endpoints, &model.Endpoint{ID: fmt.Sprint(i), NetworkID: netB, Sandbox: fmt.Sprint("/run/netns/", i)})
	}
	d, joins := &Driver{}, model.Endpoint{ID: "joins", NetworkID: netA}
	if n := testing.AllocsPerRun(10, func() {
		if d.shares(tx, joins, sandbox) {
			t.Error("it shares an empty sandbox")
		}
	}); n > 0 || tx.networks > 0 {
		t.Errorf("%v allocations, %d looks at networks", n, tx.networks)
	}
	if !d.shares(tx, joins, "/run/netns/7") || tx.networks != 1 {
		t.Errorf("%d looks at networks, or it shares nothing", tx.networks)
	}
}
