package backend_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/backend"
	"github.com/mybr/mybr/internal/firewall/iptables"
	"github.com/mybr/mybr/internal/firewall/nftables"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

func TestOpen(t *testing.T) {
	nettest.New(t)
	for _, kind := range backend.Kinds() {
		b, err := backend.Open(kind, firewall.Config{})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if kind != backend.Auto && b.Name() != kind {
			t.Errorf("%s opens %s", kind, b.Name())
		}
		if !slices.Contains(backend.Kinds(), b.Name()) || !strings.HasSuffix(b.SlowHint(), "?") || b.Variant() != "" {
			t.Errorf("%s: name %q, hint %q, variant %q", kind, b.Name(), b.SlowHint(), b.Variant())
		}
	}
}

// An unknown kind is refused by an error that names it and says what there is.
func TestUnknownKind(t *testing.T) {
	b, err := backend.Open("ipchains", firewall.Config{})
	if b != nil || !errors.Is(err, model.ErrInvalid) {
		t.Fatalf("%v, %v", b, err)
	}
	for _, word := range append(backend.Kinds(), `"ipchains"`) {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not name %s", err, word)
		}
	}
}

// Where a backend can't be opened there is none, not one that is nil inside. Without the
// commands of iptables, what is chosen is the other one.
func TestNoCommands(t *testing.T) {
	nettest.New(t)
	t.Setenv("PATH", t.TempDir())
	if b, err := backend.Open(iptables.Name, firewall.Config{}); b != nil || err == nil {
		t.Errorf("%v, %v", b, err)
	}
	if b, err := backend.Open(backend.Auto, firewall.Config{}); err != nil || b.Name() != nftables.Name {
		t.Errorf("%v, %v", b, err)
	}
}

// What the host's Docker uses is chosen: its own tables of nf_tables, else iptables.
func TestAuto(t *testing.T) {
	h := nettest.New(t)
	for want, command := range map[string][]string{
		iptables.Name: {"iptables", "-N", "DOCKER"},
		nftables.Name: {"nft", "add", "table", "ip", nftables.DockersTable},
	} {
		h.Fresh(func(h *nettest.Host) {
			h.Run(command[0], command[1:]...)
			if b, err := backend.Open(backend.Auto, firewall.Config{}); err != nil || b.Name() != want {
				t.Errorf("beside %v: %v, %v", command, b.Name(), err)
			}
		})
	}
}
