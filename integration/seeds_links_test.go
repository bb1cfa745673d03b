package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

func seedNamespaces(t *testing.T, w *world.World) {
	article(w)
	sandboxes := func() int { return strings.Count(w.Host.Run("cat", "/proc/1/mountinfo"), " - nsfs ") }
	links, before := names(w.Host), sandboxes()
	a := w.Serve("anna", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	lo := mustLink(t, a, "lo")
	if !lo.Up || !lo.Running {
		t.Errorf("lo %+v, want it up", lo)
	}
	answered(t, "container pings itself", a.Ping("127.0.0.1"))
	answered(t, "container asks itself", a.Get("tcp", "127.0.0.1:80"))
	if slices.Equal(names(w.Host), links) || sandboxes() == before {
		t.Errorf("a running container shows neither in the links %v nor in the %d sandboxes", links, before)
	}
	w.Docker("rm", "-f", "anna")
	if got := names(w.Host); !slices.Equal(got, links) {
		t.Errorf("links %v after the container's end, want %v as before", got, links)
	}
	if got := sandboxes(); got != before {
		t.Errorf("%d sandboxes after the container's end, want %d as before", got, before)
	}
}

func seedBridgeMAC(t *testing.T, w *world.World) {
	article(w)
	mac := mustLink(t, w.Host, "mybr0").MAC
	same := func(when string) {
		t.Helper()
		if got := mustLink(t, w.Host, "mybr0").MAC; got != mac {
			t.Errorf("%s: mybr0 has MAC %s, had %s", when, got, mac)
		}
	}
	for i := range 4 {
		name := fmt.Sprintf("c%d", i)
		c := w.Idle(name, "--net", "n0")
		same("after " + name)
		host := hostEnd(t, w, c, "eth0")
		for _, a := range host.Addrs {
			// Docker's own driver lets the kernel put a link-local address there.
			if a.Addr().Is4() || w.Driver == "mybr" {
				t.Errorf("port %s has address %s, want addresses on the bridge alone", host.Name, a)
			}
		}
	}
	if got := len(ports(t, w, "mybr0")); got != 4 {
		t.Errorf("mybr0 has %d ports, want 4", got)
	}
	if got := ipv4Prefix(t, w.Host, "mybr0").String(); got != "172.18.0.1/16" {
		t.Errorf("mybr0 has %s, want 172.18.0.1/16", got)
	}
	for _, i := range []int{0, 3, 1, 2} {
		w.Docker("rm", "-f", fmt.Sprintf("c%d", i))
		same(fmt.Sprintf("after c%d's end", i))
	}
}

func seedLinkLocal(t *testing.T, w *world.World) {
	article(w)
	a, b := w.Serve("anna", []string{"--net", "n0"}, "tcp:80"), w.Serve("ben", []string{"--net", "n0"}, "tcp:80")
	pingBoth(t, a, b)
	v6a, v6b := linkLocal(t, a), linkLocal(t, b)
	answered(t, "a pings b by IPv6", a.Ping(v6b))
	answered(t, "b pings a by IPv6", b.Ping(v6a))
	answered(t, "a asks b by IPv6", a.Get("tcp", "["+v6b+"]:80"))
	answered(t, "b asks a by IPv6", b.Get("tcp", "["+v6a+"]:80"))
}

func seedConnect(t *testing.T, w *world.World) {
	article(w)
	w.Network("n1", "--subnet", "10.66.0.0/24", "-o", bridgeName+"mybr1")
	a := w.Serve("anna", []string{"--net", "n0"}, "tcp:80")
	b := w.Idle("ben", "--net", "n1")
	links, inside, routes := names(w.Host), names(a), a.Routes()
	for range 2 {
		w.Docker("network", "connect", "--ip", "10.66.0.77", "n1", "anna")
		// Docker counts the names on: eth1 the first time, eth2 the second.
		came := slices.DeleteFunc(names(a), func(name string) bool { return slices.Contains(inside, name) })
		if len(came) != 1 {
			t.Fatalf("links inside that came with connect: %v, want one", came)
		}
		eth := mustLink(t, a, came[0])
		if got := ipv4Prefix(t, a, eth.Name).String(); got != "10.66.0.77/24" || !eth.Up || !eth.Running {
			t.Errorf("%+v, want it up with 10.66.0.77/24", eth)
		}
		host := hostEnd(t, w, a, eth.Name)
		if br := mustLink(t, w.Host, "mybr1"); host.Master != br.Index {
			t.Errorf("%s's other end %+v, want a port of mybr1 (%d)", eth.Name, host, br.Index)
		}
		answered(t, "b pings a", b.Ping("10.66.0.77"))
		seenAs(t, "b asks a", b.Get("tcp", "10.66.0.77:80"), ipv4(t, b, "eth0"))
		answered(t, "a pings its first gateway", a.Ping("172.18.0.1"))

		w.Docker("network", "disconnect", "n1", "anna")
		if got := names(w.Host); !slices.Equal(got, links) {
			t.Errorf("links %v after disconnect, want %v as before", got, links)
		}
		if got := names(a); !slices.Equal(got, inside) {
			t.Errorf("links inside %v after disconnect, want %v as before", got, inside)
		}
		if got := a.Routes(); !sameRoutes(got, routes) {
			t.Errorf("routes inside %v after disconnect, want %v as before", got, routes)
		}
		unanswered(t, "b pings a after disconnect", b.Ping("10.66.0.77", soon))
		answered(t, "a pings its first gateway after disconnect", a.Ping("172.18.0.1"))
	}
}

// sameRoutes compares two tables, whatever their order.
func sameRoutes(have, want []report.Route) bool {
	return len(have) == len(want) && !slices.ContainsFunc(want, func(r report.Route) bool {
		return !slices.Contains(have, r)
	})
}
