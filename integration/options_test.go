package integration

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestOptions observes what each option of a network does, with packets.
func TestOptions(t *testing.T) {
	t.Parallel()
	nft := world.Config{Firewall: world.InShort(world.NFTables)}
	for _, test := range []struct {
		name    string
		observe func(*testing.T, *world.World)
		driver  string // "": any
		cfg     world.Config
	}{
		{name: "enable_icc=false", observe: optionICC, cfg: nft},
		{name: "internal", observe: optionInternal},
		{name: "mtu_and_prefix", observe: optionLinks},
		{name: "host_ipv4", observe: optionSNAT, driver: "mybr", cfg: nft}, // Docker's driver has it from 23.0 on
		{name: "host_binding_ipv4", observe: optionHostBinding},
		{name: "inhibit_ipv4", observe: optionInhibit},
		{name: "DefaultGatewayIPv4", observe: optionAuxGateway},
		{name: "routes", observe: optionRoutes, driver: "mybr"},
		{name: "existing_bridge", observe: optionExistingBridge},
		{name: "endpoint", observe: optionEndpoint},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.driver != "" && test.driver != world.Driver() {
				t.Skipf("is about the %s driver", test.driver)
			}
			t.Parallel()
			test.cfg.LANs = []string{"192.0.2.10"}
			test.observe(t, world.New(t, test.cfg))
		})
	}
}

// option is the arguments that set one of Docker's options of a network.
func option(key, value string) []string {
	return []string{"-o", "com.docker.network." + key + "=" + value}
}

