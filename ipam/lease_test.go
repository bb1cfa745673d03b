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
		n := model.Network{ID: "n" + space + subnet, Bridge: "mybr0"}
		if of := (model.Subnet{Prefix: prefix, Space: space}); prefix.Addr().Is4() {
			n.V4 = of
		} else {
			n.V4, n.V6 = model.Subnet{Prefix: netip.MustParsePrefix("10.200.0.0/16"), Space: space}, of
		}
		if err := tx.PutNetwork(n); err != nil {
			return err
		}
		for _, e := range tx.Endpoints() {
			if err := tx.DeleteEndpoint(e.ID); err != nil {
				return err
			}
		}
		for _, a := range addrs {
			e := model.Endpoint{ID: "e" + a, NetworkID: n.ID}
			if has := netip.PrefixFrom(netip.MustParseAddr(a), prefix.Bits()); prefix.Addr().Is4() {
				e.V4 = has
			} else {
				e.V4, e.V6 = netip.MustParsePrefix("10.200.0.9/16"), has
			}
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
	for subnet, addrs := range map[string][2]string{
		"10.0.0.0/24": {"10.0.0.1", "10.0.0.2"},
		"fd00::/24":   {"fd00::1", "fd00::2"},
	} {
		t.Run(subnet, func(t *testing.T) { sameMAC(t, subnet, addrs[0], addrs[1]) })
	}
}

func sameMAC(t *testing.T, subnet, one, two string) {
	d, s := newDriver(t)
	id := pool(t, d, subnet, "")
	driven(t, s, SpaceLocal, subnet)
	want(t, d, id, mac1, "", one+"/24")
	want(t, d, id, mac1, "", one+"/24") // there is no endpoint yet: the same request again
	driven(t, s, SpaceLocal, subnet, one)
	want(t, d, id, mac1, "", two+"/24")
	release(t, d, id, two)
	refused(t, d, id, mac1, one, "request address "+one+": Address already in use in pool "+id+" by the endpoint with MAC address "+mac1)
	if l := dump(t, s).Leases[id]; len(l) != 1 || l[0].Addr.String() != one {
		t.Errorf("have %+v, want %s", l, one)
	}
	// When Docker repeats its requests, it has every right to the address.
	capabilities(t, d)
	pool(t, d, subnet, "")
	want(t, d, id, "aux", one, one+"/24")
}

// Containers were removed while mybr was away: the leases of those that had no
// endpoint left are free when named, or when nothing else is. Those of gateways and
// auxiliary addresses are not.
func TestStaleLeases(t *testing.T) {
	for subnet, text := range map[string]string{"10.0.0.0/29": "10.0.0.", "fd00::/125": "fd00::"} {
		t.Run(subnet, func(t *testing.T) { staleLeases(t, netip.MustParsePrefix(subnet), text) })
	}
}

func staleLeases(t *testing.T, prefix netip.Prefix, text string) {
	d, s := newDriver(t)
	subnet := prefix.String()
	id := pool(t, d, subnet, "")
	addr := func(last byte) string { return text + fmt.Sprint(last) }
	with := func(last byte) string { return fmt.Sprintf("%s/%d", addr(last), prefix.Bits()) }
	endpointsAt := func(space, subnet string, lasts ...byte) {
		t.Helper()
		var addrs []string
		for _, last := range lasts {
			addrs = append(addrs, addr(last))
		}
		driven(t, s, space, subnet, addrs...)
	}
	want(t, d, id, "gateway", "", with(1))
	want(t, d, id, "aux", addr(2), with(2))
	count := 6
	if prefix.Addr().Is6() { // there are no broadcasts
		want(t, d, id, "aux", addr(7), with(7))
		count = 7
	}
	for last := byte(3); last <= 6; last++ {
		want(t, d, id, model.MAC{2, 0, 0, 0, 0, last}.String(), "", with(last))
	}
	full := fmt.Sprintf("request address: pool %s is exhausted: all %d addresses of %s are in use", id, count, subnet)
	inUse := func(last byte, use string) string {
		return fmt.Sprintf("request address %s: Address already in use in pool %s %s", addr(last), id, use)
	}
	refused(t, d, id, mac1, "", full) // nothing is known of the endpoints: another driver's network
	endpointsAt(SpaceGlobal, subnet)
	endpointsAt(SpaceLocal, netip.PrefixFrom(spanOf(prefix).last.Next(), prefix.Bits()).String())
	refused(t, d, id, mac1, "", full)
	endpointsAt(SpaceLocal, subnet, 3, 4, 5, 6)
	refused(t, d, id, mac1, "", full)
	refused(t, d, id, mac1, addr(4), inUse(4, "by the endpoint with MAC address 02:00:00:00:00:04"))
	endpointsAt(SpaceLocal, subnet, 3, 6)
	want(t, d, id, mac1, addr(4), with(4))
	endpointsAt(SpaceLocal, subnet, 3, 4, 6)
	refused(t, d, id, mac2, addr(4), inUse(4, "by the endpoint with MAC address "+mac1))
	refused(t, d, id, mac2, addr(1), inUse(1, "as its gateway"))
	refused(t, d, id, mac2, addr(2), inUse(2, "as an auxiliary address"))
	want(t, d, id, mac2, "", with(5))
	endpointsAt(SpaceLocal, subnet, 3, 4, 5, 6)
	refused(t, d, id, mac3, "", full)
}

// undriven deletes the networks of mybr's own driver, with their endpoints.
func undriven(t *testing.T, s *store.Store) {
	t.Helper()
	_, err := s.Update(func(tx *store.Tx) error {
		for _, e := range tx.Endpoints() {
			if err := tx.DeleteEndpoint(e.ID); err != nil {
				return err
			}
		}
		for _, n := range tx.Networks() {
			if err := tx.DeleteNetwork(n.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
