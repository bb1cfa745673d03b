package view

import (
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// A port tells by which interfaces it is reached, and whether the host's firewall decides; options
// are told by their names, with what was given.
func TestPublishOptions(t *testing.T) {
	ap := netip.MustParseAddrPort
	by := func(port uint16, names ...string) model.Limit { return model.Limit{Port: port, Via: names} }
	n := model.Network{ID: "n", From: []model.Limit{{}, by(0, "eth1", "wg0"), by(8081, "*")}, FromSet: []model.Limit{by(0, "eth2")}, Policy: "open"}
	e := model.Endpoint{ID: "e", NetworkID: "n", PolicySet: "host", Ports: []model.PortBinding{
		{Proto: model.TCP, Host: ap("0.0.0.0:8080"), Container: ap("172.18.0.2:80"), Count: 2},
		{Proto: model.TCP, Host: ap("0.0.0.0:9090"), Container: ap("172.18.0.2:90"), Count: 1},
	}}
	v := Of(model.Snapshot{Networks: []model.Network{n}, Endpoints: []*model.Endpoint{&e}}, Facts{})
	for i, want := range []string{ByPort, "eth2"} {
		if p := v.Ports[i]; p.Interface != want || p.From != "none" || p.Policy != "host" || p.Carried != ByProcess {
			t.Errorf("%+v, want interface %s", p, want)
		}
	}
	var got []string
	for _, s := range append(v.Networks[0].Settings, v.Endpoints[0].Settings...) {
		text := s.Name + "=" + s.Value
		if s.Given != nil && s.Set {
			text += " given " + *s.Given
		}
		got = append(got, text)
	}
	want := []string{"mybr.publish.from=none", "mybr.publish.interface=eth2 given eth1,wg0", "mybr.publish.interface.8081=all", "mybr.publish.policy=open", "mybr.publish.policy=host"}
	if len(got) != len(want) {
		t.Fatalf("have %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("have %q, want %q", got[i], want[i])
		}
	}
	for byHost, carried := range map[bool]string{true: ByProcess, false: ByNAT} {
		n.Policy, e.PolicySet = "", ""
		v := Of(model.Snapshot{Networks: []model.Network{n}, Endpoints: []*model.Endpoint{&e}}, Facts{PublishByHost: byHost})
		if v.Ports[0].Carried != carried {
			t.Errorf("by default %t: %+v", byHost, v.Ports[0])
		}
	}
}

// Nothing carries SCTP where the host's firewall decides.
func TestClosedPorts(t *testing.T) {
	n := model.Network{ID: "n"}
	e := model.Endpoint{ID: "e", NetworkID: "n", Ports: []model.PortBinding{
		{Proto: model.SCTP, Host: netip.MustParseAddrPort("0.0.0.0:5000"), Container: netip.MustParseAddrPort("172.18.0.2:5000"), Count: 1},
	}}
	for byHost, want := range map[bool]string{true: Closed, false: ByNAT} {
		v := Of(model.Snapshot{Networks: []model.Network{n}, Endpoints: []*model.Endpoint{&e}}, Facts{PublishByHost: byHost})
		if v.Ports[0].Carried != want {
			t.Errorf("by the host's firewall %t: %+v", byHost, v.Ports[0])
		}
	}
}