func optionICC(t *testing.T, w *world.World) {
	w.Network("n0", append(option("bridge.enable_icc", "false"), "--subnet", "172.18.0.0/16", "-o", bridgeName+"mybr0")...)
	web := w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80", "tcp:81")
	ben := w.Idle("ben", "--net", "n0")
	w.LAN.Start("guest", "serve", "tcp:7000")
	eachBridgeNF(t, w, func(t *testing.T) {
		if w.Driver == "mybr" { // Docker's driver needs bridge-nf-call-iptables for it
			unanswered(t, "ben pings web", ben.Ping("172.18.0.2", soon))
			unanswered(t, "web pings ben", web.Ping("172.18.0.3", soon))
			unanswered(t, "ben to web's published port", ben.Get("tcp", "172.18.0.2:80", soon))
			unanswered(t, "ben to web's other port", ben.Get("tcp", "172.18.0.2:81", soon))
		}
		answered(t, "ben to web by the host's address", ben.Get("tcp", world.HostAddr+":8088"))
		answered(t, "web to itself by the host's address", web.Get("tcp", world.HostAddr+":8088"))
		if w.Driver == "mybr" {
			answered(t, "udp: ben to web by the host's address", ben.Get("udp", world.HostAddr+":8088"))
		}
		answered(t, "host pings web", w.Host.Ping("172.18.0.2"))
		answered(t, "ben pings the gateway", ben.Ping("172.18.0.1"))
		seenAs(t, "ben to the LAN", ben.Get("tcp", world.LANAddr+":7000"), world.HostAddr)
		seenAs(t, "from the LAN", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	})

	// Nor by way of the gateway, past the bridge's own switching.
	if w.Driver == "mybr" {
		ben.Run("ip", "route", "add", "172.18.0.2/32", "via", "172.18.0.1")
		unanswered(t, "ben to web by way of the gateway", ben.Get("tcp", "172.18.0.2:81", soon))
	}
}

func optionInternal(t *testing.T, w *world.World) {
	w.Network("n0", "--internal", "--subnet", "172.18.0.0/16", "-o", bridgeName+"mybr0")
	w.Network("n1", "--subnet", "172.19.0.0/16")
	db, ben := w.Serve("db", []string{"--net", "n0"}, "tcp:80", "udp:80"), w.Idle("ben", "--net", "n0")
	other := w.Serve("other", []string{"--net", "n1", "-p", "8088:80"}, "tcp:80")
	w.LAN.Start("guest", "serve", "tcp:7000", "udp:7000")
	pingBoth(t, db, ben)
	answered(t, "ben to db", ben.Get("tcp", "172.18.0.2:80"))
	answered(t, "host to db", w.Host.Get("tcp", "172.18.0.2:80"))
	answered(t, "db pings the bridge", db.Ping("172.18.0.1"))
	if w.Driver == "mybr" && slices.ContainsFunc(db.Routes(), func(r report.Route) bool { return r.Dst == netip.MustParsePrefix("0.0.0.0/0") }) {
		t.Errorf("an internal network has a default route: %v", db.Routes())
	}

	// A container that may add a default route still gets no packet out.
	db.Run("ip", "route", "replace", "default", "via", "172.18.0.1")
	routeTo(t, w.LAN, "172.18.0.0/16")
	for _, network := range []string{"tcp", "udp"} {
		unanswered(t, network+" from db to the LAN", db.Get(network, world.LANAddr+":7000", soon))
		unanswered(t, network+" from the LAN to db", w.LAN.Get(network, "172.18.0.2:80", soon))
		unanswered(t, network+" from another network to db", other.Get(network, "172.18.0.2:80", soon))
	}
	unanswered(t, "db pings the LAN", db.Ping(world.LANAddr, soon))
	unanswered(t, "db to another network", db.Get("tcp", "172.19.0.2:80", soon))
	if w.Driver == "mybr" { // docker-proxy on 20.10 lets it through
		unanswered(t, "db to another network's published port by its bridge's address", db.Get("tcp", "172.18.0.1:8088", soon))
	}
}

func optionLinks(t *testing.T, w *world.World) {
	w.Network("n0", slices.Concat(option("driver.mtu", "1400"), option("container_iface_prefix", "lan"), []string{"--subnet", "172.18.0.0/16", "-o", bridgeName + "mybr0"})...)
	a := w.Idle("anna", "--net", "n0")
	if l := mustLink(t, a, "lan0"); l.MTU != 1400 || !l.Up {
		t.Errorf("lan0 inside: %+v, want MTU 1400, up", l)
	}
	if l := hostEnd(t, w, a, "lan0"); l.MTU != 1400 {
		t.Errorf("the host's end has MTU %d, want 1400", l.MTU)
	}
	if w.Driver == "mybr" { // Docker's driver leaves the bridge at 1500 while it has no port
		if l := mustLink(t, w.Host, "mybr0"); l.MTU != 1400 {
			t.Errorf("mybr0 has MTU %d, want 1400", l.MTU)
		}
	}
}

func optionSNAT(t *testing.T, w *world.World) {
	second(t, w)
	w.Network("n0", append(option("host_ipv4", "192.0.2.3"), "--subnet", "172.18.0.0/16")...)
	web := w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	ben := w.Idle("ben", "--net", "n0")
	w.LAN.Start("guest", "serve", "tcp:7000")
	seenAs(t, "to the LAN", web.Get("tcp", world.LANAddr+":7000"), "192.0.2.3")
	seenAs(t, "from the LAN", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	seenAs(t, "from the neighbour by the host's address", ben.Get("tcp", world.HostAddr+":8088"), "192.0.2.3")
	answered(t, "from itself by the host's address", web.Get("tcp", world.HostAddr+":8088"))
}

func optionHostBinding(t *testing.T, w *world.World) {
	second(t, w)
	w.Network("n0", append(option("bridge.host_binding_ipv4", "192.0.2.3"), "--subnet", "172.18.0.0/16")...)
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "0.0.0.0:8089:80"}, "tcp:80")
	seenAs(t, "at the default address", w.LAN.Get("tcp", "192.0.2.3:8088"), world.LANAddr)
	unanswered(t, "at the other address", w.LAN.Get("tcp", world.HostAddr+":8088", soon))
	unanswered(t, "at 127.0.0.1", w.Host.Get("tcp", "127.0.0.1:8088", soon))
	seenAs(t, "published everywhere", w.LAN.Get("tcp", world.HostAddr+":8089"), world.LANAddr)
}

// optionInhibit: the bridge has no address; another host on it is the gateway.
func optionInhibit(t *testing.T, w *world.World) {
	w.Network("n0", append(option("bridge.inhibit_ipv4", "true"), "--subnet", "172.18.0.0/16", "--gateway", "172.18.0.1", "-o", bridgeName+"mybr0")...)
	a, b := w.Idle("anna", "--net", "n0"), w.Idle("ben", "--net", "n0")
	for _, addr := range mustLink(t, w.Host, "mybr0").Addrs {
		if addr.Addr().Is4() {
			t.Errorf("mybr0 has %v, want no IPv4 address", addr)
		}
	}
	pingBoth(t, a, b)
	if want := (report.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("172.18.0.1"), Dev: "eth0"}); !hasRoute(a, want) {
		t.Errorf("routes %v, want %v", a.Routes(), want)
	}
}

func optionAuxGateway(t *testing.T, w *world.World) {
	w.Network("n0", "--subnet", "172.18.0.0/16", "--aux-address", "DefaultGatewayIPv4=172.18.0.9", "-o", bridgeName+"mybr0")
	a := w.Idle("anna", "--net", "n0")
	if got := ipv4Prefix(t, w.Host, "mybr0").String(); got != "172.18.0.1/16" {
		t.Errorf("mybr0 has %s, want 172.18.0.1/16", got)
	}
	if want := (report.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("172.18.0.9"), Dev: "eth0"}); !hasRoute(a, want) {
		t.Errorf("routes %v, want %v", a.Routes(), want)
	}
}

