package driver

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// A mode is one of two, is about a list, and is taken back. What is refused changes nothing.
func TestEgressMode(t *testing.T) {
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
	const word = "option mybr.egress.mode: warn: want enforce or audit"
	without := func(mode string) string {
		return "option mybr.egress.mode: " + mode + ": there is no list that this could be about"
	}
	mode := func(value string) map[string]string { return map[string]string{optEgressMode: value} }

	w := newWorld(t)
	says(w.createNetwork(netA, "10.1.0.0/24", user(optEgress, "none", optEgressMode, "warn")), word)
	says(w.createNetwork(netA, "10.1.0.0/24", user(optEgressMode, "audit")), without("audit"))
	says(w.createNetwork(netA, "10.1.0.0/24", user(optEgress, "all", optEgressMode, "enforce")), without("enforce"))
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	says(w.SetNetwork(ctx, netA, mode("audit")), without("audit"))
	says(endpoint(w, map[string]any{optEgressMode: "audit"}), without("audit"))
	says(endpoint(w, map[string]any{optEgressMode: "warn", optEgress: "none"}), word)
	must(t, w.SetNetwork(ctx, netA, map[string]string{optEgressMode: "audit", optEgress: "none"}))
	says(w.SetNetwork(ctx, netA, mode("warn")), word)
	says(w.SetNetwork(ctx, netA, map[string]string{optEgress: ""}), without("audit"))
	must(t, endpoint(w, map[string]any{optEgressMode: "enforce"}))
	must(t, endpoint(w, map[string]any{optEgressMode: "enforce"})) // Docker may ask twice
	for _, other := range []map[string]any{{optEgressMode: "audit"}, nil} {
		if err := endpoint(w, other); !errors.Is(err, model.ErrExists) {
			t.Errorf("the endpoint that is enforced, asked for with %v: %v", other, err)
		}
	}
	says(w.SetNetwork(ctx, netA, map[string]string{optEgressMode: "", optEgress: ""}), without("enforce"))
	if n, e := w.networkRecord(netA), w.store.Snapshot().Endpoints[0]; n.EgressModeSet != "audit" || n.EgressSet != "none" || e.EgressMode != "enforce" {
		t.Errorf("recorded: %+v %+v", n, e)
	}
	must(t, w.SetEndpoint(ctx, netA, ep1, mode("audit")))
	if e := w.store.Snapshot().Endpoints[0]; e.EgressMode != "enforce" || e.EgressModeSet != "audit" {
		t.Errorf("recorded: %+v", e)
	}
	must(t, w.SetEndpoint(ctx, netA, ep1, mode("")))
	must(t, w.SetNetwork(ctx, netA, mode("")))
	if n, e := w.networkRecord(netA), w.store.Snapshot().Endpoints[0]; n.EgressModeSet != "" || e.EgressModeSet != "" {
		t.Errorf("taken back: %+v %+v", n, e)
	}
	if err := CheckOptions(map[string]string{optEgressMode: "audit"}, false, false); err == nil || !strings.Contains(err.Error(), without("audit")) {
		t.Errorf("%v", err)
	}

	// The same network, asked for again, is there.
	w = newWorld(t)
	options := user(optEgress, "none", optEgressMode, "audit")
	must(t, w.createNetwork(netA, "10.1.0.0/24", options))
	must(t, w.SetNetwork(ctx, netA, mode("enforce")))
	must(t, w.createNetwork(netA, "10.1.0.0/24", options))
}

// A list that is only watched asks nothing of who sends; whoever has it enforced must.
func TestWatchedListNeedsNoSenders(t *testing.T) {
	const host = "option mybr.egress: containers could get past the list with addresses of others"
	w := newWorld(t)
	w.noSpoof = errors.New("the kernel can't")
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optEgress, "none", optEgressMode, "audit")))
	if err := w.SetNetwork(ctx, netA, map[string]string{optEgressMode: "enforce"}); err == nil || !strings.Contains(err.Error(), host) {
		t.Errorf("%v", err)
	}
	w = newWorld(t)
	w.host.foreign = append(w.host.foreign, model.Link{Name: "lan0", Kind: "bridge", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}})
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optBridge, "lan0", optEgress, "none", optEgressMode, "audit", optSpoof, "allow")))
	if err := w.SetNetwork(ctx, netA, map[string]string{optEgressMode: "enforce"}); err == nil || !strings.Contains(err.Error(), "the bridge lan0 was there before mybr used it") {
		t.Errorf("%v", err)
	}
}

// Of a list that is only watched nobody serves the names: it is taken where they can't be enforced,
// and enforced where they can.
func TestWatchedNamesNeedNobody(t *testing.T) {
	w := newWorld(t)
	w.noNames = errors.New("nobody serves them")
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optEgress, "example.com", optEgressMode, "audit")))
	err := w.SetNetwork(ctx, netA, map[string]string{optEgressMode: "enforce"})
	if want := "option mybr.egress: example.com: nobody serves them"; !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if n := w.networkRecord(netA); n.EgressModeSet != "" {
		t.Errorf("what was refused has changed something: %+v", n)
	}
}
