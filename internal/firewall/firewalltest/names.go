package firewalltest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// named is scenarios of lists with host names.
func named() []scenario {
	return []scenario{
		{"egress by name", egressByName},
		{"egress by name: networks of the other family", egressByNameElsewhere},
		{"egress by name: neighbours and the host's other rules", egressByNameBeside},
		{"egress by name: grants", egressGrants},
		{"egress by name: lists of containers", egressNamesOfContainers},
	}
}

// process is where the host stands in for mybr's process.
var process = firewall.Process{DNS: 5301, TCP: 5302}

// Named is a list that has host names, too, with the ports that are carried for them.
func Named(e firewall.Egress, carried egress.Ports) firewall.Egress {
	e.Names, e.Carried = true, carried
	return e
}

// withNames is a policy with these lists, of which some have names, for both families.
func withNames(p firewall.Policy, lists ...firewall.Egress) firewall.Policy {
	p = withEgress(p, lists...)
	for i := range p.Networks {
		n := &p.Networks[i]
		if n.Names = slices.ContainsFunc(lists, func(e firewall.Egress) bool { return e.Bridge == n.Bridge && e.Names }); n.Names {
			n.V4.Gateway, n.V6.Gateway = n.V4.Prefix.Addr().Next(), n.V6.Prefix.Addr().Next()
		}
	}
	p.Process = process
	return p
}

// listens has the host answer at the ports of the process, and others where DNS and carried ports
// may be asked for.
func (w *World) listens() {
	for _, port := range []int{5301, 5302, 90} {
		w.Host.Echo(w.Net("tcp"), w.Stand.In(fmt.Sprintf("0.0.0.0:%d", port)))
	}
	w.Host.Echo(w.Net("udp"), w.Stand.In("0.0.0.0:5301"))
	for _, name := range []string{"lan", "b"} {
		w.Hosts[name].Echo(w.Net("tcp"), w.Stand.In("0.0.0.0:53"))
		w.Hosts[name].Echo(w.Net("udp"), w.Stand.In("0.0.0.0:53"))
	}
}

// steady looks that nothing is left to be done for a policy.
func (w *World) steady(p firewall.Policy) {
	w.T.Helper()
	if rest, err := w.Backend.Plan(w.T.Context(), nil, p); err != nil || len(rest) > 0 {
		w.T.Fatalf("then there is %q to do: %v", rest.Changes(), err)
	}
}

