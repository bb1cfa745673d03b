package integration

import (
	"net"
	"net/netip"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/vishvananda/netlink"
)

// routeTo gives a LAN host a route to a subnet behind the world's host.
func routeTo(t *testing.T, from *world.Place, subnet string) {
	t.Helper()
	p := netip.MustParsePrefix(subnet)
	err := from.Handle().RouteAdd(&netlink.Route{
		Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)},
		Gw:  net.ParseIP(world.HostAddr),
	})
	if err != nil {
		t.Fatalf("%s: route to %s: %v", from.Name, subnet, err)
	}
}

func seedNAT(t *testing.T, w *world.World) {
	w.Network("plain", "--subnet", "172.18.0.0/16", "-o", "com.docker.network.bridge.enable_ip_masquerade=false")
	w.Network("masked", "--subnet", "172.19.0.0/16", "-o", "com.docker.network.bridge.enable_ip_masquerade=true")
	plain, masked := w.Idle("plain", "--net", "plain"), w.Idle("masked", "--net", "masked")
	wire := w.LAN.Sniff("eth0")
	w.LAN.Start("guest", "serve", "tcp:7000", "udp:7000")
	request := func(src string) func(report.Packet) bool {
		return func(p report.Packet) bool {
			return p.Proto == "icmp" && p.Type == 8 && p.Src.String() == src && p.TTL == 63
		}
	}

	unanswered(t, "ping without NAT and without a route back", plain.Ping(world.LANAddr, soon))
	wire.Want("echo request from the container's own address, TTL 63", request("172.18.0.2"))

	routeTo(t, w.LAN, "172.18.0.0/16")
	o := plain.Ping(world.LANAddr)
	answered(t, "ping without NAT, with a route back", o)
	if o.Pong.TTL != 63 {
		t.Errorf("the reply came with TTL %d, want 63", o.Pong.TTL)
	}
	seenAs(t, "tcp without NAT", plain.Get("tcp", world.LANAddr+":7000"), "172.18.0.2")
	o = plain.Get("udp", world.LANAddr+":7000")
	seenAs(t, "udp without NAT", o, "172.18.0.2")
	if o.Answer.TTL != 63 {
		t.Errorf("the datagram came with TTL %d, want 63", o.Answer.TTL)
	}

	answered(t, "ping with NAT", masked.Ping(world.LANAddr))
	wire.Want("echo request from the host's address, TTL 63", request(world.HostAddr))
	seenAs(t, "tcp with NAT", masked.Get("tcp", world.LANAddr+":7000"), world.HostAddr)
}

func seedPublished(t *testing.T, w *world.World) {
	article(w)
	w.Network("n1", "--subnet", "172.19.0.0/16")
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	neighbour, other := w.Idle("neighbour", "--net", "n0"), w.Idle("other", "--net", "n1")
	for _, network := range []string{"tcp", "udp"} {
		o := w.LAN.Get(network, world.HostAddr+":8088")
		seenAs(t, network+" from the LAN", o, world.LANAddr)
		if got := o.Answer.Server.String(); got != "172.18.0.2:80" || o.Answer.Name != "web" {
			t.Errorf("%s from the LAN: answered by %s at %s, want web at 172.18.0.2:80", network, o.Answer.Name, got)
		}
		for _, addr := range []string{world.HostAddr, "127.0.0.1", "[::1]", "172.18.0.1"} {
			answered(t, network+" from the host to "+addr, w.Host.Get(network, addr+":8088"))
		}
		for _, from := range []*world.Place{neighbour, other} {
			if proxied(network, w.Driver) {
				continue
			}
			answered(t, network+" from "+from.Name, from.Get(network, world.HostAddr+":8088"))
		}
	}
	unanswered(t, "a port nobody published", w.LAN.Get("tcp", world.HostAddr+":8089", soon))
	w.Docker("rm", "-f", "web")
	for _, network := range []string{"tcp", "udp"} {
		unanswered(t, network+" after the container's end", w.LAN.Get(network, world.HostAddr+":8088", soon))
		unanswered(t, network+" from the host after the container's end", w.Host.Get(network, "127.0.0.1:8088", soon))
	}
}

func seedRPFilter(t *testing.T, w *world.World) {
	article(w)
	a := w.Serve("anna", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	b := w.Idle("ben", "--net", "n0")
	w.LAN.Start("guest", "serve", "tcp:7000", "udp:7000")
	for _, value := range []string{"0", "1", "2"} {
		t.Run("rp_filter="+value, func(t *testing.T) {
			w.During(t)
			w.Host.Sysctl("net/ipv4/conf/default/rp_filter", value)
			w.Host.Sysctl("net/ipv4/conf/all/rp_filter", value)
			for _, name := range names(w.Host) {
				w.Host.Sysctl("net/ipv4/conf/"+name+"/rp_filter", value)
			}
			eachBridgeNF(t, w, func(t *testing.T) {
				pingBoth(t, a, b)
				answered(t, "host pings container", w.Host.Ping("172.18.0.2"))
				answered(t, "container pings gateway", a.Ping("172.18.0.1"))
				for _, network := range []string{"tcp", "udp"} {
					seenAs(t, network+" to the LAN", a.Get(network, world.LANAddr+":7000"), world.HostAddr)
					seenAs(t, network+" from the LAN", w.LAN.Get(network, world.HostAddr+":8088"), world.LANAddr)
					for _, addr := range []string{world.HostAddr, "127.0.0.1", "[::1]"} {
						answered(t, network+" from the host to "+addr, w.Host.Get(network, addr+":8088"))
					}
					if proxied(network, w.Driver) {
						continue
					}
					answered(t, network+" from the neighbour by the host's address", b.Get(network, world.HostAddr+":8088"))
				}
			})
		})
	}
}
