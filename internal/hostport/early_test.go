package hostport

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// While flows may be tracked that began before a port was translated, what NAT leads nowhere is
// let in, and nothing else; then everything is.
func TestEarlyFlowsAreNotServed(t *testing.T) {
	host, container := withContainer(t)
	lan := withLAN(t, host)
	host.Run("ip", "link", "add", "int0", "type", "bridge")
	neighbour := withInternal(t, host, "neighbour")
	for _, network := range []string{"tcp4", "udp4"} {
		container.Echo(network, "0.0.0.0:80")
	}
	var round uint64 // changed while nobody asks
	m := start(t, Config{Early: func() uint64 { return round }})
	reach := func(when, network string, from *nettest.Host, want bool, addresses ...string) {
		t.Helper()
		for _, address := range addresses {
			wait := patience
			if !want {
				wait = 100 * time.Millisecond
			}
			if _, err := from.Ask(network, address, wait); (err == nil) != want {
				t.Errorf("%s: from %s to %s %s: %v", when, from.Name, network, address, err)
			}
		}
	}
	served := func(when string, from *nettest.Host, want bool, addresses ...string) {
		t.Helper()
		reach(when, "tcp", from, want, addresses...)
		reach(when, "udp", from, want, addresses...)
	}

	bindings, _ := reserve(t, m, "a", request(model.TCP, "", 8080, 8080, 80), request(model.UDP, "", 8080, 8080, 80),
		request(model.TCP, "192.0.2.9", 8081, 8081, 80), request(model.UDP, "192.0.2.9", 8081, 8081, 80))
	want := setOf("a", bindings)
	for i := range want.Bindings {
		want.Bindings[i].Neighbours = netip.MustParsePrefix("172.31.0.0/24")
	}
	round = 7
	apply(t, m, want)
	always := func(when string) {
		t.Helper()
		served(when, host, true, "127.0.0.1:8080", "[::1]:8080")
		served(when, neighbour, true, "172.31.0.1:8080")
		// What leads to the other family is not translated.
		served(when, lan, true, "[fd00:5::1]:8080", "[fe80::5:1%eth0]:8080")
	}
	always("early")
	served("early", lan, false, "192.0.2.1:8080", "192.0.2.9:8081")
	served("early", host, false, "192.0.2.1:8080")
	m.Looked(6)
	served("after another round", lan, false, "192.0.2.1:8080", "192.0.2.9:8081")
	m.Looked(7)
	always("then")
	served("then", lan, true, "192.0.2.1:8080", "192.0.2.9:8081")
	served("then", host, true, "192.0.2.1:8080")

	// A port of both families, each with a container's address of its own.
	container.Echo("tcp6", "[::]:80")
	warm(t, host, container, containerAddr6)
	pair := request(model.TCP, "", 8090, 8090, 80)
	pair.V6.Container = netip.AddrPortFrom(netip.MustParseAddr(containerAddr6), 80)
	bindings, _ = reserve(t, m, "b", pair)
	round = 8
	apply(t, m, setOf("b", bindings))
	reach("both early", "tcp", host, true, "127.0.0.1:8090", "[::1]:8090")
	reach("both early", "tcp", lan, true, "[fe80::5:1%eth0]:8090")
	reach("both early", "tcp", lan, false, "192.0.2.1:8090", "[fd00:5::1]:8090")
	m.Looked(9)
	reach("both then", "tcp", lan, true, "192.0.2.1:8090", "[fd00:5::1]:8090")
	if len(m.early) > 0 {
		t.Errorf("%d ports wait still", len(m.early))
	}

	// Where NAT leads nothing away there is nothing to wait for.
	carried, _ := reserve(t, m, "c", request(model.TCP, "", 8095, 8095, 80))
	round = 9
	all := setOf("c", carried)
	for i := range all.Bindings {
		all.Bindings[i].Limit.Carried = true
	}
	apply(t, m, all)
	reach("carried", "tcp", lan, true, "192.0.2.1:8095", "[fd00:5::1]:8095")

	round = 10
	apply(t, m, want) // "b" goes, "a" comes anew
	apply(t, m, Set{})
	if len(m.early) > 0 {
		t.Errorf("%d ports that are closed wait still", len(m.early))
	}
}

// What a host with many internal networks publishes is let in, early and then, with as little
// memory for filters as kernels before 6.8 have.
func TestEarlyWithManyBlockedLinks(t *testing.T) {
	host, container := withContainer(t)
	lan := withLAN(t, host)
	host.Run("sh", "-c", "f=/proc/sys/net/core/optmem_max; test ! -w $f || echo 20480 > $f") // older kernels have it as it is
	warm(t, host, container, containerAddr6)
	container.Echo("tcp4", "0.0.0.0:80")
	container.Echo("tcp6", "[::]:80")
	lost := func(err error) { t.Errorf("lost: %v", err) }
	var round uint64 // changed while nobody asks
	m := start(t, Config{Early: func() uint64 { return round }, Lost: lost})
	pair := request(model.TCP, "", 8080, 8080, 80)
	pair.V6.Container = netip.AddrPortFrom(netip.MustParseAddr(containerAddr6), 80)
	bindings, _ := reserve(t, m, "a", pair)
	round = 7
	apply(t, m, setOf("a", bindings))
	var many []uint32
	for i := range uint32(500) {
		many = append(many, 1000000+i)
	}
	// Only the lan's link is there; it is the last, and the first.
	index, err := indexes([]string{"lan0"})
	if err != nil || len(index) != 1 {
		t.Fatalf("the link of the lan: %v, %v", index, err)
	}
	blocking := func(links []uint32) {
		t.Helper()
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, s := range sockets(m) {
			if err := m.adopt(s, s.target, s.limit, links); err != nil {
				t.Errorf("%s: %v", s.host, err)
			}
		}
	}
	reach := func(when string, from *nettest.Host, want bool, addresses ...string) {
		t.Helper()
		for _, address := range addresses {
			wait := patience
			if !want {
				wait = 100 * time.Millisecond
			}
			if _, err := from.Ask("tcp", address, wait); (err == nil) != want {
				t.Errorf("%s: from %s to %s: %v", when, from.Name, address, err)
			}
		}
	}
	own, outside := []string{"127.0.0.1:8080", "[::1]:8080"}, []string{"192.0.2.1:8080", "[fd00:5::1]:8080"}
	blocking(many)
	reach("early", host, true, own...)
	reach("early", lan, false, outside...)
	m.mu.Lock()
	for _, s := range sockets(m) { // as when the other family's was adopted in a later round
		if s.host.Addr().Is4() {
			s.early = 8
		}
	}
	m.mu.Unlock()
	m.Looked(7)
	reach("half early", host, true, own...)
	reach("half early", lan, false, outside[0])
	reach("half early", lan, true, outside[1])
	m.Looked(8)
	reach("then", host, true, own...)
	reach("then", lan, true, outside...)
	for when, links := range map[string][]uint32{"first": slices.Concat(index, many), "last": slices.Concat(many, index), "in between": slices.Concat(many[:256], index, many[256:])} {
		blocking(links)
		reach("blocked "+when, lan, false, outside...)
		reach("blocked "+when, host, true, own...)
	}
	blocking(many)
	reach("blocked no longer", lan, true, outside...)
}