// DNS, and connections at carried ports, are led to the process, whatever the address, if the list
// does not have it. Nobody else reaches the process's ports.
func egressByName(w *World) {
	w.listens()
	plain := w.Policy(nil)
	w.Apply(plain)
	const open = `
		a tcp lan:80 -> lan
		a tcp lan:81 -> lan
		a tcp lan:82 -> lan
		a udp lan:53 -> lan
		a tcp lan:53 -> lan
		a tcp 192.0.2.1:8180 -> c
		lan tcp 192.0.2.1:5302 -> host
		lan udp 192.0.2.1:5301 -> host
		c tcp 172.19.0.1:5302 -> host
		a tcp 172.18.0.1:5302 -> host
		host tcp 192.0.2.1:5302 -> host`
	w.Expect(open)
	want := withNames(plain, Named(Egress("br0", "", "192.0.2.2:81,host:90"), "80,443"))
	Apply(w.T, w.Backend, &plain, want)
	w.steady(want)
	const addressed = `
		a tcp lan:81 -> lan 192.0.2.1
		a tcp lan:82 -> nothing
		a tcp 192.0.2.1:90 -> host a
		a tcp b:80 -> b a
		a udp b:53 -> b a
		a tcp 192.0.2.1:8180 -> nothing
		c tcp lan:80 -> lan 192.0.2.1
		c udp lan:53 -> lan
		lan tcp 192.0.2.1:8080 -> a lan
		host tcp a:80 -> a`
	w.Expect(addressed + `
		a tcp lan:80 -> host a
		a tcp lan:53 -> host a
		a udp lan:53 -> host a
		a tcp 198.51.100.9:443 -> host a
		a udp 198.51.100.9:53 -> host a
		a udp 172.18.0.1:53 -> host a
		a tcp c:80 -> host a
		a udp lan:80 -> nothing
		a tcp 172.18.0.1:5302 -> nothing
		a tcp 172.18.0.1:5301 -> nothing
		a udp 172.18.0.1:5301 -> nothing
		a tcp 192.0.2.1:5302 -> nothing
		c tcp 172.19.0.1:5302 -> nothing
		c tcp 172.18.0.1:5302 -> nothing
		lan tcp 192.0.2.1:5302 -> nothing
		lan tcp 172.18.0.1:5302 -> nothing
		lan udp 192.0.2.1:5301 -> nothing
		host tcp 192.0.2.1:5302 -> nothing`)
	if got, to := w.original("a", "198.51.100.9:443"), w.Stand.In("198.51.100.9:443"); got != to {
		w.T.Errorf("the process is told that a connection was made to %s, and it was to %s", got, to)
	}
	// While the process listens nowhere, and while it is not there, what is led to it fails.
	nowhere := want
	nowhere.Process = firewall.Process{}
	Apply(w.T, w.Backend, &want, nowhere)
	w.steady(nowhere)
	w.Expect(addressed + "\n a tcp lan:80 -> nothing\n a udp lan:53 -> nothing")
	gone := want
	gone.Process = firewall.Process{DNS: 5401, TCP: 5402}
	Apply(w.T, w.Backend, &nowhere, gone)
	w.Expect(addressed + "\n a tcp lan:80 -> nothing\n a udp lan:53 -> nothing")
	// Everything that is carried, and everything at an address.
	all := withNames(plain, Named(Egress("br0", "", "192.0.2.2/32"), "1-65535"))
	Apply(w.T, w.Backend, &gone, all)
	w.steady(all)
	w.Expect(`
		a tcp lan:80 -> lan
		a tcp lan:53 -> lan
		a udp lan:53 -> lan
		a tcp 198.51.100.9:9999 -> host a
		a tcp 198.51.100.9:53 -> host a
		a tcp 172.18.0.1:5302 -> nothing
		a tcp 192.0.2.1:8180 -> host a
		a tcp b:81 -> b`)
	Apply(w.T, w.Backend, &all, plain)
	w.Expect(open)
}

// The process's sockets are of both families, and so is what keeps others from them: where no
// network leads anything there in one family, its ports are nobody's in that family either.
func egressByNameElsewhere(w *World) {
	w.listens()
	want := withNames(w.Policy(nil), Named(Egress("br0", "", "none"), "80,443"))
	for i := range want.Networks {
		n := &want.Networks[i]
		if w.Stand.IP == model.IPv6 {
			n.V6.Gateway = netip.Addr{}
		} else {
			n.V4.Gateway = netip.Addr{}
		}
	}
	const guarded = `
		lan tcp 192.0.2.1:5301 -> nothing
		lan tcp 192.0.2.1:5302 -> nothing
		lan udp 192.0.2.1:5301 -> nothing
		c tcp 172.19.0.1:5302 -> nothing
		host tcp 192.0.2.1:5302 -> nothing
		a tcp lan:80 -> nothing
		lan tcp 192.0.2.1:90 -> host lan
		host tcp a:80 -> a`
	w.Apply(want)
	w.steady(want)
	w.Expect(guarded)
	moved := want
	moved.Process = firewall.Process{DNS: 5401, TCP: 5402}
	Apply(w.T, w.Backend, &want, moved)
	w.steady(moved)
	w.Expect("lan tcp 192.0.2.1:5302 -> host lan")
	Apply(w.T, w.Backend, &moved, want)
	w.steady(want)
	w.Expect(guarded)
	plain := w.Policy(nil)
	Apply(w.T, w.Backend, &want, plain)
	w.steady(plain)
	w.Expect("lan tcp 192.0.2.1:5302 -> host lan")
}

