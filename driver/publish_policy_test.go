package driver

import (
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// What can't be taken of the policy is refused with what can, and where it could not be kept it is
// refused with why.
func TestPublishPolicy(t *testing.T) {
	for value, want := range map[string]string{"host": "", "open": "", "": "", "closed": "option mybr.publish.policy: closed: want open or host"} {
		got, gotEndpoint := "", ""
		if _, err := parseNetOptions(map[string]any{optGeneric: map[string]any{optPolicy: value}}); err != nil {
			got = err.Error()
		}
		if _, err := policyOption(map[string]any{optPolicy: value}); err != nil {
			gotEndpoint = err.Error()
		}
		if got != want || gotEndpoint != want {
			t.Errorf("%q: network %q, endpoint %q, want %q", value, got, gotEndpoint, want)
		}
	}
	routed, unprotected := model.Subnet{Mode: model.ModeRouted}, model.Subnet{Mode: model.ModeNATUnprotected}
	for want, n := range map[string]model.Network{
		"": {}, "an internal network publishes nothing": {Internal: true}, "with gateway mode routed": {V6: routed}, "with gateway mode nat-unprotected": {V4: unprotected},
		"from the interfaces of com.docker.network.bridge.trusted_host_interfaces": {Trusted: []string{"eth1"}},
	} {
		err := checkPolicy(n, model.PublishHost)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if err := checkPolicy(n, model.PublishOpen); err != nil {
			t.Errorf("open: %v", err)
		}
	}
}

// The process carries no SCTP, so that its ports are refused where the host's firewall decides, by
// whichever of the three that say so.
func TestPublishPolicyOfSCTP(t *testing.T) {
	sctp := []model.PortBinding{{Proto: model.SCTP}}
	for _, c := range []struct {
		network, endpoint string
		byHost            bool
		ports             []model.PortBinding
		refused           bool
	}{
		{"", "", false, sctp, false}, {"host", "", false, sctp, true}, {"", "host", false, sctp, true}, {"", "", true, sctp, true},
		{"open", "", true, sctp, false}, {"host", "open", true, sctp, false}, {"open", "host", false, sctp, true},
		{"host", "", true, []model.PortBinding{{Proto: model.UDP}, {Proto: model.TCP}}, false},
	} {
		d := &Driver{byHost: c.byHost}
		n, e := model.Network{Policy: c.network}, model.Endpoint{Policy: c.endpoint, Ports: c.ports}
		var requests []model.PortRequest
		for _, b := range c.ports {
			requests = append(requests, model.PortRequest{Proto: b.Proto})
		}
		if err := d.checkCarried(n, e); (err != nil) != c.refused {
			t.Errorf("%+v: %v", c, err)
		}
		if err := d.checkRequests(n, e, requests); (err != nil) != c.refused {
			t.Errorf("%+v, requested: %v", c, err)
		}
	}
}

// A process that is started with another default tells of the ports that nothing carries from then
// on, once for each container and port, and what opens them.
func TestWarnClosed(t *testing.T) {
	w := newWorld(t)
	w.container(four, dual)
	const sctp = `[{"Proto":132,"Port":5000,"HostPort":5000},{"Proto":6,"Port":80,"HostPort":8080},{"Proto":132,"Port":5001,"HostPort":5001}]`
	must(t, w.publish(netB, ep2, sctp, false))
	said := func(what string, byHost bool, want ...string) {
		t.Helper()
		w.said, w.Driver.byHost = nil, byHost
		must(t, w.WarnClosed())
		if len(w.said) != len(want) {
			t.Fatalf("%s: %q", what, w.said)
		}
		for i, text := range want {
			for _, part := range []string{text, "mybr endpoint set " + short(ep2) + " mybr.publish.policy=open"} { // not of its network: that would open others' ports
				if !strings.Contains(w.said[i], part) {
					t.Errorf("%s: no %q in %s", what, part, w.said[i])
				}
			}
		}
	}
	said("by default all get in", false)
	said("the host's firewall decides by default", true, "sctp port 5000 ", "sctp port 5001 ")
	must(t, w.SetEndpoint(ctx, netB, ep2, map[string]string{optPolicy: "open"}))
	said("the container is open", true)
}

// A recorded port that nothing carries is in the way of no other option of its container.
func TestSetBesideClosed(t *testing.T) {
	w := newWorld(t)
	w.container(four, dual)
	must(t, w.publish(netB, ep2, `[{"Proto":132,"Port":5000,"HostPort":5000},{"Proto":6,"Port":80,"HostPort":8080}]`, false))
	w.Driver.byHost = true
	must(t, w.SetEndpoint(ctx, netB, ep2, map[string]string{"mybr.publish.from": "none"}))
	if err := w.SetEndpoint(ctx, netB, ep2, map[string]string{optPolicy: "host"}); err == nil || !strings.Contains(err.Error(), "5000/sctp") {
		t.Errorf("the policy that closes it: %v", err)
	}
	must(t, w.SetEndpoint(ctx, netB, ep2, map[string]string{optPolicy: "open"}))
	if err := w.SetEndpoint(ctx, netB, ep2, map[string]string{optPolicy: ""}); err == nil {
		t.Error("what opens it is taken back")
	}
}
