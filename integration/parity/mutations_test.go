package parity

import (
	"slices"
	"testing"

	"github.com/mybr/mybr/integration/mutate"
	"github.com/mybr/mybr/integration/world"
)

// mutation is a mistake in mybr that the scenarios must notice.
type mutation struct {
	name      string
	pkg       string // its directory, from the top of the module
	function  string // FUNCTION, or TYPE.METHOD
	at        mutate.Place
	with      string // what is there instead; OLD stands for what was there
	scenarios []string
}

// mutations names functions and what is in them, not lines of source. make test plays the
// first one; make test-full plays all.
func mutations() []mutation {
	const rules, render, link = "internal/firewall/iptables", "internal/reconcile", "internal/link"
	return []mutation{
		{"no masquerade", rules, "masquerading", mutate.Condition("Masquerade"), "false", []string{"access/out to the LAN and the host"}},
		{"no hairpin", rules, "masquerading", mutate.Condition("Hairpin"), "false", []string{"access/itself by its published port"}},
		{"networks not kept apart", rules, "family.to", mutate.WholeBody(), "{ return nil }", []string{"access/another network of the driver"}},
		{"published ports not let in", rules, "family.forwarding", mutate.Literal("--ctstate RELATED,ESTABLISHED,DNAT"), `" -m conntrack --ctstate INVALID -j ACCEPT"`,
			[]string{"publish/tcp"}},
		{"no masquerade of IPv6", rules, "masquerading", mutate.Condition("Masquerade"), "OLD && fam.Prefix.Addr().Is4()",
			[]string{"access6/out to the LAN and the host"}},
		{"no forwarding of IPv6", render, "forwardingSettings", mutate.Assigned("forwarding6"), `"0"`, []string{"access6/out to the LAN and the host"}},
		{"router advertisements on the bridge", render, "renderBridge", mutate.Assigned("AcceptRA"), `"1"`, []string{"ipv6/plain"}},
		{"enable_icc=false ignored", render, "renderVeth", mutate.Assigned("Isolated"), "false", []string{"attack/enable_icc=false, ARP and neighbour discovery, with mybr.spoof=allow"}},
		{"senders not checked by default", "internal/model", "SpoofMode", mutate.Condition("Owned"), "true", []string{"attack/a neighbour may send everything"}},
		{"duplicates of the bridge's addresses are looked for", link, "nameAddress", mutate.Assigned("Flags"), "0", []string{"ipv6/plain"}},
		{"MTU of the container's link ignored", link, "kernel.makeVeth", mutate.Condition("MTU"), "false", []string{"ipv6/mtu"}},
		{"gateway of IPv6 forgotten", "driver", "joinResponse", mutate.Condition("Internal", "IsValid"), "OLD && a.Is4()",
			[]string{"ipv6/subnet with DefaultGatewayIPv6"}},
	}
}

func (m mutation) mutation() mutate.Mutation {
	return mutate.Mutation{Pkg: m.pkg, Function: m.function, At: m.at, With: m.with}
}

// overlay writes the file for go build -overlay.
func (m mutation) overlay(t *testing.T) string {
	t.Helper()
	path, err := m.mutation().Overlay("../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMutationsApply builds the package of each mutation: the function and the place are
// there, and the mistake is one that compiles. It needs no engine.
func TestMutationsApply(t *testing.T) {
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if err := m.mutation().Build("../..", t.TempDir()); err != nil {
				t.Error(err)
			}
			for _, name := range m.scenarios {
				if !slices.ContainsFunc(scenarios(), func(sc scenario) bool { return sc.name == name }) {
					t.Errorf("there is no scenario %q", name)
				}
			}
		})
	}
}

// TestMutations builds mybr with one mistake after the other and looks whether the
// scenarios would fail for it, on the engine whose built-in driver offers them all.
func TestMutations(t *testing.T) {
	const engine = "28.5"
	b := newBench(engine)
	b.firewall = world.IPTables // some of the mistakes are in its package
	defer b.close()
	builtin := map[string]played{}
	for i, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			if i > 0 {
				world.Full(t)
			}
			overlay := m.overlay(t)
			h := &playWorld{}
			defer h.close()
			cfg := b.config(nil, "mybr")
			cfg.Overlay = overlay
			if !b.open(h, cfg) {
				if h.t.skipped {
					t.Skip(h.t.messages)
				}
				t.Fatalf("there is no world: %v", h.t.messages)
			}
			b.shared["mybr"] = h
			for _, name := range m.scenarios {
				m.noticed(t, b, name, builtin)
			}
		})
	}
}

// noticed fails the test if a scenario is content with the mutated mybr.
func (m mutation) noticed(t *testing.T, b *bench, name string, builtin map[string]played) {
	all := scenarios()
	i := slices.IndexFunc(all, func(sc scenario) bool { return sc.name == name })
	if i < 0 || all[i].world != nil || !all[i].played(b.engine) || !all[i].offered(b.engine) {
		t.Fatalf("no scenario %q that the shared worlds of engine %s can play", name, b.engine)
	}
	if _, ok := builtin[name]; !ok {
		builtin[name] = b.play(all[i], "bridge", usual)
	}
	mybr := b.play(all[i], "mybr", patient)
	if builtin[name].problem != "" || mybr.problem != "" {
		t.Fatalf("%s: %s%s", name, builtin[name].problem, mybr.problem)
	}
	v := compare(all[i], b.engine, builtin[name].facts, mybr.facts, newest(t, all[i], b.engine).Messages)
	if len(v.unexplained)+len(v.stale) == 0 {
		t.Errorf("%s doesn't notice it", name)
	}
	for _, d := range v.stale {
		t.Logf("%s notices: no longer true is the difference of %q", name, d.key)
	}
	for _, key := range v.unexplained {
		t.Logf("%s notices: %s\n    bridge: %s\n    mybr:   %s", name, key, value(builtin[name].facts, key), value(mybr.facts, key))
	}
}