// original has a host connect somewhere and returns what the process is told that it was.
func (w *World) original(from, to string) string {
	w.T.Helper()
	l := w.Host.Listen(w.Net("tcp"), w.Stand.In("0.0.0.0:5303"))
	defer l.Close()
	p := withNames(w.Policy(nil), Named(Egress("br0", "", "none"), "443"))
	p.Process.TCP = 5303
	w.Apply(p)
	defer w.Apply(withNames(w.Policy(nil), Named(Egress("br0", "", "192.0.2.2:81,host:90"), "80,443")))
	c, err := w.Hosts[from].Dial(w.Net("tcp"), w.Stand.In(to), 5*time.Second)
	if err != nil {
		w.T.Fatal(err)
	}
	defer c.Close()
	at, err := l.Accept()
	if err != nil {
		w.T.Fatal(err)
	}
	defer at.Close()
	raw, err := at.(*net.TCPConn).SyscallConn()
	if err != nil {
		w.T.Fatal(err)
	}
	const soOriginalDst = 80 // linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h
	var got netip.AddrPort
	var failed error
	err = raw.Control(func(fd uintptr) {
		if w.Stand.IP == model.IPv6 {
			info, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.IPPROTO_IPV6, soOriginalDst) // begins with a struct sockaddr_in6
			if failed = err; err == nil {
				got = netip.AddrPortFrom(netip.AddrFrom16(info.Addr.Addr), info.Addr.Port>>8|info.Addr.Port<<8)
			}
			return
		}
		in, err := unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, soOriginalDst) // as long as a struct sockaddr_in
		if failed = err; err == nil {
			b := in.Multiaddr
			got = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3]))
		}
	})
	if err != nil || failed != nil {
		w.T.Fatal(err, failed)
	}
	return got.String()
}

// What passes between neighbours is not led where bridged frames pass the rules, and what is led
// reaches the process whatever else the host's rules drop.
func egressByNameBeside(w *World) {
	w.listens()
	want := withNames(w.Policy(nil), Named(Egress("br0", "", "none"), "80,443"))
	w.Apply(want)
	for _, call := range []string{"0", "1"} {
		w.Host.Sysctl("net/bridge/bridge-nf-call-"+w.Stand.command(), call)
		w.Expect(`
			a tcp b:80 -> b a
			a udp b:53 -> b a
			a tcp b:53 -> b a
			a tcp lan:80 -> host a
			a udp lan:53 -> host a`)
	}
	if w.Stand.Name == Alone {
		return
	}
	w.Stand.Do(w.Host, "-P INPUT DROP")
	if w.Stand.IP == model.IPv6 {
		w.Stand.Do(w.Host, "-A INPUT -p ipv6-icmp -j ACCEPT")
	}
	w.Expect(`
		a tcp lan:80 -> host a
		a udp lan:53 -> host a
		a tcp 172.18.0.1:5302 -> nothing
		lan tcp 192.0.2.1:90 -> nothing`)
	w.Apply(want)
	w.steady(want)
	w.Expect("a tcp lan:80 -> host a\n a udp lan:53 -> host a")
	w.Stand.Do(w.Host, "-P INPUT ACCEPT")
	w.Apply(w.Policy(nil)) // so that what was held up can end
}

// Of containers with lists of their own, only what those begin is led that have names.
func egressNamesOfContainers(w *World) {
	w.listens()
	plain := w.Policy(nil)
	have := withNames(plain, Egress("br0", "", "none"), Named(Egress("br0", "172.18.0.2", "192.0.2.2:81"), "80,443"), Egress("br0", "172.18.0.3", "192.0.2.2:82"))
	w.Apply(have)
	w.steady(have)
	const paths = `
		a tcp lan:80 -> host a
		a udp lan:53 -> host a
		a tcp lan:81 -> lan
		a tcp lan:82 -> nothing
		b tcp lan:80 -> nothing
		b udp lan:53 -> nothing
		b tcp lan:82 -> lan
		b tcp 172.18.0.1:5302 -> nothing`
	w.Expect(paths)
	granted := withGrants(have, "172.18.0.2 192.0.2.2 tcp 85 85")
	Apply(w.T, w.Backend, &have, granted)
	w.steady(granted)
	w.Expect(paths + "\n a tcp lan:85 -> lan\n b tcp lan:85 -> nothing")
	// The containers change their lists.
	next := withNames(plain, Egress("br0", "", "none"), Egress("br0", "172.18.0.2", "192.0.2.2:82"), Named(Egress("br0", "172.18.0.3", "none"), "443"))
	Apply(w.T, w.Backend, &granted, next)
	w.steady(next)
	w.Expect(`
		a tcp lan:80 -> nothing
		a udp lan:53 -> nothing
		a tcp lan:85 -> nothing
		a tcp lan:82 -> lan
		b tcp lan:80 -> nothing
		b tcp 198.51.100.9:443 -> host b
		b udp lan:53 -> host b`)
	w.Apply(plain) // so that what was held up can end
}
