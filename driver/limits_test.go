package driver

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// endpointOptionsError is what is said of an endpoint's options.
func endpointOptionsError(opts map[string]any) error {
	_, _, err := parseEndpointOptions(opts)
	return err
}

// What can't be taken is refused by its name, with what can.
func TestLimitOptions(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"mybr.publish.from", "10.0.0.0/8, fd00::1,@office", ""},
		{"mybr.publish.from", "none", ""},
		{"mybr.publish.from", "all", ""},
		{"mybr.publish.from", "", ""},
		{"mybr.publish.from.8080", "10.0.0.1", ""},
		{"mybr.publish.from.53/udp", "10.0.0.1", ""},
		{"mybr.publish.from", "10.0.0.1/8", "option mybr.publish.from: 10.0.0.1/8 has bits behind its prefix: want 10.0.0.0/8, or 10.0.0.1"},
		{"mybr.publish.from", "10.0.0.0/8,", `option mybr.publish.from:  is no address: want one such as 192.0.2.7 or fd00::7, a prefix such as 192.168.0.0/16, @NAME of a list, all or none`},
		{"mybr.publish.from", "office", "option mybr.publish.from: office is no address: want one such as 192.0.2.7 or fd00::7, a prefix such as 192.168.0.0/16, @NAME of a list, all or none"},
		{"mybr.publish.from", "::ffff:10.0.0.1", "option mybr.publish.from: ::ffff:10.0.0.1 is no address: want one such as 192.0.2.7 or fd00::7, a prefix such as 192.168.0.0/16, @NAME of a list, all or none"},
		{"mybr.publish.from", "fe80::1%eth0", "option mybr.publish.from: fe80::1%eth0 is no address: want one such as 192.0.2.7 or fd00::7, a prefix such as 192.168.0.0/16, @NAME of a list, all or none"},
		{"mybr.publish.from", "@a b", "option mybr.publish.from: a b is no name of a list: want 1 to 63 of letters, digits, dots, _ and -"},
		{"mybr.publish.from.0", "all", "option mybr.publish.from.0: 0 is no port: want a number from 1 to 65535, with /tcp, /udp or /sctp behind it or without"},
		{"mybr.publish.from.", "all", "option mybr.publish.from.:  is no port: want a number from 1 to 65535, with /tcp, /udp or /sctp behind it or without"},
		{"mybr.publish.from.80/icmp", "all", "option mybr.publish.from.80/icmp: icmp is no protocol: want tcp, udp or sctp"},
		{"mybr.publish.interface", "eth1, wg0", ""},
		{"mybr.publish.interface", "all", ""},
		{"mybr.publish.interface", "", ""},
		{"mybr.publish.interface.8080", "eth1", ""},
		{"mybr.publish.interface.53/udp", "eth0.10", ""},
		{"mybr.publish.interface", "eth/1", "option mybr.publish.interface: eth/1 is no name of an interface: want 1 to 15 of letters, digits, dots, _ and (not at the beginning) -, such as eth1, or all"},
		{"mybr.publish.interface.8080", "eth+", "option mybr.publish.interface.8080: eth+ is a pattern: name each interface"},
		{"mybr.publish.interface", "none", "option mybr.publish.interface: none is no interface: mybr.publish.from=none closes ports"},
		{"mybr.publish.interface.x", "eth1", "option mybr.publish.interface.x: x is no port: want a number from 1 to 65535, with /tcp, /udp or /sctp behind it or without"},
		{"mybr.publish.interfaces", "eth1", "option mybr.publish.interfaces is not known"},
		{"mybr.publish.form", "all", "option mybr.publish.form is not known"},
	} {
		got := ""
		if err := endpointOptionsError(map[string]any{c.key: c.value}); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s=%s: endpoint: %q, want %q", c.key, c.value, got, c.want)
		}
		got = ""
		if _, err := parseNetOptions(map[string]any{optGeneric: map[string]any{c.key: c.value}}); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s=%s: network: %q, want %q", c.key, c.value, got, c.want)
		}
	}
}

// Limits by interfaces are refused where limits of clients are, under their own name; each kind can
// be changed and taken back without the other.
func TestInterfacesOfNetworks(t *testing.T) {
	w := newWorld(t)
	w.running()
	id := w.store.Snapshot().Networks[0].ID
	set := func(key, value string) {
		t.Helper()
		if err := w.SetNetwork(t.Context(), id, map[string]string{key: value}); err != nil {
			t.Error(err)
		}
	}
	recorded := func(want ...string) {
		t.Helper()
		var got []string
		for _, l := range w.store.Snapshot().Networks[0].FromSet {
			got = append(got, limitKey(l)+"="+l.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("recorded: %q, want %q", got, want)
		}
	}
	set(optVia+".8080", "eth1")
	set(optFrom+".8080", "10.0.0.0/8")
	set(optVia, "wg0")
	recorded("mybr.publish.from.8080=10.0.0.0/8", "mybr.publish.interface=wg0", "mybr.publish.interface.8080=eth1")
	set(optVia+".8080", "all")
	set(optFrom+".8080", "")
	recorded("mybr.publish.interface=wg0", "mybr.publish.interface.8080=all")
	set(optVia+".8080", "")
	set(optVia, "")
	recorded()

	limits := []model.Limit{{Via: []string{"eth1"}}}
	for want, n := range map[string]model.Network{
		"option mybr.publish.interface: an internal network publishes nothing: leave it out":                                                                                            {Internal: true},
		"option mybr.publish.interface: gateway mode nat-unprotected lets everybody in at the containers' own addresses, which the option would not change: want another mode for IPv4": {V4: model.Subnet{Mode: model.ModeNATUnprotected}},
	} {
		if err := checkLimits(n, limits); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// What was recorded of who reaches ports stays where the host can't follow in all: it says so,
// and nobody gets in again by it.
func TestLimitsStayWhereTheHostFails(t *testing.T) {
	w := newWorld(t)
	w.running()
	broken := errors.New("host port 8080 is another program's")
	w.sync.fail = func(int) error { return broken }
	id := w.store.Snapshot().Networks[0].ID
	for what, err := range map[string]error{
		"network": w.SetNetwork(t.Context(), id, map[string]string{"mybr.publish.from": "none"}),
		"list":    w.SetList(t.Context(), model.List{Name: "office", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}),
	} {
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "it is recorded, but not all of the host follows yet") {
			t.Errorf("%s: %v", what, err)
		}
	}
	s := w.store.Snapshot()
	if len(s.Networks[0].FromSet) != 1 || len(s.Lists) != 1 {
		t.Errorf("recorded: %+v, lists %+v", s.Networks[0].FromSet, s.Lists)
	}
}
