package integration

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// TestIPAM uses mybr's IPAM driver as a user of Docker does.
func TestIPAM(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr's IPAM driver")
	}
	t.Parallel()
	for _, test := range []struct {
		name string
		test func(*testing.T, *world.World)
		cfg  world.Config
	}{
		{name: "default_subnets", test: ipamDefaults},
		{name: "address_pool_flag", test: ipamPoolFlag, cfg: world.Config{
			MybrArgs: []string{"--address-pool", "base=10.50.0.0/23,size=24", "--address-pool", "base=10.60.0.0/24,size=26"}}},
		{name: "parameters/mybr", test: func(t *testing.T, w *world.World) { ipamParameters(t, w, "mybr") }},
		{name: "parameters/bridge", test: func(t *testing.T, w *world.World) { ipamParameters(t, w, "bridge") }},
		{name: "in_turn", test: ipamInTurn},
		{name: "wishes", test: ipamWishes},
		{name: "exhausted", test: ipamExhausted},
		{name: "overlap", test: ipamOverlap},
		{name: "many_at_once", test: ipamMany},
		{name: "two_networks", test: ipamTwoNetworks},
		{name: "mac_address", test: ipamMAC},
		{name: "same_mac_address", test: ipamSameMAC},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.test(t, world.New(t, test.cfg))
		})
	}
}

// pooled creates a network whose addresses are mybr's.
func pooled(w *world.World, driver, name string, args ...string) {
	w.Docker(append(append([]string{"network", "create", "-d", driver, "--ipam-driver", "mybr"}, args...), name)...)
}

// subnet is what Docker shows as a network's.
func subnet(w *world.World, network string) string {
	return w.Docker("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}}{{end}}", network)
}

// denied runs a docker command that must fail and compares what mybr's IPAM driver said,
// whatever the engine puts around it.
func denied(t *testing.T, w *world.World, want string, args ...string) {
	t.Helper()
	r := w.DockerTry(args...)
	_, have, _ := strings.Cut(r.Err, "IpamDriver.")
	have, _, _ = strings.Cut(have, "\n")
	if have = strings.TrimSuffix(strings.TrimSpace(have), "."); r.Code == 0 || have != want {
		t.Errorf("docker %s: exit code %d, %s\nhave %q\nwant %q", strings.Join(args, " "), r.Code, r.Err, have, want)
	}
}

