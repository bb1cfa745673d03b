package host

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/nettest"
)

// trouble is something that stops packets and is no rule of iptables.
type trouble struct {
	name    string
	make    []string // commands of the host, or of the container behind "box: "
	from    string
	to      string
	verdict string
	reason  string // what it contains
	mended  bool   // the command that is printed mends it; else undo does
	undo    []string
}

func troubles() []trouble {
	const box, gate = "172.18.0.2", "172.18.0.1"
	netdev := func(hook, link, rule string) []string {
		return []string{"nft add table netdev t", fmt.Sprintf("nft add chain netdev t c '{ type filter hook %s device %s priority 0; }'", hook, link), "nft add rule netdev t c " + rule}
	}
	bridge := func(hook, rule string) []string {
		return []string{"nft add table bridge t", fmt.Sprintf("nft add chain bridge t c '{ type filter hook %s priority 0; }'", hook), "nft add rule bridge t c " + rule}
	}
	gone := func(family string) []string { return []string{"nft delete table " + family + " t"} }
	return []trouble{
		{"rule of the administrator", []string{"iptables-nft -I FORWARD -i eth0 -p tcp -m comment --comment 'not $(me)' -j DROP"}, "lan", box, explain.Dropped, "chain FORWARD, rule 1", true, nil},
		{"rule of the administrator that rejects", []string{"iptables-nft -I OUTPUT -o br0 -j REJECT"}, "host", box, explain.Refused, "chain OUTPUT, rule 1", true, nil},
		{"rule prohibit", []string{"ip rule add pref 100 iif eth0 prohibit"}, "lan", box, explain.NoRoute, "a rule that says prohibit: ip rule add pref 100 from all iif eth0 prohibit", true, nil},
		{"rule unreachable", []string{"ip rule add pref 100 to 172.18.0.0/16 unreachable"}, "host", box, explain.NoRoute, "says unreachable", true, nil},
		{"rule blackhole", []string{"ip rule add pref 100 from 192.0.2.0/24 blackhole"}, "lan", box, explain.Dropped, "says blackhole: ip rule add pref 100 from 192.0.2.0/24 blackhole", true, nil},
		{"rule goto", []string{"ip rule add pref 200 iif eth0 prohibit", "ip rule add pref 100 iif eth0 goto 300", "ip rule add pref 300 iif eth0 blackhole"}, "lan", box, explain.Dropped, "pref 300", true,
			[]string{"ip rule del pref 100", "ip rule del pref 200"}},
		{"rule of a port", []string{"ip rule add pref 100 ipproto tcp dport 80 prohibit"}, "lan", box, explain.Unknown, "asks for a protocol or a port", false, []string{"ip rule del pref 100"}},
		{"table with a blackhole", []string{"ip route add blackhole 172.18.0.0/16 table 77", "ip rule add pref 100 iif eth0 lookup 77"}, "lan", box, explain.Dropped,
			"a route to 172.18.0.2 that says blackhole: blackhole 172.18.0.0/16 table 77, which ip rule pref 100 from all iif eth0 lookup 77 leads to", true, []string{"ip rule del pref 100"}},
		{"blackhole route", []string{"ip route add blackhole 172.18.0.2"}, "lan", box, explain.Dropped, "blackhole 172.18.0.2/32", true, nil},
		{"forwarding of a link", []string{"sysctl -w net.ipv4.conf.eth0.forwarding=0"}, "lan", box, explain.Dropped, "host does not forward it: net.ipv4.conf.eth0.forwarding is 0", true, nil},
		{"forwarding", []string{"sysctl -w net.ipv4.ip_forward=0"}, "lan", box, explain.Dropped, "net.ipv4.ip_forward is 0", true, nil},
		{"route back leads elsewhere", []string{"sysctl -w net.ipv4.conf.eth0.rp_filter=1", "ip route add 192.0.2.2/32 dev br0"}, "lan", box, explain.Dropped, "rp_filter 1): 192.0.2.2/32 dev br0", false,
			[]string{"ip route del 192.0.2.2/32 dev br0"}},
		{"container's route gone", []string{"box: ip route del default"}, "lan", box, explain.Dropped, "box has no route to 192.0.2.2", false, []string{"box: ip route add default via " + gate}},
		{"container's link down", []string{"box: ip link set eth0 down"}, "host", box, explain.NoRoute, "nobody behind br0", false, []string{"box: ip link set eth0 up", "box: ip route add default via " + gate}},
		{"wrong neighbour", []string{"ip neigh replace 172.18.0.2 lladdr 02:00:00:00:00:99 dev br0 nud permanent"}, "lan", box, explain.Dropped, "a permanent entry for the neighbour 172.18.0.2 on br0, 02:00:00:00:00:99", true, nil},
		{"wrong neighbour of the host", []string{"ip neigh replace 172.18.0.2 lladdr 02:00:00:00:00:99 dev br0 nud permanent"}, "host", box, explain.Dropped, "a permanent entry", true, nil},
		{"wrong gateway", []string{"box: ip neigh replace 172.18.0.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent"}, "box", "192.0.2.1", explain.Dropped, "box has a permanent entry for the neighbour 172.18.0.1 on eth0", true, nil},
		{"neighbour that was another", []string{"ip neigh replace 172.18.0.2 lladdr 02:00:00:00:00:99 dev br0 nud stale"}, "host", box, explain.Unknown, "knows the neighbour 172.18.0.2 on br0 as 02:00:00:00:00:99", false,
			[]string{"ip neigh del 172.18.0.2 dev br0"}},
		{"netdev ingress", netdev("ingress", "eth0", "counter drop"), "lan", box, explain.Dropped, "dropped by rule 1 of chain c of the nf_tables table netdev t of host", true, gone("netdev")},
		{"netdev ingress, some", netdev("ingress", "eth0", "tcp dport 80 drop"), "lan", box, explain.Unknown, "rule 1 of chain c of the nf_tables table netdev t of host may drop it", false, gone("netdev")},
		{"netdev ingress of another link", netdev("ingress", "va", "drop"), "lan", "192.0.2.1", explain.Delivered, "", false, gone("netdev")},
		{"netdev egress", netdev("egress", "eth0", "drop"), "lan", box, explain.Dropped, "the reply is lost: it is dropped by rule 1 of chain c", true, gone("netdev")},
		{"inet ingress", []string{"nft add table inet t", "nft add chain inet t c '{ type filter hook ingress device br0 priority 0; policy drop; }'"}, "box", gate, explain.Dropped,
			"the policy of chain c of the nf_tables table inet t of host is drop", false, gone("inet")},
		{"bridge forward", bridge("forward", "drop"), "box", "172.18.0.3", explain.Dropped, "dropped by rule 1 of chain c of the nf_tables table bridge t", true, gone("bridge")},
		{"bridge input", bridge("input", "iifname va drop"), "box", gate, explain.Dropped, "table bridge t", true, gone("bridge")},
		{"bridge input of another link", bridge("input", "iifname != va drop"), "box", gate, explain.Delivered, "", false, gone("bridge")},
		{"bridge output", bridge("output", "drop"), "lan", box, explain.Dropped, "table bridge t", true, gone("bridge")},
		{"bridge prerouting", bridge("prerouting", "ip saddr 172.18.0.2 drop"), "lan", box, explain.Unknown, "the reply is lost: rule 1 of chain c of the nf_tables table bridge t of host may drop it", false, gone("bridge")},
		{"bridge postrouting", bridge("postrouting", "oifname va drop"), "host", box, explain.Dropped, "table bridge t", true, gone("bridge")},
		{"arp", []string{"nft add table arp t", "nft add chain arp t c '{ type filter hook input priority 0; }'", "nft add rule arp t c drop", "ip neigh flush dev br0"}, "host", box, explain.Unknown,
			"chain c of the nf_tables table arp t may keep host from finding its neighbours", false, gone("arp")},
		{"lost by traffic control", []string{"tc qdisc add dev va root blackhole"}, "lan", box, explain.Unknown, "traffic control (blackhole) at va of host may drop it", false, []string{"tc qdisc del dev va root"}},
		{"dropped by traffic control", []string{"tc qdisc add dev eth0 clsact", "tc filter add dev eth0 ingress protocol all u32 match u32 0 0 action mirred egress redirect dev vb"}, "lan", box, explain.Unknown, "a filter of traffic control at eth0 of host may drop it", false,
			[]string{"tc qdisc del dev eth0 clsact"}},
		{"traffic control that does nothing", []string{"tc qdisc add dev eth0 clsact"}, "lan", box, explain.Delivered, "", false, []string{"tc qdisc del dev eth0 clsact"}},
		{"port that is blocked", []string{"bridge link set dev va state 0"}, "lan", box, explain.NoRoute, "nobody behind br0", false, []string{"bridge link set dev va state 3"}},
		{"port of the sender that is blocked", []string{"bridge link set dev va state 0"}, "box", gate, explain.Dropped, "port va of bridge br0 of host is not forwarding", true, nil},
		{"IPsec", []string{"ip xfrm policy add src 0.0.0.0/0 dst 172.18.0.2/32 dir out action block"}, "host", box, explain.Unknown, "a policy of IPsec from 0.0.0.0/0 to 172.18.0.2/32", false,
			[]string{"ip xfrm policy flush"}},
	}
}

