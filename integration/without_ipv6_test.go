package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// TestWithoutIPTables6 takes ip6tables from a host: networks lose IPv6, and nothing else.
// It is about the engine whose programs a world has for itself.
func TestWithoutIPTables6(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr")
	}
	t.Parallel()
	w := world.New(t, world.Config{Engine: "28.5"})
	w.Network("n0", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "-o", bridgeName+"mybr0")
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	lan6 := "[" + world.HostAddr6 + "]:8088"
	seenAs(t, "by IPv6", w.LAN.Get("tcp", lan6), world.LANAddr6)

	w.StopMybr()
	programs := strings.Fields(w.Host.Run("sh", "-c", "ls -d /usr/sbin/ip6tables*"))
	for _, p := range programs {
		w.Host.Run("mv", p, filepath.Join("/root", filepath.Base(p)))
	}
	w.StartMybr()
	looked(w)
	seenAs(t, "by IPv4", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	unanswered(t, "by IPv6", w.LAN.Get("tcp", lan6, soon))
	if r := w.DockerTry("network", "create", "-d", "mybr", "--ipv6", "--subnet", "172.19.0.0/16", "--subnet", "fd00:19::/64", "n1"); r.Code == 0 || !strings.Contains(r.Err, "ip6tables") {
		t.Errorf("a network with IPv6: %d %s, want a refusal that says why", r.Code, r.Err)
	}
	w.Network("n1", "--subnet", "172.19.0.0/16")
	ben := w.Idle("ben", "--net", "n1")
	seenAs(t, "from another network", ben.Get("tcp", world.HostAddr+":8088"), "172.18.0.1")
	for _, a := range mustLink(t, w.Host, "mybr0").Addrs {
		if a.Addr().Is6() {
			t.Errorf("mybr0 has %v, and nothing filters IPv6", a)
		}
	}
	if n := strings.Count(w.Log(), "networks get no IPv6 on this host"); n != 1 {
		t.Errorf("the log says so %d times, want once", n)
	}

	w.StopMybr()
	for _, p := range programs {
		w.Host.Run("mv", filepath.Join("/root", filepath.Base(p)), p)
	}
	w.StartMybr()
	looked(w)
	seenAs(t, "by IPv6, with ip6tables again", w.LAN.Get("tcp", lan6), world.LANAddr6)
	seenAs(t, "by IPv4, with ip6tables again", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
}
