package driver

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// FuzzOptions reads any options. They are refused as the user's fault, or mean something
// that the kernel and the rule files can take.
func FuzzOptions(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"com.docker.network.generic":{}}`, `{"com.docker.network.generic":null}`, `{"com.docker.network.enable_ipv4":"true"}`,
		user(optBridge, "br0", optMTU, "1400", optICC, "false", optMasquerade, "0", optInhibit, "T"),
		user(optHostBinding, "127.0.0.1", optSNAT, "192.0.2.2", optIfacePrefix, "net", optRoutes, "10.9.0.0/16 via 10.1.0.7, 10.8.0.0/16"),
		user(optHostBinding, "::ffff:127.0.0.1", optSNAT, "::ffff:192.0.2.2", optRoutes, ",", optBridge, "../x"),
		user(optRoutes, "::ffff:10.0.0.0/112 via 10.1.0.1", optMTU, "+1400"),
		user(optMode+"ipv4", "routed", optMode+"ipv6", "isolated", optSNAT+"ipv6", "2001:db8::1", optTrusted, "eth0:wg0", optRoutes, "fd00:9::/64 via fd00:1::7"),
		`{"com.docker.network.enable_ipv4":false,"com.docker.network.enable_ipv6":true,"com.docker.network.internal":true,"com.docker.network.generic":{"com.docker.network.bridge.gateway_mode_ipv6":"isolated","com.docker.network.advertise_addr_ms":"100"}}`,
		`{"com.docker.network.portmap":` + port8080 + `}`,
		`{"com.docker.network.portmap":[{"Proto":132,"Port":80,"HostIP":"::"},{"Proto":17,"Port":1,"HostPort":65535,"HostPortEnd":1}]}`,
		`{"com.docker.network.portmap":[null,{"Port":-1},{"HostIP":"fe80::1%eth0"}]}`, `{"com.docker.network.endpoint.ifname":"x"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var opts map[string]any
		if json.Unmarshal([]byte(text), &opts) != nil {
			t.Skip()
		}
		users := func(err error) {
			if err != nil && !errors.Is(err, model.ErrInvalid) {
				t.Errorf("error %v is of no kind", err)
			}
		}
		users(endpointOptionsError(opts))
		o, err := parseNetOptions(opts)
		if users(err); err == nil {
			checkNetOptions(t, o)
		}
		entries, err := parsePortMap(opts)
		users(err)
		n, e := model.Network{HostBinding: o.HostBinding}, model.Endpoint{}
		n.V4.Mode, n.V6.Mode = o.Families[model.IPv4].Mode, o.Families[model.IPv6].Mode
		for f, address := range map[model.Family]string{model.IPv4: "10.1.0.2/24", model.IPv6: "fd00:1::2/64"} {
			if o.Families[f].On {
				*e.Address(f) = netip.MustParsePrefix(address)
			}
		}
		reqs, err := parsePorts(entries, n, e, o.ICC)
		users(err)
		for _, r := range reqs {
			if r.Last < r.First || (r.First == 0) != (r.Last == 0) || !rightTarget(model.IPv4, r.V4) || !rightTarget(model.IPv6, r.V6) || !r.V4.Wanted() && !r.V6.Wanted() {
				t.Errorf("request %+v", r)
			}
		}
	})
}

// rightTarget reports whether a target is not wanted, or at addresses of the family.
func rightTarget(f model.Family, w model.Target) bool {
	return w == model.Target{} || f.Has(w.Host) && w.Container.IsValid() && w.Container.Port() != 0
}

func checkNetOptions(t *testing.T, o netOptions) {
	t.Helper()
	for _, name := range []string{o.Bridge, o.IfacePrefix} {
		if len(name) > maxName || strings.ContainsAny(name, "/ \t\n\"'+%:*?!\x00") || strings.HasPrefix(name, "-") {
			t.Errorf("name %q", name)
		}
	}
	if o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU) {
		t.Errorf("MTU %d", o.MTU)
	}
	for _, f := range model.Families() {
		if a := o.Families[f].SNAT; a.IsValid() && (!f.Has(a) || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast()) {
			t.Errorf("SNAT to %s", a)
		}
		if o.Families[f].Mode == model.ModeIsolated && !o.Internal {
			t.Errorf("%s is isolated, but the network isn't internal", f)
		}
	}
	for _, name := range o.Trusted {
		if checkName(name, maxName) != nil {
			t.Errorf("trusted interface %q", name)
		}
	}
	if a := o.HostBinding; a.IsValid() && (a.Is4In6() || a.Zone() != "" || a.IsMulticast()) {
		t.Errorf("host binding %s", a)
	}
	for _, r := range o.Routes {
		if f := model.FamilyOf(r.Destination.Addr()); !r.Destination.IsValid() || !f.Has(r.Destination.Addr()) || r.Destination != r.Destination.Masked() ||
			r.NextHop.IsValid() && !f.Has(r.NextHop) {
			t.Errorf("route %+v", r)
		}
	}
}
