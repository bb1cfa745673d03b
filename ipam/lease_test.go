package ipam

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// driven records a network of mybr's own driver with endpoints at some addresses.
func driven(t *testing.T, s *store.Store, space, subnet string, addrs ...string) {
	t.Helper()
	_, err := s.Update(func(tx *store.Tx) error {
		prefix := netip.MustParsePrefix(subnet)
		n := model.Network{ID: "n" + space + subnet, Bridge: "mybr0", V4: model.Subnet{Prefix: prefix, Space: space}}
		if err := tx.PutNetwork(n); err != nil {
			return err
		}
		for _, e := range tx.Endpoints() {
			if err := tx.DeleteEndpoint(e.ID); err != nil {
				return err
			}
		}
		for _, a := range addrs {
			e := model.Endpoint{ID: "e" + a, NetworkID: n.ID, V4: netip.PrefixFrom(netip.MustParseAddr(a), prefix.Bits())}
			if err := tx.PutEndpoint(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Two containers with one MAC: the second gets an address of its own, or is refused
// the first one's, and takes nothing from the first when it goes.
func TestSameMAC(t *testing.T) {
	d, s := newDriver(t)
	id := pool(t, d, "10.0.0.0/24", "")
	driven(t, s, SpaceLocal, "10.0.0.0/24")
	want(t, d, id, mac1, "", "10.0.0.1/24")
	want(t, d, id, mac1, "", "10.0.0.1/24") // there is no endpoint yet: the same request again
	driven(t, s, SpaceLocal, "10.0.0.0/24", "10.0.0.1")
	want(t, d, id, mac1, "", "10.0.0.2/24")
	release(t, d, id, "10.0.0.2")
	refused(t, d, id, mac1, "10.0.0.1", "request address 10.0.0.1: in use in pool "+id+" by the endpoint with MAC address "+mac1)
	if l := dump(t, s).Leases[id]; len(l) != 1 || l[0].Addr.String() != "10.0.0.1" {
		t.Errorf("have %+v, want 10.0.0.1", l)
	}
	// When Docker repeats its requests, it has every right to the address.
	capabilities(t, d)
	pool(t, d, "10.0.0.0/24", "")
	want(t, d, id, "aux", "10.0.0.1", "10.0.0.1/24")
}

// Containers were removed while mybr was away: the leases of those that had no
// endpoint left are free when wished, or when nothing else is. Those of gateways and
// auxiliary addresses are not.
func TestStaleLeases(t *testing.T) {
	d, s := newDriver(t)
	id := pool(t, d, "10.0.0.0/29", "")
	want(t, d, id, "gateway", "", "10.0.0.1/29")
	want(t, d, id, "aux", "10.0.0.2", "10.0.0.2/29")
	for last := byte(3); last <= 6; last++ {
		want(t, d, id, model.MAC{2, 0, 0, 0, 0, last}.String(), "", fmt.Sprintf("10.0.0.%d/29", last))
	}
	full := "request address: pool " + id + " is exhausted: all 6 addresses of 10.0.0.0/29 are in use"
	refused(t, d, id, mac1, "", full) // nothing is known of the endpoints: another driver's network
	driven(t, s, SpaceGlobal, "10.0.0.0/29")
	driven(t, s, SpaceLocal, "10.0.1.0/29")
	refused(t, d, id, mac1, "", full)
	driven(t, s, SpaceLocal, "10.0.0.0/29", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6")
	refused(t, d, id, mac1, "", full)
	refused(t, d, id, mac1, "10.0.0.4", "request address 10.0.0.4: in use in pool "+id+" by the endpoint with MAC address 02:00:00:00:00:04")
	driven(t, s, SpaceLocal, "10.0.0.0/29", "10.0.0.3", "10.0.0.6")
	want(t, d, id, mac1, "10.0.0.4", "10.0.0.4/29")
	driven(t, s, SpaceLocal, "10.0.0.0/29", "10.0.0.3", "10.0.0.4", "10.0.0.6")
	refused(t, d, id, mac2, "10.0.0.4", "request address 10.0.0.4: in use in pool "+id+" by the endpoint with MAC address "+mac1)
	refused(t, d, id, mac2, "10.0.0.1", "request address 10.0.0.1: in use in pool "+id+" as its gateway")
	refused(t, d, id, mac2, "10.0.0.2", "request address 10.0.0.2: in use in pool "+id+" as an auxiliary address")
	want(t, d, id, mac2, "", "10.0.0.5/29")
	driven(t, s, SpaceLocal, "10.0.0.0/29", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6")
	refused(t, d, id, mac3, "", full)
}
