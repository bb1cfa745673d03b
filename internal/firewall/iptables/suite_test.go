package iptables

import (
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// kind is one variant of iptables, as what the commands `iptables` and `ip6tables` of a
// host are, and the family that a test is about.
type kind struct {
	firewalltest.Stand
	family
}

// world is one with this backend.
type world struct {
	*firewalltest.World
	k kind
	b *Backend
}

// suite is what every backend has to do. What single variants of iptables do differently is
// for other tests.
func suite() firewalltest.Suite {
	return firewalltest.Suite{
		Backend: func(t *testing.T, s firewalltest.Stand) firewall.Backend { return open(t, s.Dir) },
		Stands:  []string{"nft", "legacy"},
		Dockers: map[string]string{
			"20.10": "legacy", "20.10, no DOCKER-USER": "nft", "28.5": "nft", "28.5, no DOCKER-USER": "legacy", "29": "nft", "29, no DOCKER-USER": "legacy",
		},
		Accepted: "a",
		Closed: func(w *firewalltest.World) {
			if save := w.Stand.Save(w.Host); strings.Contains(save, "-j "+chainUnprotected) {
				w.T.Errorf("without an unprotected network there is\n%s", save)
			}
		},
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	suite().Run(t)
}

// eachKind runs a test on a host of its own for each variant, in each family.
func eachKind(t *testing.T, test func(t *testing.T, h *nettest.Host, k kind)) {
	firewalltest.Each(t, suite().Stands, func(t *testing.T, h *nettest.Host, s firewalltest.Stand) {
		fam := ipv4()
		if s.IP == model.IPv6 {
			fam = ipv6()
		}
		test(t, h, kind{Stand: s}.with(fam))
	})
}

func kindOf(t *testing.T, name string, fam family) kind {
	t.Helper()
	return kind{Stand: firewalltest.NewStand(t, name, fam.Family)}.with(fam)
}

// with is the same host for a test of a family.
func (k kind) with(fam family) kind {
	k.IP, k.family = fam.Family, fam
	return k
}

func newWorld(t *testing.T, h *nettest.Host, k kind) *world {
	t.Helper()
	b := k.backend(t)
	return &world{firewalltest.NewWorld(t, h, k.Stand, b), k, b}
}

// side is the backend's side in the family that the test is about.
func (k kind) side(b *Backend) *side {
	if k.Family == model.IPv4 {
		return b.v4
	}
	return b.v6
}

func (k kind) backend(t *testing.T) *Backend {
	t.Helper()
	return open(t, k.Dir)
}

// open is the backend with the commands of a directory before others.
func open(t *testing.T, dir string) *Backend {
	t.Helper()
	b, err := New(firewall.Config{Dir: dir, Warn: func(f string, a ...any) { t.Errorf("warning: "+f, a...) }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
