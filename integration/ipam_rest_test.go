package integration

import (
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestAddressHygiene is about addresses that one container had and another gets.
func TestAddressHygiene(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr's IPAM driver")
	}
	t.Parallel()
	w := world.New(t, world.Config{})
	t.Run("named_is_kept", func(t *testing.T) { w.During(t); namedIsKept(t, w) })
	t.Run("nothing_leads_astray", func(t *testing.T) { w.During(t); nothingLeadsAstray(t, w) })
}

// namedIsKept stops a container with an --ip, lets others have all other addresses, and
// starts it again.
func namedIsKept(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/29") // .1 is the gateway's
	w.Idle("web", "--net", "n0", "--ip", "10.77.0.3")
	w.Docker("stop", "-t", "0", "web")
	w.KillMybr()
	w.StartMybr()
	for name, addr := range map[string]string{"named2": "10.77.0.2", "named4": "10.77.0.4"} {
		w.Idle(name, "--net", "n0", "--ip", addr)
		has(t, w, name, "n0", addr)
	}
	w.Idle("one", "--net", "n0")
	w.Idle("two", "--net", "n0")
	w.Docker("start", "web")
	has(t, w, "web", "n0", "10.77.0.3")
	w.Docker("rm", "-f", "one")
	w.Idle("three", "--net", "n0") // one's address: the only one that is free, though it rests
	// With all others in use it is given, and then web is told.
	w.Docker("stop", "-t", "0", "web")
	w.Idle("last", "--net", "n0")
	has(t, w, "last", "n0", "10.77.0.3")
	if r := w.DockerTry("start", "web"); r.Code == 0 || !strings.Contains(r.Err, "Address already in use in pool mybr-local/10.77.0.0/29") {
		t.Errorf("web starts although its address is another's: exit code %d, %s", r.Code, r.Err)
	}
	w.Docker("rm", "-f", "web", "named2", "named4", "two", "three", "last")
	w.Docker("network", "rm", "n0")
}

// nothingLeadsAstray gives a container's addresses to another one, with another MAC and
// another published port, while the host, a neighbour and the LAN talked to the first.
func nothingLeadsAstray(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n1", "--subnet", "10.78.0.0/24", "--ipv6", "--subnet", "fd00:78::/64")
	ben := w.Idle("ben", "--net", "n1")
	addrs := []string{"--net", "n1", "--ip", "10.78.0.9", "--ip6", "fd00:78::9"}
	targets := map[string]*world.Place{}
	w.Serve("old", append(addrs, "--mac-address", "02:42:00:00:00:01", "-p", "8088:80", "-p", "8088:80/udp"), "tcp:80", "udp:80")
	for _, place := range []*world.Place{ben, w.Host} {
		targets[place.Name] = place
		for _, addr := range []string{"10.78.0.9:80", "[fd00:78::9]:80"} {
			answered(t, place.Name+" to the old one", place.Get("tcp", addr))
			answered(t, place.Name+" to the old one", place.Get("udp", addr))
		}
	}
	stream := w.LAN.Start("guest", "stream", world.HostAddr+":8088")
	flowing(t, w, "to the old one", stream)
	answered(t, "the LAN to the old one", w.LAN.Get("udp", world.HostAddr+":8088"))

	w.Docker("rm", "-f", "old")
	for _, family := range []string{"ipv4", "ipv6"} {
		for flow := range strings.Lines(w.Host.Run("conntrack", "-L", "-f", family)) {
			if strings.Contains(flow, "10.78.0.9 ") || strings.Contains(flow, "fd00:78::9 ") {
				t.Errorf("tracked still: %s", flow)
			}
		}
	}
	w.Serve("new", append(addrs, "--mac-address", "02:42:00:00:00:02", "-p", "8089:80", "-p", "8089:80/udp"), "tcp:80", "udp:80")
	for name, place := range targets {
		for known := range strings.Lines(place.Run("ip", "neigh")) { // the old one's link-local address is nobody's now
			if shared := strings.HasPrefix(known, "10.78.0.9 ") || strings.HasPrefix(known, "fd00:78::9 "); shared && strings.Contains(known, "02:42:00:00:00:01") {
				t.Errorf("%s knows the address by the old MAC: %s", name, known)
			}
		}
		for _, addr := range []string{"10.78.0.9:80", "[fd00:78::9]:80"} {
			for _, network := range []string{"tcp", "udp"} {
				o := place.Get(network, addr, soon)
				answered(t, name+" to the new one", o)
				if o.Code == report.Answered && o.Answer.Name != "new" {
					t.Errorf("%s: %s answers at %s", name, o.Answer.Name, addr)
				}
			}
		}
	}
	for _, network := range []string{"tcp", "udp"} {
		unanswered(t, "the old one's port", w.LAN.Get(network, world.HostAddr+":8088", soon))
		answered(t, "the new one's port", w.LAN.Get(network, world.HostAddr+":8089", soon))
	}
	w.Docker("rm", "-f", "new", "ben")
	w.Docker("network", "rm", "n1")
	nothingRecorded(t, w)
}