func optionRoutes(t *testing.T, w *world.World) {
	w.Network("n0", "--subnet", "172.18.0.0/16", "-o", "mybr.routes=10.9.0.0/16 via 172.18.0.7,198.51.100.0/24")
	a := w.Idle("anna", "--net", "n0")
	for _, want := range []report.Route{
		{Dst: netip.MustParsePrefix("10.9.0.0/16"), Via: netip.MustParseAddr("172.18.0.7"), Dev: "eth0"},
		{Dst: netip.MustParsePrefix("198.51.100.0/24"), Dev: "eth0"},
	} {
		if !hasRoute(a, want) {
			t.Errorf("routes %v, want %v", a.Routes(), want)
		}
	}
}

// optionExistingBridge: a bridge that is there is used, keeps what it has, and stays.
func optionExistingBridge(t *testing.T, w *world.World) {
	w.Host.Run("ip", "link", "add", "lan0", "address", "02:00:00:00:00:77", "type", "bridge")
	w.Host.Run("ip", "link", "set", "lan0", "up")
	w.Host.Run("ip", "addr", "add", "172.18.0.1/16", "dev", "lan0")
	w.Network("n0", "--subnet", "172.18.0.0/16", "-o", bridgeName+"lan0")
	a, b := w.Idle("anna", "--net", "n0"), w.Idle("ben", "--net", "n0")
	pingBoth(t, a, b)
	answered(t, "anna pings the bridge", a.Ping("172.18.0.1"))
	w.Docker("rm", "-f", "anna", "ben")
	w.Docker("network", "rm", "n0")
	l := mustLink(t, w.Host, "lan0")
	if l.MAC != "02:00:00:00:00:77" || !l.Up || !slices.Contains(l.Addrs, netip.MustParsePrefix("172.18.0.1/16")) {
		t.Errorf("afterwards lan0 is %+v", l)
	}
	for _, rule := range rules(w) {
		if strings.Contains(rule, "lan0") {
			t.Errorf("left is the rule %s", rule)
		}
	}

	if w.Driver == "mybr" { // Docker's driver replaces the address, and leaves its own behind
		w.Network("n1", "--subnet", "172.19.0.0/16", "-o", bridgeName+"lan0")
		want := []netip.Prefix{netip.MustParsePrefix("172.18.0.1/16"), netip.MustParsePrefix("172.19.0.1/16")}
		if got := v4(mustLink(t, w.Host, "lan0")); !slices.Equal(got, want) {
			t.Errorf("lan0 has %v, want %v", got, want)
		}
		w.Docker("network", "rm", "n1")
		if got := v4(mustLink(t, w.Host, "lan0")); !slices.Equal(got, want[:1]) {
			t.Errorf("afterwards lan0 has %v, want %v", got, want[:1])
		}
	}
}

func v4(l report.Link) (out []netip.Prefix) {
	for _, a := range l.Addrs {
		if a.Addr().Is4() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return out
}

// optionEndpoint: what is asked of a single container.
func optionEndpoint(t *testing.T, w *world.World) {
	w.Network("n0", "--subnet", "172.18.0.0/16")
	a := w.Idle("anna", "--net", "n0", "--ip", "172.18.3.4", "--mac-address", "02:42:aa:bb:cc:dd")
	l := mustLink(t, a, "eth0")
	if ipv4(t, a, "eth0") != "172.18.3.4" || l.MAC != "02:42:aa:bb:cc:dd" {
		t.Errorf("eth0 is %+v, want 172.18.3.4 at 02:42:aa:bb:cc:dd", l)
	}
	b := w.Idle("ben", "--net", "n0")
	mac := mustLink(t, b, "eth0").MAC
	if got := w.Docker("inspect", "-f", "{{.NetworkSettings.Networks.n0.MacAddress}}", "ben"); got != mac {
		t.Errorf("docker inspect says %s, the container has %s", got, mac)
	}
	var first byte
	if _, err := fmt.Sscanf(mac, "%02x:", &first); err != nil || first&3 != 2 {
		t.Errorf("MAC %s is not a locally administered unicast address", mac)
	}
}

// second gives the host another address, 192.0.2.3.
func second(t *testing.T, w *world.World) {
	t.Helper()
	w.Host.Run("ip", "addr", "add", "192.0.2.3/24", "dev", "eth0")
}
