package nftables

import (
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

const alone = firewalltest.Alone

// everyPath and dockerPaths are what the tests of this backend alone expect, too.
const (
	everyPath   = firewalltest.EveryPath
	dockerPaths = firewalltest.DockerPaths
)

// stand is the variant of iptables that others use beside mybr, and the family that a test is
// about.
type stand struct {
	firewalltest.Stand
	family
}

// world is one with this backend.
type world struct {
	*firewalltest.World
	k stand
	b *Backend
}

// suite is what every backend has to do. What mybr has in iptables is the same with all
// layouts of Docker's chains but for Docker's own list of its bridges, which the last has not.
// What mybr drops is dropped, whatever DOCKER-USER accepts.
func suite() firewalltest.Suite {
	return firewalltest.Suite{
		Backend:  func(t *testing.T, s firewalltest.Stand) firewall.Backend { return open(t, s.Dir) },
		Stands:   []string{alone, "nft", "legacy"},
		Dockers:  map[string]string{"20.10": "legacy", "28.5": "nft", "29, no DOCKER-USER": "nft"},
		Accepted: "nothing",
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	suite().Run(t)
}

// eachKind runs a test on a host of its own without iptables, and beside each variant, in
// each family.
func eachKind(t *testing.T, test func(t *testing.T, h *nettest.Host, k stand)) {
	firewalltest.Each(t, suite().Stands, func(t *testing.T, h *nettest.Host, s firewalltest.Stand) {
		fam := ipv4()
		if s.IP == model.IPv6 {
			fam = ipv6()
		}
		test(t, h, stand{s, fam})
	})
}

func kindOf(t *testing.T, name string, fam family) stand {
	t.Helper()
	return stand{firewalltest.NewStand(t, name, fam.Family), fam}
}

func newWorld(t *testing.T, h *nettest.Host, k stand) *world {
	t.Helper()
	b := k.backend(t)
	return &world{firewalltest.NewWorld(t, h, k.Stand, b), k, b}
}

func (k stand) backend(t *testing.T) *Backend {
	t.Helper()
	return open(t, k.Dir)
}

// open is the backend with the commands of a directory before others; "": those of PATH.
func open(t *testing.T, dir string) *Backend {
	t.Helper()
	b, err := New(firewall.Config{Dir: dir, Warn: func(f string, a ...any) { t.Errorf("warning: "+f, a...) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// save is iptables-save of the table filter.
func (k stand) save(h *nettest.Host) string { return k.Save(h, "-t", "filter") }
