package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// TestIPAMv6 uses mybr's IPAM driver for networks of both families.
func TestIPAMv6(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr's IPAM driver")
	}
	t.Parallel()
	for _, driver := range []string{"bridge"} {
		for _, test := range []struct {
			name string
			test func(*testing.T, *world.World, string)
			cfg  world.Config
		}{
			{name: "default_subnets", test: ipamV6Defaults},
			{name: "address_pool_flag", test: ipamV6PoolFlag, cfg: world.Config{MybrArgs: []string{"--address-pool", "base=fd12:3456::/61,size=64"}}},
			{name: "parameters", test: ipamV6Parameters},
			{name: "replay", test: ipamV6Replay},
			{name: "refusals", test: ipamV6Refusals},
		} {
			t.Run(test.name+"/"+driver, func(t *testing.T) {
				t.Parallel()
				test.test(t, world.New(t, test.cfg), driver)
			})
		}
	}
}

// pooled6 creates a network of both families whose addresses are mybr's.
func pooled6(w *world.World, driver, name string, args ...string) {
	pooled(w, driver, name, append([]string{"--ipv6"}, args...)...)
}

// subnet6 is what Docker shows as a network's IPv6 subnet.
func subnet6(t *testing.T, w *world.World, network string) netip.Prefix {
	t.Helper()
	for _, s := range strings.Fields(w.Docker("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", network)) {
		if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is6() {
			return p
		}
	}
	t.Errorf("%s has no IPv6 subnet", network)
	return netip.Prefix{}
}

// has6 checks a container's IPv6 address, as Docker shows it and as its link has it.
func has6(t *testing.T, w *world.World, container, network, want string) {
	t.Helper()
	p := netip.MustParsePrefix(want)
	shown := w.Docker("inspect", "-f", fmt.Sprintf("{{with index .NetworkSettings.Networks %q}}{{.GlobalIPv6Address}}/{{.GlobalIPv6PrefixLen}}{{end}}", network), container)
	if shown != p.String() {
		t.Errorf("%s has %s in %s, want %s", container, shown, network, p)
	}
	for _, a := range mustLink(t, w.Container(container), "eth0").Addrs {
		if a == p {
			return
		}
	}
	t.Errorf("%s: eth0 has %v, want %s too", container, mustLink(t, w.Container(container), "eth0").Addrs, p)
}

// ipamV6Defaults looks at the /48 that subnets are chosen from by default,
// and that it is the same one after a restart.
func ipamV6Defaults(t *testing.T, w *world.World, driver string) {
	pooled6(w, driver, "n0")
	first := subnet6(t, w, "n0")
	if !netip.MustParsePrefix("fd00::/8").Contains(first.Addr()) || first.Bits() != 64 {
		t.Fatalf("n0 has %s, want a /64 of fd00::/8", first)
	}
	w.KillMybr()
	w.StartMybr()
	w.Host.Run("ip", "-6", "route", "add", "unreachable", "fc00::/7")
	for i := byte(1); i <= 3; i++ {
		a := first.Addr().As16()
		a[7] = i
		want := netip.PrefixFrom(netip.AddrFrom16(a), 64)
		if i == 2 {
			w.Host.Run("ip", "-6", "route", "add", want.String(), "dev", "eth0")
			continue
		}
		name := fmt.Sprint("n", i)
		pooled6(w, driver, name)
		if have := subnet6(t, w, name); have != want {
			t.Errorf("%s has %s, want %s", name, have, want)
		}
	}
	w.Idle("web", "--net", "n0")
	has6(t, w, "web", "n0", first.Addr().Next().Next().String()+"/64")
	answered(t, "the gateway", w.Container("web").Ping(first.Addr().Next().String()))
}

func ipamV6PoolFlag(t *testing.T, w *world.World, driver string) {
	w.Host.Run("ip", "link", "add", "spare", "type", "bridge")
	w.Host.Run("ip", "link", "set", "spare", "up")
	w.Host.Run("ip", "addr", "add", "fd12:3456:0:1::5/64", "dev", "spare", "nodad")
	w.Host.Run("ip", "-6", "route", "add", "fd12:3456:0:3::/66", "dev", "eth0", "table", "100")
	for i, want := range []string{"fd12:3456::/64", "fd12:3456:0:2::/64", "fd12:3456:0:4::/64", "fd12:3456:0:5::/64", "fd12:3456:0:6::/64", "fd12:3456:0:7::/64"} {
		name := fmt.Sprint("n", i)
		pooled6(w, driver, name)
		if have := subnet6(t, w, name); have.String() != want {
			t.Errorf("%s has %s, want %s", name, have, want)
		}
	}
	if have := subnet(w, "n0"); !strings.Contains(have, "172.18.0.0/16") {
		t.Errorf("n0 has %s, want Docker's default for IPv4", have)
	}
	denied(t, w, "RequestPool: request pool: every default IPv6 subnet is in use by another network or by a route of the host: give a subnet (--subnet), or mybr more of them (--address-pool)",
		"network", "create", "-d", driver, "--ipam-driver", "mybr", "--ipv6", "more")
}