// What stops packets and is no rule of iptables is predicted, or said to be unknown. The command
// that is printed mends it.
func TestTroubles(t *testing.T) {
	t.Parallel()
	host := nettest.New(t)
	hosts := map[string]*nettest.Host{"host": host}
	host.Run("ip", "link", "add", "br0", "type", "bridge")
	host.Run("ip", "link", "set", "br0", "address", "02:00:00:00:00:01")
	host.Address("br0", "172.18.0.1/16")
	host.Run("ip", "link", "set", "br0", "up")
	places := []Place{placeOf(t, "host", host)}
	for _, c := range []struct{ name, link, master, here, there, gateway string }{
		{"lan", "eth0", "", "192.0.2.1/24", "192.0.2.2/24", "192.0.2.1"},
		{"box", "va", "br0", "", "172.18.0.2/16", "172.18.0.1"},
		{"ben", "vb", "br0", "", "172.18.0.3/16", "172.18.0.1"},
	} {
		peer := host.Peer(c.name)
		end := nettest.End{Name: c.link, Master: c.master}
		if c.here != "" {
			end.Addresses = []string{c.here}
		}
		host.Connect(end, peer, nettest.End{Name: "eth0", Addresses: []string{c.there}})
		peer.Route("0.0.0.0/0", c.gateway)
		peer.Echo("tcp4", "0.0.0.0:80")
		hosts[c.name] = peer
		places = append(places, placeOf(t, c.name, peer))
	}
	host.Echo("tcp4", "0.0.0.0:80")
	host.Sysctl("net/ipv4/ip_forward", "1")
	run := func(commands []string) {
		for _, c := range commands {
			h := host
			for _, p := range places { // another program has not the test's file of a namespace
				if rest, ok := strings.CutPrefix(c, "nsenter --net="+p.Path+" "); ok {
					h, c = hosts[p.Name], rest
				}
			}
			if rest, ok := strings.CutPrefix(c, "box: "); ok {
				h, c = hosts["box"], rest
			}
			h.Run("sh", "-c", c)
		}
	}
	predict := func(from, to string) explain.Result {
		w, there, err := Read(places)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Predict(t.Context(), w, there, explain.Query{From: from, Dst: netip.MustParseAddr(to), Proto: explain.TCP, Dport: 80}, map[string]bool{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	// ask says whether a connection comes about; only what is to be may take its time.
	ask := func(from, to string, patience time.Duration) (answered bool) {
		for _, p := range places {
			if p.Name != from {
				continue
			}
			_ = Inside(p, func() error {
				c, err := net.DialTimeout("tcp4", to+":80", patience)
				if err == nil {
					c.Close()
				}
				answered = err == nil
				return nil
			})
		}
		return answered
	}
	for _, c := range troubles() {
		t.Run(c.name, func(t *testing.T) {
			if r := predict(c.from, c.to); r.Verdict != explain.Delivered || !ask(c.from, c.to, 10*time.Second) {
				t.Fatalf("before: %s %s", r.Verdict, r.Reason)
			}
			run(c.make)
			r := predict(c.from, c.to)
			if r.Verdict != c.verdict || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("predicted %s: %s\n%s", r.Verdict, r.Reason, steps(r))
			}
			if got := ask(c.from, c.to, 250*time.Millisecond); got != (c.verdict == explain.Delivered) {
				t.Errorf("predicted %s, and it was answered: %v", r.Verdict, got)
			}
			if c.mended {
				if len(r.Mend) == 0 {
					t.Error("no command mends it")
				}
				run(r.Mend)
				if r := predict(c.from, c.to); r.Verdict != explain.Delivered {
					t.Errorf("mended: %s %s", r.Verdict, r.Reason)
				}
			}
			run(c.undo)
			nettest.Eventually(t, 10*time.Second, func() error { // a port that comes up takes a moment
				if r := predict(c.from, c.to); r.Verdict != explain.Delivered {
					return fmt.Errorf("after: %s %s, commands %q", r.Verdict, r.Reason, r.Mend)
				}
				return nil
			})
		})
	}
}

// A program at a link (XDP) may drop everything.
func TestProgramAtLink(t *testing.T) {
	host, peer, places := twoHosts(t, "192.0.2.1/24", "192.0.2.2/24")
	peer.Echo("tcp4", "0.0.0.0:80")
	q := explain.Query{From: "host", Dst: netip.MustParseAddr("192.0.2.2"), Proto: explain.TCP, Dport: 80}
	verdict := func() explain.Result {
		w, there, err := Read(places)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Predict(t.Context(), w, there, q, map[string]bool{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := verdict(); r.Verdict != explain.Delivered {
		t.Fatalf("before: %s %s", r.Verdict, r.Reason)
	}
	// r0 = 1, which is XDP_DROP; exit (linux/bpf.h).
	program := []byte{0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0}
	license := []byte("GPL\x00")
	load := struct {
		kind, length  uint32
		program       uint64
		license       uint64
		level, size   uint32
		log           uint64
		version, more uint32
	}{kind: unix.BPF_PROG_TYPE_XDP, length: 2, program: uint64(uintptr(unsafe.Pointer(&program[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	runtime.KeepAlive(program)
	runtime.KeepAlive(license)
	if errno != 0 {
		t.Skipf("the kernel takes no program: %v", errno)
	}
	defer unix.Close(int(fd))
	host.In(func() {
		l, err := netlink.LinkByName("eth0")
		if err == nil {
			err = netlink.LinkSetXdpFdWithFlags(l, int(fd), unix.XDP_FLAGS_SKB_MODE)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if r := verdict(); r.Verdict != explain.Unknown || !strings.Contains(r.Reason, "an XDP program at eth0 of host may drop it") {
		t.Errorf("%s %s", r.Verdict, r.Reason)
	}
}
