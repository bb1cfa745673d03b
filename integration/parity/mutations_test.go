package parity

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mutation is a mistake in mybr that the scenarios must notice.
type mutation struct {
	name      string
	file      string // from the top of the module
	old, new  string // the text there, once, and the mistake
	scenarios []string
}

func mutations() []mutation {
	const filter, nat = "internal/firewall/iptables/render.go", "internal/firewall/iptables/nat.go"
	return []mutation{
		{name: "no masquerade", file: nat, old: "if fam.Masquerade {", new: "if false {",
			scenarios: []string{"access/out to the LAN and the host"}},
		{name: "no hairpin", file: nat, old: "if fam.Hairpin && n.ICC {", new: "if false {",
			scenarios: []string{"access/itself by its published port"}},
		{name: "networks not kept apart", file: filter, old: `rules = append(rules, rule{out + unsolicited + " -j DROP",`,
			new: `rules = append(rules, rule{out + unsolicited + " -j RETURN",`, scenarios: []string{"access/another network of the driver"}},
		{name: "published ports not let in", file: filter, old: `rule{out + " -m conntrack --ctstate DNAT -j ACCEPT",`,
			new: `rule{out + " -m conntrack --ctstate INVALID -j ACCEPT",`, scenarios: []string{"publish/tcp"}},
		{name: "no masquerade of IPv6", file: "internal/reconcile/policy.go", old: "f.Masquerade, f.SNAT = s.Masquerade, s.SNAT",
			new: "f.Masquerade, f.SNAT = s.Masquerade && s.Prefix.Addr().Is4(), s.SNAT", scenarios: []string{"access6/out to the LAN and the host"}},
		{name: "no forwarding of IPv6", file: "internal/reconcile/render.go", old: `set[conf("all")+"forwarding"] = "1"`, new: `set[conf("all")+"forwarding"] = "0"`,
			scenarios: []string{"access6/out to the LAN and the host"}},
		{name: "router advertisements on the bridge", file: "internal/reconcile/render.go", old: `set[conf(b.Name)+"accept_ra"] = "0"`, new: `set[conf(b.Name)+"accept_ra"] = "1"`,
			scenarios: []string{"ipv6/plain"}},
		{name: "enable_icc=false ignored", file: "internal/reconcile/render.go", old: "Isolated: !n.ICC,", new: "Isolated: false,",
			scenarios: []string{"attack/enable_icc=false, ARP and neighbour discovery"}},
		{name: "duplicates of the bridge's addresses are looked for", file: "internal/link/message.go", old: "header.Flags = unix.IFA_F_NODAD", new: "header.Flags = 0",
			scenarios: []string{"ipv6/plain"}},
		{name: "MTU of the container's link ignored", file: "internal/link/message.go", old: "if v.MTU != 0 {", new: "if false {", scenarios: []string{"ipv6/mtu"}},
		{name: "gateway of IPv6 forgotten", file: "driver/join.go", old: "if a := f.subnet(&n).Gateway; a.IsValid() && !n.Internal && f.address(&e).IsValid() {",
			new: "if a := f.subnet(&n).Gateway; a.Is4() && !n.Internal && f.address(&e).IsValid() {", scenarios: []string{"ipv6/subnet with DefaultGatewayIPv6"}},
	}
}

// TestMutations builds mybr with one mistake after the other and looks whether the
// scenarios would fail for it, on the engine whose built-in driver offers them all.
func TestMutations(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds mybr for each mutation")
	}
	const engine = "28.5"
	b := newBench(engine)
	defer b.close()
	builtin := map[string]played{}
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			overlay := m.overlay(t)
			h := &hall{}
			defer h.close()
			cfg := b.config(nil, "mybr")
			cfg.Overlay = overlay
			if !b.open(h, cfg) {
				if h.t.skipped {
					t.Skip(h.t.said)
				}
				t.Fatalf("there is no world: %v", h.t.said)
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

// overlay writes the mutated file, and the file for go build -overlay that puts it in
// the place of the right one.
func (m mutation) overlay(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(right), m.old); n != 1 {
		t.Fatalf("%s has %d times %q, want it once", m.file, n, m.old)
	}
	dir := t.TempDir()
	wrong := filepath.Join(dir, "mutated.go")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {path: wrong}})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	for name, content := range map[string][]byte{wrong: []byte(strings.Replace(string(right), m.old, m.new, 1)), overlay: text} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}