// leases is what the records have of each pool: the addresses in use.
func leases(t *testing.T, w *world.World) map[string][]string {
	t.Helper()
	s := records(t, w)
	defer s.Close()
	found := map[string][]string{}
	err := s.View(func(tx *store.Tx) error {
		for _, p := range tx.Pools() {
			found[p.ID] = []string{}
			for l := range tx.Leases(p.ID, netip.Addr{}) {
				if l.Kind != model.LeaseResting {
					found[p.ID] = append(found[p.ID], l.Addr.String())
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// leased checks all the leases of a pool; with no addresses, that it is not held.
func leased(t *testing.T, w *world.World, when, pool string, want ...string) {
	t.Helper()
	if have := leases(t, w)["mybr-local/"+pool]; !slices.Equal(have, want) {
		t.Errorf("%s: leases of %s: have %v, want %v", when, pool, have, want)
	}
}

// has checks the address of a container's link.
func has(t *testing.T, w *world.World, container, network, want string) {
	t.Helper()
	if have := w.Addr(container, network); have != want {
		t.Errorf("%s has %s in %s, want %s", container, have, network, want)
	}
}

// ipamDefaults gives the host routes and addresses of all kinds, and looks for the
// subnets that are left.
func ipamDefaults(t *testing.T, w *world.World) {
	for _, args := range [][]string{
		{"route", "add", "172.18.77.0/24", "via", world.LANAddr},
		{"route", "add", "172.19.0.0/16", "via", world.LANAddr, "table", "100"}, // policy routing
		{"route", "add", "172.20.1.0/24", "via", world.LANAddr, "metric", "5000"},
		{"addr", "add", "172.21.3.4/32", "dev", "lo"},
		{"link", "add", "spare", "type", "bridge"},
		{"addr", "add", "172.22.0.1/16", "dev", "spare"}, // and it is down
		{"route", "add", "172.23.9.9/32", "dev", "eth0"},
	} {
		w.Host.Run(append([]string{"ip"}, args...)...)
	}
	w.Docker("network", "create", "--subnet", "172.24.5.0/24", "dockers")
	for i, want := range []string{"172.25.0.0/16", "172.26.0.0/16", "172.27.0.0/16"} {
		name, driver := fmt.Sprint("n", i), []string{"mybr", "bridge", "mybr"}[i]
		pooled(w, driver, name)
		if have := subnet(w, name); have != want {
			t.Errorf("%s has %q, want %q", name, have, want)
		}
	}
	w.Docker("network", "rm", "n1")
	w.Idle("web", "--net", "n0")
	has(t, w, "web", "n0", "172.25.0.2")
	answered(t, "host to its container", w.Host.Ping("172.25.0.2"))
	pooled(w, "bridge", "again")
	if have := subnet(w, "again"); have != "172.26.0.0/16" {
		t.Errorf("have %q, want 172.26.0.0/16, which is free again", have)
	}
}

func ipamPoolFlag(t *testing.T, w *world.World) {
	for i, want := range []string{"10.50.0.0/24", "10.50.1.0/24", "10.60.0.0/26", "10.60.0.64/26", "10.60.0.128/26", "10.60.0.192/26"} {
		name := fmt.Sprint("n", i)
		pooled(w, "mybr", name)
		if have := subnet(w, name); have != want {
			t.Errorf("%s has %q, want %q", name, have, want)
		}
	}
	denied(t, w, "RequestPool: request pool: every default IPv4 subnet is in use by another network or by a route of the host: give a subnet (--subnet), or mybr more of them (--address-pool)",
		"network", "create", "-d", "mybr", "--ipam-driver", "mybr", "more")
}

func ipamParameters(t *testing.T, w *world.World, driver string) {
	const pool = "10.77.0.0/24/10.77.0.64/29"
	pooled(w, driver, "n0", "--subnet", "10.77.0.0/24", "--gateway", "10.77.0.254", "--ip-range", "10.77.0.64/29",
		"--aux-address", "router=10.77.0.65", "--aux-address", "printer=10.77.0.9")
	leased(t, w, "empty", pool, "10.77.0.9", "10.77.0.65", "10.77.0.254")
	for i, want := range []string{"10.77.0.64", "10.77.0.66", "10.77.0.67"} {
		name := fmt.Sprint("c", i)
		w.Idle(name, "--net", "n0")
		has(t, w, name, "n0", want)
	}
	c := w.Idle("fixed", "--net", "n0", "--ip", "10.77.0.200") // outside the range
	if have := ipv4Prefix(t, c, "eth0"); have.String() != "10.77.0.200/24" {
		t.Errorf("fixed has %s, want 10.77.0.200/24", have)
	}
	answered(t, "neighbour", c.Ping("10.77.0.66"))
	answered(t, "gateway", c.Ping("10.77.0.254"))
	answered(t, "LAN", c.Ping(world.LANAddr))
	leased(t, w, "four containers", pool, "10.77.0.9", "10.77.0.64", "10.77.0.65", "10.77.0.66", "10.77.0.67", "10.77.0.200", "10.77.0.254")
	w.Docker("rm", "-f", "c0", "c1", "c2", "fixed")
	leased(t, w, "no container", pool, "10.77.0.9", "10.77.0.65", "10.77.0.254")
	w.Docker("network", "rm", "n0")
	if left := leases(t, w); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func ipamInTurn(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/28")
	w.Idle("stays", "--net", "n0")
	has(t, w, "stays", "n0", "10.77.0.2")
	for last := range 14 { // once round: 3 to 14, then 3 and 4 again
		want := fmt.Sprint("10.77.0.", 3+last%12)
		w.Idle("goes", "--net", "n0")
		has(t, w, "goes", "n0", want)
		w.Docker("rm", "-f", "goes")
		leased(t, w, "after "+want, "10.77.0.0/28", "10.77.0.1", "10.77.0.2")
	}
}

func ipamWishes(t *testing.T, w *world.World) {
	const pool = "mybr-local/10.77.0.0/24"
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/24", "--aux-address", "router=10.77.0.9")
	w.Idle("web", "--net", "n0", "--ip", "10.77.0.7", "--mac-address", "02:42:00:00:00:07")
	w.Idle("ben")
	before := leases(t, w)
	for ip, why := range map[string]string{
		"10.77.0.7":   "Address already in use in pool " + pool + " by the endpoint with MAC address 02:42:00:00:00:07",
		"10.77.0.9":   "Address already in use in pool " + pool + " as an auxiliary address",
		"10.77.0.1":   "Address already in use in pool " + pool + " as its gateway",
		"10.77.0.0":   "the network address of pool " + pool,
		"10.77.0.255": "the broadcast address of pool " + pool,
	} {
		want := "RequestAddress: request address " + ip + ": " + why
		denied(t, w, want, "run", "-d", "--name", "victim", "--net", "n0", "--ip", ip, world.Image, "sleep")
		w.Docker("rm", "-f", "victim")
		denied(t, w, want, "network", "connect", "--ip", ip, "n0", "ben")
	}
	// Docker itself knows that it is in none of the network's subnets.
	if r := w.DockerTry("run", "--rm", "--net", "n0", "--ip", "10.78.0.1", world.Image, "sleep"); r.Code == 0 {
		t.Errorf("10.78.0.1 was accepted")
	}
	if after := leases(t, w); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("leases are %v, were %v", after, before)
	}
	w.Docker("network", "connect", "--ip", "10.77.0.42", "n0", "ben")
	has(t, w, "ben", "n0", "10.77.0.42")
	answered(t, "web pings ben", w.Container("web").Ping("10.77.0.42"))
	w.Docker("network", "disconnect", "n0", "ben")
	w.Docker("network", "connect", "--ip", "10.77.0.42", "n0", "ben")
	w.Docker("network", "disconnect", "-f", "n0", "ben")
	if after := leases(t, w); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("leases are %v, were %v", after, before)
	}
}

func ipamExhausted(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/29")
	for last := 2; last <= 6; last++ {
		name := fmt.Sprint("c", last)
		w.Idle(name, "--net", "n0")
		has(t, w, name, "n0", fmt.Sprint("10.77.0.", last))
	}
	for range 2 {
		denied(t, w, "RequestAddress: request address: pool mybr-local/10.77.0.0/29 is exhausted: all 6 addresses of 10.77.0.0/29 are in use",
			"run", "-d", "--name", "victim", "--net", "n0", world.Image, "sleep")
		w.Docker("rm", "-f", "victim")
	}
	w.Docker("rm", "-f", "c4")
	w.Idle("next", "--net", "n0")
	has(t, w, "next", "n0", "10.77.0.4")
}

func ipamOverlap(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/16")
	w.Idle("web", "--net", "n0")
	before := leases(t, w)
	for _, subnet := range []string{"10.77.0.0/16", "10.77.9.0/24", "10.0.0.0/8", "10.77.0.1/32"} {
		network, err := netip.ParsePrefix(subnet)
		if err != nil {
			t.Fatal(err)
		}
		for _, driver := range []string{"mybr", "bridge"} {
			denied(t, w, fmt.Sprintf("RequestPool: request pool %s: invalid pool request: Pool overlaps with other one on this address space: 10.77.0.0/16, which another network has in address space mybr-local", network),
				"network", "create", "-d", driver, "--ipam-driver", "mybr", "--subnet", subnet, "n1")
		}
	}
	if after := leases(t, w); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("leases are %v, were %v", after, before)
	}
	w.Idle("ben", "--net", "n0")
	has(t, w, "ben", "n0", "10.77.0.3")
}

func ipamMany(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/24")
	const many = 20
	var calls []func()
	for i := range many {
		calls = append(calls, func() {
			if r := w.DockerTry("run", "-d", "--name", fmt.Sprint("c", i), "--net", "n0", world.Image, "sleep"); r.Code != 0 {
				t.Errorf("container %d: %s", i, r.Err)
			}
		})
	}
	together(calls...)
	seen := map[string]bool{}
	for i := range many {
		seen[ipv4(t, w.Container(fmt.Sprint("c", i)), "eth0")] = true
	}
	if n := len(leases(t, w)["mybr-local/10.77.0.0/24"]); len(seen) != many || n != many+1 {
		t.Errorf("%d containers have %d addresses, and there are %d leases", many, len(seen), n)
	}
}

func ipamTwoNetworks(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/24")
	pooled(w, "mybr", "n1", "--subnet", "10.78.0.0/24")
	w.Docker("create", "--name", "both", "--net", "n0", "--mac-address", "02:42:00:00:00:07", world.Image, "sleep")
	w.Docker("network", "connect", "--ip", "10.78.0.9", "n1", "both")
	for range 2 {
		w.Docker("start", "both")
		both, web, ben := w.Container("both"), w.Idle("web", "--net", "n0"), w.Idle("ben", "--net", "n1")
		has(t, w, "both", "n1", "10.78.0.9")
		answered(t, "web pings both", web.Ping(w.Addr("both", "n0")))
		answered(t, "ben pings both", ben.Ping("10.78.0.9"))
		answered(t, "both pings the LAN", both.Ping(world.LANAddr))
		w.Docker("stop", "-t", "0", "both")
		w.Docker("rm", "-f", "web", "ben")
		leased(t, w, "stopped", "10.77.0.0/24", "10.77.0.1")
		leased(t, w, "stopped", "10.78.0.0/24", "10.78.0.1")
	}
}

func ipamMAC(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/24")
	given := w.Idle("given", "--net", "n0", "--mac-address", "02:42:00:00:00:07")
	random := w.Idle("random", "--net", "n0")
	pingBoth(t, given, random)
	for name, p := range map[string]*world.Place{"given": given, "random": random} {
		shown := w.Docker("inspect", "-f", "{{.NetworkSettings.Networks.n0.MacAddress}}", name)
		if have := fmt.Sprint(mustLink(t, p, "eth0").MAC); have != shown || (name == "given") != (have == "02:42:00:00:00:07") {
			t.Errorf("%s: eth0 has MAC %s, Docker shows %q", name, have, shown)
		}
	}
	has(t, w, "given", "n0", "10.77.0.2")
	w.Docker("restart", "-t", "0", "given")
	has(t, w, "given", "n0", "10.77.0.4")
}

// ipamSameMAC runs two containers with one MAC. They are no good neighbours, but each
// has an address of its own, and the first keeps its when the second goes.
func ipamSameMAC(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/24")
	mac := []string{"--net", "n0", "--mac-address", "02:42:00:00:00:07"}
	w.Idle("one", mac...)
	w.Idle("two", mac...)
	has(t, w, "one", "n0", "10.77.0.2")
	has(t, w, "two", "n0", "10.77.0.3")
	denied(t, w, "RequestAddress: request address 10.77.0.2: Address already in use in pool mybr-local/10.77.0.0/24 by the endpoint with MAC address 02:42:00:00:00:07",
		append(append([]string{"run", "-d", "--name", "three"}, mac...), "--ip", "10.77.0.2", world.Image, "sleep")...)
	w.Docker("rm", "-f", "two", "three")
	leased(t, w, "only the first is there", "10.77.0.0/24", "10.77.0.1", "10.77.0.2")
	w.Idle("last", "--net", "n0")
	answered(t, "the last pings the first", w.Container("last").Ping("10.77.0.2"))
}
