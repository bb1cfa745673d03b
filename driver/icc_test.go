package driver

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// What can't be taken is refused by its name, with what can, and so is what contradicts Docker's
// option.
func TestICCOption(t *testing.T) {
	for _, c := range []struct {
		value string
		icc   any
		want  string // of an error, behind "!"
	}{
		{"web>db:5432, *>dns:53/udp", nil, "*>dns:53/udp,web>db:5432 true"}, {"web>db", "true", "web>db true"},
		{"", nil, " true"}, {"", "false", " false"}, {"all", nil, "all true"}, {"all", "true", "all true"}, {"none", nil, "none false"}, {"none", "false", "none false"},
		{"web>db", "false", "!option mybr.icc: web>db contradicts option com.docker.network.bridge.enable_icc=false: give one of them"},
		{"all", "false", "!option mybr.icc: all contradicts option com.docker.network.bridge.enable_icc=false"},
		{"none", "true", "!option mybr.icc: none contradicts option com.docker.network.bridge.enable_icc=true"},
		{"web:80", nil, "!option mybr.icc: web:80: want GROUP>GROUP"},
		{"all,a>b", nil, "!option mybr.icc: all: want GROUP>GROUP"},
	} {
		user := map[string]any{optICCList: c.value}
		if c.icc != nil {
			user[optICC] = c.icc
		}
		o, err := parseNetOptions(map[string]any{optGeneric: user})
		wrong, fails := strings.CutPrefix(c.want, "!")
		switch got := o.ICCList + map[bool]string{true: " true", false: " false"}[o.ICC]; {
		case fails && (err == nil || !errors.Is(err, model.ErrInvalid) || !strings.HasPrefix(err.Error(), wrong)):
			t.Errorf("%s beside %v: %v, want %q", c.value, c.icc, err, wrong)
		case !fails && (err != nil || got != c.want):
			t.Errorf("%s beside %v: %q, %v; want %q", c.value, c.icc, got, err, c.want)
		}
	}
	for value, want := range map[string]string{"web,db": "", "none": "", "": "", "a b": "option mybr.group: a b is no name of a group", "*": "option mybr.group: * is no name of a group"} {
		err := endpointOptionsError(map[string]any{optGroup: value})
		if err == nil {
			_, err = groupOption(map[string]any{optGroup: value})
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s=%s: %v, want %q", optGroup, value, err, want)
		}
	}
	if _, err := parseNetOptions(map[string]any{optGeneric: map[string]any{"mybr.ic": "all"}}); err == nil || !strings.Contains(err.Error(), "is mybr.icc meant?") {
		t.Errorf("mistyped: %v", err)
	}
	if _, err := parseNetOptions(map[string]any{optGeneric: map[string]any{optGroup: "web"}}); err == nil {
		t.Error("a network takes a group")
	}
	if err := endpointOptionsError(map[string]any{optICCList: "all"}); err == nil {
		t.Error("an endpoint takes a list")
	}
}

// What is given and what is set are recorded apart, an empty value takes back what was set, and
// what is refused changes nothing.
func TestICCIsRecorded(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optICCList, "web>db:5432")))
	create := func(group string) error {
		_, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: ep1,
			Interface: &network.EndpointInterface{Address: "10.1.0.2/24"}, Options: map[string]any{optGroup: group}})
		return err
	}
	must(t, create("web,api"))
	must(t, create("api, web"))
	if err := create("db"); !errors.Is(err, model.ErrExists) {
		t.Errorf("the same endpoint in another group: %v", err)
	}
	must(t, w.SetEndpoint(ctx, netA, ep1, map[string]string{optGroup: "db"}))
	must(t, w.SetNetwork(ctx, netA, map[string]string{optICCList: "none"}))
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optICCList, "web>db:5432"))) // Docker repeats it
	for _, wrong := range []map[string]string{{optICCList: "x"}, {optGroup: "web"}, {optICCList: "a>b", optFrom: "x"}, {optICC: "true"}} {
		if err := w.SetNetwork(ctx, netA, wrong); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("network, %v: %v", wrong, err)
		}
	}
	for _, wrong := range []map[string]string{{optGroup: "x y"}, {optICCList: "all"}} {
		if err := w.SetEndpoint(ctx, netA, ep1, wrong); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("endpoint, %v: %v", wrong, err)
		}
	}
	n, e := w.networkRecord(netA), w.endpointRecord(ep1)
	if n.ICCList != "web>db:5432" || n.ICCInForce() != model.ICCNone || n.ICCListed() || e.Group != "api,web" || e.Groups() != "db" {
		t.Errorf("%+v, %+v", n, e)
	}
	must(t, w.SetNetwork(ctx, netA, map[string]string{optICCList: ""}))
	must(t, w.SetEndpoint(ctx, netA, ep1, map[string]string{optGroup: ""}))
	if n, e := w.networkRecord(netA), w.endpointRecord(ep1); n.ICCInForce() != "web>db:5432" || !n.ICCListed() || e.Groups() != "api,web" {
		t.Errorf("%+v, %+v", n, e)
	}
}

// A list counts for who sends from its own addresses alone, on a bridge whose ports are all known.
func TestICCNeedsSenders(t *testing.T) {
	says := func(err error, want string) {
		t.Helper()
		if !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	list := map[string]string{optICCList: "a>b"}
	endpoint := func(w *world, opts map[string]any) error {
		_, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: ep1,
			Interface: &network.EndpointInterface{Address: "10.1.0.2/24"}, Options: opts})
		return err
	}
	w := newWorld(t)
	w.noSpoof = errors.New("the kernel can't")
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optICCList, "none")))
	const host = "option mybr.icc: frames between containers can't be filtered on this host: the kernel can't"
	says(w.createNetwork(netB, "10.2.0.0/24", user(optICCList, "a>b")), host)
	says(w.SetNetwork(ctx, netA, list), host)
	must(t, w.SetNetwork(ctx, netA, map[string]string{optICCList: "all"}))

	w = newWorld(t)
	const both = "option mybr.spoof: allow can't be had together with mybr.icc"
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optSpoof, "allow")))
	must(t, endpoint(w, map[string]any{optSpoof: "allow"}))
	says(w.SetNetwork(ctx, netA, list), both)
	says(w.SetNetwork(ctx, netA, map[string]string{optICCList: "a>b", optSpoof: "refuse"}), both)
	must(t, w.SetEndpoint(ctx, netA, ep1, map[string]string{optSpoof: "refuse"}))
	must(t, w.SetNetwork(ctx, netA, map[string]string{optICCList: "a>b", optSpoof: "refuse"}))
	says(w.SetEndpoint(ctx, netA, ep1, map[string]string{optSpoof: "allow"}), both)

	w = newWorld(t)
	w.host.foreign = append(w.host.foreign, model.Link{Name: "lan0", Kind: "bridge", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}})
	const there = "option mybr.icc: the bridge lan0 was there before mybr used it"
	says(w.createNetwork(netA, "10.1.0.0/24", user(optBridge, "lan0", optICCList, "a>b")), there)
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optBridge, "lan0")))
	says(w.SetNetwork(ctx, netA, list), there)
}
