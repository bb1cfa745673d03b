package iptables

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

// What Docker does for ports of its own, and other programs in tables and chains of
// theirs, is not looked at.
func TestMatters(t *testing.T) {
	b := &Backend{}
	for _, c := range []struct {
		table, chain, message string
		want                  bool
	}{
		{"filter", "MYBR-FORWARD", "", true},
		{"nat", "MYBR-PORTS", "", true},
		{"nat", "PREROUTING", "immediate MYBR-PORTS", true},
		{"filter", "FORWARD", "immediate DOCKER-USER", true},
		{"filter", "DOCKER-USER", "", true},
		{"filter", "DOCKER-BRIDGE", "", true},
		{"filter", "DOCKER-ISOLATION-STAGE-2", "", true},
		{"filter", "DOCKER", "", false},
		{"nat", "DOCKER", "", false},
		{"nat", "POSTROUTING", "masq", false},
		{"filter", "ufw-user-input", "", false},
		{"mangle", "FORWARD", "", false},
		{"firewalld", "filter_FORWARD", "", false},
		{"filter", "", "", false},
	} {
		if got := b.Matters(c.table, c.chain, []byte("\x08\x00\x01\x00"+c.message+"\x00")); got != c.want {
			t.Errorf("%s %s %q: %t, want %t", c.table, c.chain, c.message, got, c.want)
		}
	}
}

// Of changes in the legacy variant nobody is told: they are seen at the tables' sizes, and
// the backend's own are none. In the nf_tables variant there is nothing to be seen.
func TestChanged(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		b := k.backend(t)
		changed := func(when string, want bool) {
			t.Helper()
			if got, err := b.Changed(); err != nil || got != want {
				t.Errorf("%s: %t, %v, want %t", when, got, err, want)
			}
		}
		legacy := k.Name == "legacy"
		changed("before there are any rules", false)
		firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
		changed("after the first rules", false)
		k.Do(h, "-t nat -D MYBR-POSTROUTING 1")
		changed("when a rule was deleted", legacy)
		changed("asked again", false)
		firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
		changed("when it is back", false)

		// A change of the backend's own hides none of others.
		had, want := firewalltest.TwoNetworks(), firewalltest.TwoNetworks()
		want.Ports = nil
		k.Do(h, "-F FORWARD")
		firewalltest.Apply(t, b, &had, want)
		changed("when FORWARD was flushed before a change of the backend's", legacy)
		firewalltest.Apply(t, b, nil, firewall.Policy{})
		changed("when there are no rules any more", false)
	})
}

// That a table is gone is a change, and so is one that comes right behind a plan that found
// nothing to do, such as the first of a process.
func TestChangedTables(t *testing.T) {
	for _, fam := range []family{ipv4(), ipv6()} {
		t.Run(fam.String(), func(t *testing.T) {
			h := nettest.New(t)
			k := kindOf(t, "legacy", fam)
			firewalltest.Apply(t, k.backend(t), nil, firewalltest.TwoNetworks())
			b := k.backend(t)
			firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
			k.Do(h, "-F FORWARD")
			if changed, err := b.Changed(); err != nil || !changed {
				t.Errorf("flushed behind the first plan: %t, %v", changed, err)
			}
			firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
			if changed, err := b.Changed(); err != nil || changed {
				t.Errorf("put back: %t, %v", changed, err)
			}
			inUse := filepath.Join(t.TempDir(), "names")
			if err := os.WriteFile(inUse, []byte("filter\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			k.side(b).state.use.inUse = inUse
			for _, want := range []bool{true, false} {
				if changed, err := b.Changed(); err != nil || changed != want {
					t.Errorf("table nat is gone: %t, %v, want %t", changed, err, want)
				}
			}
		})
	}
}

// A command of the backend's is its own while it runs and a moment longer.
func TestOwn(t *testing.T) {
	h := nettest.New(t)
	k := kindOf(t, "nft", ipv4())
	b := k.backend(t)
	firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
	if len(b.ran.ended) == 0 {
		t.Fatal("no command is known")
	}
	for pid, ended := range b.ran.ended {
		if !b.Own(pid) {
			t.Errorf("%d is not the backend's", pid)
		}
		b.ran.ended[pid] = ended.Add(-ownFor)
		if b.Own(pid) {
			t.Errorf("%d is the backend's still", pid)
		}
	}
	if b.Own(0) {
		t.Error("nobody is the backend")
	}
	h.Run("true")
	firewalltest.Apply(t, b, nil, firewall.Policy{})
	for pid, ended := range b.ran.ended {
		if ended.IsZero() {
			t.Errorf("%d runs for ever", pid)
		}
	}
}