func ipamV6Parameters(t *testing.T, w *world.World, driver string) {
	const pool = "fd00:77::/64/fd00:77::40/125"
	pooled6(w, driver, "n0", "--subnet", "10.77.0.0/24", "--subnet", "fd00:77::/64", "--gateway", "fd00:77::fe", "--ip-range", "fd00:77::40/125",
		"--aux-address", "router=fd00:77::41", "--aux-address", "printer=fd00:77::9")
	leased(t, w, "empty", pool, "fd00:77::9", "fd00:77::41", "fd00:77::fe")
	for i, want := range []string{"fd00:77::40/64", "fd00:77::42/64", "fd00:77::43/64"} {
		name := fmt.Sprint("c", i)
		w.Idle(name, "--net", "n0")
		has6(t, w, name, "n0", want)
	}
	w.Idle("fixed", "--net", "n0", "--ip6", "fd00:77::ffff:ffff:ffff:ffff", "--mac-address", "02:42:00:00:00:07") // the last one
	has6(t, w, "fixed", "n0", "fd00:77::ffff:ffff:ffff:ffff/64")
	answered(t, "neighbour", w.Container("fixed").Ping("fd00:77::42"))
	answered(t, "gateway", w.Container("fixed").Ping("fd00:77::fe"))
	for ip, why := range map[string]string{
		"fd00:77::":                    "the address of any router (subnet-router anycast) of pool mybr-local/" + pool,
		"fd00:77::41":                  "Address already in use in pool mybr-local/" + pool + " as an auxiliary address",
		"fd00:77::fe":                  "Address already in use in pool mybr-local/" + pool + " as its gateway",
		"fd00:77::ffff:ffff:ffff:ffff": "Address already in use in pool mybr-local/" + pool + " by the endpoint with MAC address 02:42:00:00:00:07",
	} {
		denied(t, w, "RequestAddress: request address "+ip+": "+why, "run", "-d", "--name", "victim", "--net", "n0", "--ip6", ip, world.Image, "sleep")
		w.Docker("rm", "-f", "victim")
	}
	w.Docker("rm", "-f", "c0", "c1", "c2", "fixed")
	leased(t, w, "no container", pool, "fd00:77::9", "fd00:77::41", "fd00:77::fe")
	w.Docker("network", "rm", "n0")
	if left := leases(t, w); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// ipamV6Replay kills Docker under a network of both families, which then repeats what
// it has on record.
func ipamV6Replay(t *testing.T, w *world.World, driver string) {
	pooled6(w, driver, "n0", "--subnet", "10.77.0.0/24", "--subnet", "fd00:77::/64")
	pooled6(w, driver, "auto")
	auto := subnet6(t, w, "auto")
	w.Idle("fixed", "--restart", "always", "--net", "n0", "--ip6", "fd00:77::9")
	w.Idle("web", "--restart", "always", "--net", "auto")
	w.KillDocker()
	w.StartDocker()
	for _, name := range []string{"fixed", "web"} {
		w.Eventually(30*time.Second, func() error {
			if got := w.Docker("inspect", "-f", "{{.State.Running}}", name); got != "true" {
				return fmt.Errorf("%s is not running: %s", name, w.Docker("inspect", "-f", "{{json .State}}", name))
			}
			return nil
		})
	}
	if have := subnet6(t, w, "auto"); have != auto {
		t.Errorf("auto has %s, had %s", have, auto)
	}
	has6(t, w, "fixed", "n0", "fd00:77::9/64")
	leased(t, w, "restarted", "fd00:77::/64", "fd00:77::1", "fd00:77::9")
	if have := leases(t, w)["mybr-local/"+auto.String()]; len(have) != 2 {
		t.Errorf("leases of %s are %v, want a gateway's and a container's", auto, have)
	}
	denied(t, w, "RequestPool: request pool fd00:77::/48: invalid pool request: Pool overlaps with other one on this address space: fd00:77::/64, which another network has in address space mybr-local",
		"network", "create", "-d", driver, "--ipam-driver", "mybr", "--ipv6", "--subnet", "10.78.0.0/24", "--subnet", "fd00:77::/48", "second")
	w.Docker("rm", "-f", "fixed", "web")
	w.Docker("network", "rm", "n0", "auto")
	if left := leases(t, w); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func ipamV6Refusals(t *testing.T, w *world.World, driver string) {
	for subnet, why := range map[string]string{
		"fe80::/65": " clashes with the Link-Local prefix 'fe80::/64': want exactly that or nothing of it",
		"ff05::/64": " overlaps ff00::/8 (multicast), which no host can have addresses of",
		"::1/128":   " overlaps ::1/128 (loopback), which no host can have addresses of",
	} {
		denied(t, w, "RequestPool: request pool "+subnet+": subnet "+subnet+why,
			"network", "create", "-d", driver, "--ipam-driver", "mybr", "--ipv6", "--subnet", "10.77.0.0/24", "--subnet", subnet, "n0")
		if left := leases(t, w); len(left) > 0 {
			t.Errorf("%s: left: %v", subnet, left)
		}
	}
}
