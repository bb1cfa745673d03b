package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// udp is a binding, as "0.0.0.0:53 172.18.0.2:53".
func udp(spec string, count uint16) model.PortBinding {
	host, to, _ := strings.Cut(spec, " ")
	return model.PortBinding{Proto: model.UDP, Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(to), Count: count}
}

func ports(b ...model.PortBinding) []model.PortBinding { return b }

func TestWrong(t *testing.T) {
	v4 := families()[0]
	const host, a, b = "192.0.2.1", "172.18.0.2", "172.18.0.3"
	for _, c := range []struct {
		name           string
		change         Change
		asked, answers string
		want           bool
	}{
		{"came: led to the host itself", Change{Came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", host + ":53", true},
		{"came: led to another", Change{Came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", b + ":53", true},
		{"came: led to another port", Change{Came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", a + ":54", true},
		{"came: leads there", Change{Came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", a + ":53", false},
		{"came: other port", Change{Came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":54", host + ":54", false},
		{"came: through the host", Change{Came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, "8.8.8.8:53", "8.8.8.8:53", false},
		{"came: an address that was the host's", Change{Came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, "192.0.2.9:53", b + ":53", true},
		{"came: other address", Change{Came: ports(udp("192.0.2.7:53 "+a+":53", 1))}, host + ":53", host + ":53", false},
		{"came: that address", Change{Came: ports(udp(host+":53 "+a+":53", 1))}, host + ":53", host + ":53", true},
		{"came: range, right", Change{Came: ports(udp("0.0.0.0:9000 "+a+":80", 10))}, host + ":9009", a + ":89", false},
		{"came: range, wrong", Change{Came: ports(udp("0.0.0.0:9000 "+a+":80", 10))}, host + ":9009", a + ":88", true},
		{"came: behind the range", Change{Came: ports(udp("0.0.0.0:9000 "+a+":80", 10))}, host + ":9010", b + ":80", false},
		{"came: before the range", Change{Came: ports(udp("0.0.0.0:9000 "+a+":80", 10))}, host + ":8999", b + ":80", false},
		{"came: last port", Change{Came: ports(udp("0.0.0.0:65535 "+a+":80", 1))}, host + ":65535", b + ":80", true},
		{"gone: led there", Change{Gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", a + ":53", true},
		{"gone: led there by another port", Change{Gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":99", a + ":53", true},
		{"gone: to the port", Change{Gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", host + ":53", true},
		{"gone: to the container itself", Change{Gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, a + ":53", a + ":53", false},
		{"gone: through the host", Change{Gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, "8.8.8.8:53", "8.8.8.8:53", false},
		{"gone: other", Change{Gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":54", b + ":54", false},
		{"moved: follows already", Change{Gone: ports(udp("0.0.0.0:53 "+a+":53", 1)), Came: ports(udp("0.0.0.0:53 "+b+":53", 1))}, host + ":53", b + ":53", false},
		{"moved: doesn't follow", Change{Gone: ports(udp("0.0.0.0:53 "+a+":53", 1)), Came: ports(udp("0.0.0.0:53 "+b+":53", 1))}, host + ":53", a + ":53", true},
	} {
		f := filter{gone: v4.relevant(c.change.Gone, model.UDP), came: v4.relevant(c.change.Came, model.UDP),
			local: map[netip.Addr]bool{netip.MustParseAddr(host): true}}
		if got := f.wrong(netip.MustParseAddrPort(c.asked), netip.MustParseAddrPort(c.answers)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// No flow that leads where a port leads now is forgotten, and each that doesn't is.
func TestCameIsExact(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		first := rapid.IntRange(1, 65535).Draw(r, "first")
		count := rapid.IntRange(1, 65536-first).Draw(r, "count")
		base := rapid.IntRange(1, 65536-count).Draw(r, "base")
		i := rapid.IntRange(-1, count).Draw(r, "i")
		shift := rapid.SampledFrom([]int{0, 0, 1, -1}).Draw(r, "shift")
		asked, answers := first+i, base+i+shift
		if asked < 0 || asked > 65535 || answers < 0 || answers > 65535 {
			return
		}
		to := netip.MustParseAddr("172.18.0.2")
		f := filter{came: families()[0].relevant(ports(model.PortBinding{Proto: model.UDP, Count: uint16(count),
			Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(first)), Container: netip.AddrPortFrom(to, uint16(base))}), model.UDP)}
		want := i >= 0 && i < count && shift != 0
		if got := f.wrong(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(asked)), netip.AddrPortFrom(to, uint16(answers))); got != want {
			r.Errorf("%d of %d: %v", i, count, got)
		}
	})
}

func TestNothingToDo(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // whoever reads anything fails
	tcp := udp("0.0.0.0:53 172.18.0.2:53", 1)
	tcp.Proto = model.TCP
	tcp6 := udp("[::]:53 [fd00:18::2]:53", 1)
	tcp6.Proto = model.TCP
	carried, carriedToo := udp("[::]:53 172.18.0.2:53", 1), udp("0.0.0.0:53 [fd00:18::2]:53", 1)
	if err := Forget(ctx, Change{Gone: ports(tcp, tcp6, carried, carriedToo), Came: ports(carried, carriedToo)}); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		change Change
		want   string
	}{
		{Change{Gone: ports(udp("0.0.0.0:53 172.18.0.2:53", 1))}, "IPv4"},
		{Change{Came: ports(udp("[::]:53 [fd00:18::2]:53", 1))}, "IPv6"},
		{Change{Came: ports(tcp6)}, "IPv6"},
		{Change{Left: []netip.Addr{netip.MustParseAddr("172.18.0.2")}}, "IPv4"},
		{Change{Left: []netip.Addr{netip.MustParseAddr("fd00:18::2")}}, "IPv6"},
		{Change{Left: []netip.Addr{netip.MustParseAddr("fd00:18::2"), netip.MustParseAddr("172.18.0.2")}}, "IPv4 IPv6"},
	} {
		err := Forget(ctx, c.change)
		var read []string
		for _, f := range families() {
			if strings.Contains(fmt.Sprint(err), "conntrack: "+f.name+": addresses of the host: context canceled") {
				read = append(read, f.name)
			}
		}
		if !errors.Is(err, context.Canceled) || strings.Join(read, " ") != c.want {
			t.Errorf("%+v: looked into %v, want %s: %v", c.change, read, c.want, err)
		}
	}
}

func TestRetry(t *testing.T) {
	for _, interrupted := range []error{netlink.ErrDumpInterrupted, unix.EINTR, fmt.Errorf("dump: %w", netlink.ErrDumpInterrupted)} {
		n := 0
		err := retry(context.Background(), func() error {
			if n++; n < 3 {
				return interrupted
			}
			return nil
		})
		if err != nil || n != 3 {
			t.Errorf("%v: %d calls, error %v", interrupted, n, err)
		}
		n = 0
		if err := retry(context.Background(), func() error { n++; return interrupted }); !errors.Is(err, interrupted) || n != attempts {
			t.Errorf("%v for ever: %d calls, error %v", interrupted, n, err)
		}
	}
	n := 0
	if err := retry(context.Background(), func() error { n++; return unix.EPERM }); !errors.Is(err, unix.EPERM) || n != 1 {
		t.Errorf("%d calls, error %v", n, err)
	}
}

// inBoth runs a test in each family. What it writes for IPv4 it says through the family.
func inBoth(t *testing.T, test func(t *testing.T, f testFamily)) {
	for _, f := range []testFamily{{families()[0], "iptables", "4"}, {families()[1], "ip6tables", "6"}} {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

type testFamily struct {
	family
	command string
	suffix  string // of the net package's networks
}

var v4Text = regexp.MustCompile(`(\d+)\.(\d+)\.(\d+)\.(\d+)(:|/\d+)?`)

// say is a text with its IPv4 addresses made the family's.
func (f testFamily) say(text string) string {
	if f.suffix == "4" {
		return text
	}
	return v4Text.ReplaceAllStringFunc(text, func(s string) string {
		part := v4Text.FindStringSubmatch(s)
		address := netip.MustParseAddr(fmt.Sprintf("fd00:%s:%s:%s::%s", part[1], part[2], part[3], part[4]))
		if part[1] == "0" {
			address = netip.IPv6Unspecified()
		}
		switch behind := part[5]; behind {
		case ":":
			return "[" + address.String() + "]:"
		case "":
			return address.String()
		default:
			return address.String() + map[string]string{"/0": "/0", "/16": "/48", "/24": "/64", "/32": "/128"}[behind]
		}
	})
}

// client keeps one UDP socket, so that all it sends is one flow.
type client struct {
	t *testing.T
	c net.Conn
}

func newClient(t *testing.T, from *nettest.Host, to string) *client {
	t.Helper()
	c, err := from.Dial("udp", to, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{t, c}
}

// server returns the name of who answers.
func (c *client) server() string {
	c.t.Helper()
	a, err := nettest.AskOn(c.c, 2*time.Second)
	if err != nil {
		c.t.Fatal(err)
	}
	return a.Server
}

// flows lists the UDP flows of the namespace, as "ASKED ANSWERS", sorted.
func (f testFamily) flows(t *testing.T) (out []string) {
	t.Helper()
	all, err := netlink.ConntrackTableList(netlink.ConntrackTable, f.number)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.Forward.Protocol == unix.IPPROTO_UDP {
			out = append(out, fmt.Sprintf("%s %s", netip.AddrPortFrom(addr(f.Forward.DstIP), f.Forward.DstPort), netip.AddrPortFrom(addr(f.Reverse.SrcIP), f.Reverse.SrcPort)))
		}
	}
	slices.Sort(out)
	return out
}

// A client that goes on sending is led to the new place of a port as soon as its flow
// is forgotten, and not before; flows of others are left alone.
func TestPortChangesHands(t *testing.T) { inBoth(t, testPortChangesHands) }

func testPortChangesHands(t *testing.T, f testFamily) {
	h := nettest.New(t)
	lan, a, b := h.Peer("lan"), h.Peer("a"), h.Peer("b")
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.1/24")}}, lan, nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.2/24")}})
	for i, c := range []*nettest.Host{a, b} {
		h.Connect(nettest.End{Name: "v" + c.Name, Addresses: []string{f.say(fmt.Sprintf("172.18.%d.1/24", i))}}, c,
			nettest.End{Name: "eth0", Addresses: []string{f.say(fmt.Sprintf("172.18.%d.2/24", i))}})
		c.Route(f.say("0.0.0.0/0"), f.say(fmt.Sprintf("172.18.%d.1", i)))
		c.Echo("udp"+f.suffix, f.say("0.0.0.0:53"))
	}
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	h.Echo("udp"+f.suffix, f.say("0.0.0.0:53"))
	lan.Echo("udp"+f.suffix, f.say("0.0.0.0:53"))
	// Flows are tracked where a rule asks for it; the container's own requests too.
	h.Run(f.command, "-t", "nat", "-A", "POSTROUTING", "-s", f.say("172.18.0.0/16"), "-o", "eth0", "-j", "MASQUERADE")
	lead := func(to string) {
		h.Run(f.command, "-t", "nat", "-R", "PREROUTING", "1", "-p", "udp", "-d", f.say("192.0.2.1"), "--dport", "53", "-j", "DNAT", "--to-destination", to)
	}
	h.Run(f.command, "-t", "nat", "-A", "PREROUTING", "-j", "RETURN")

	toPort, through := newClient(t, lan, f.say("192.0.2.1:53")), newClient(t, a, f.say("192.0.2.2:53"))
	toA, toB := udp(f.say("0.0.0.0:53 172.18.0.2:53"), 1), udp(f.say("192.0.2.1:53 172.18.1.2:53"), 1)
	if got := through.server(); got != "lan" {
		t.Fatal(got)
	}
	for _, step := range []struct {
		lead   string
		change Change
		before string
		after  string
	}{
		{f.say("172.18.0.2:53"), Change{Came: ports(toA)}, "host", "a"},
		{f.say("172.18.1.2:53"), Change{Gone: ports(toA), Came: ports(toB)}, "a", "b"},
		{f.say("192.0.2.1:53"), Change{Gone: ports(toB)}, "b", "host"},
	} {
		if got := toPort.server(); got != step.before {
			t.Fatalf("%s answers instead of %s", got, step.before)
		}
		lead(step.lead)
		if got := toPort.server(); got != step.before {
			t.Fatalf("the flow has left %s for %s by itself", step.before, got)
		}
		if err := Forget(context.Background(), step.change); err != nil {
			t.Fatal(err)
		}
		if left := f.flows(t); !slices.Equal(left, []string{f.say("192.0.2.2:53 192.0.2.2:53")}) {
			t.Fatalf("flows that are left: %q", left)
		}
		if got := toPort.server(); got != step.after {
			t.Fatalf("%s answers instead of %s", got, step.after)
		}
		if err := Forget(context.Background(), Change{Came: step.change.Came}); err != nil {
			t.Fatal(err)
		}
		if left := f.flows(t); len(left) != 2 {
			t.Fatalf("a flow is gone that leads to the right place: %q", left)
		}
	}
}

// Of a container that left, every flow is forgotten, of any protocol, whoever began it;
// those of others stay.
func TestContainerLeaves(t *testing.T) { inBoth(t, testContainerLeaves) }

func testContainerLeaves(t *testing.T, f testFamily) {
	h := nettest.New(t)
	lan, a, b := h.Peer("lan"), h.Peer("a"), h.Peer("b")
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.1/24")}}, lan, nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.2/24")}})
	for i, c := range []*nettest.Host{a, b} {
		h.Connect(nettest.End{Name: "v" + c.Name, Addresses: []string{f.say(fmt.Sprintf("172.18.%d.1/24", i))}}, c,
			nettest.End{Name: "eth0", Addresses: []string{f.say(fmt.Sprintf("172.18.%d.2/24", i))}})
		c.Route(f.say("0.0.0.0/0"), f.say(fmt.Sprintf("172.18.%d.1", i)))
	}
	lan.Route(f.say("172.18.0.0/16"), f.say("192.0.2.1"))
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	h.Run(f.command, "-t", "nat", "-A", "POSTROUTING", "-s", f.say("172.18.0.0/16"), "-o", "eth0", "-j", "MASQUERADE")
	h.Run(f.command, "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-d", f.say("192.0.2.1"), "--dport", "54", "-j", "DNAT", "--to-destination", f.say("172.18.0.2:53"))
	for _, network := range []string{"tcp" + f.suffix, "udp" + f.suffix} {
		for _, server := range []*nettest.Host{lan, a, b} {
			server.Echo(network, f.say("0.0.0.0:53"))
		}
		ask := func(from *nettest.Host, to string) {
			nettest.Eventually(t, 5*time.Second, func() error { _, err := from.Ask(network, to, time.Second); return err })
		}
		ask(a, f.say("192.0.2.2:53"))    // out, masqueraded
		ask(b, f.say("192.0.2.2:53"))    // not a's
		ask(h, f.say("172.18.0.2:53"))   // in from the host
		ask(b, f.say("172.18.0.2:53"))   // in from elsewhere
		ask(lan, f.say("172.18.1.2:53")) // not a's
		if network == "tcp"+f.suffix {
			ask(lan, f.say("192.0.2.1:54")) // in, translated
		}
	}
	if err := Forget(context.Background(), Change{Left: []netip.Addr{netip.MustParseAddr(f.say("172.18.0.2"))}}); err != nil {
		t.Fatal(err)
	}
	all, err := netlink.ConntrackTableList(netlink.ConntrackTable, f.number)
	if err != nil {
		t.Fatal(err)
	}
	for _, flow := range all {
		if text := flow.String(); strings.Contains(text, f.say("172.18.0.2")) {
			t.Errorf("left: %s", text)
		}
	}
	left := map[string]bool{} // a connection may have been tried twice
	for _, flow := range all {
		left[fmt.Sprint(flow.Forward.Protocol, flow.Forward.SrcIP, flow.Forward.DstIP)] = true
	}
	if len(left) != 4 {
		t.Errorf("%v are left, want the 4 of the others", left)
	}
}

// A connection begun while its port was reserved, and dropped what arrives, would go past
// the rules that have come since, for as long as its client tries.
func TestConnectionBegunEarly(t *testing.T) { inBoth(t, testConnectionBegunEarly) }

func testConnectionBegunEarly(t *testing.T, f testFamily) {
	h := nettest.New(t)
	lan := h.Peer("lan")
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.1/24")}}, lan, nettest.End{Name: "eth0", Addresses: []string{f.say("192.0.2.2/24")}})
	h.Run(f.command, "-A", "INPUT", "-p", "tcp", "--dport", "8080:8081", "-m", "conntrack", "--ctstate", "NEW") // turns tracking on
	h.Echo("tcp"+f.suffix, f.say("0.0.0.0:8082"))
	if _, err := lan.Ask("tcp"+f.suffix, f.say("192.0.2.1:8082"), 5*time.Second); err != nil { // an answered one
		t.Fatal(err)
	}
	// Nobody answers: as a socket does that drops what arrives, behind conntrack.
	for _, port := range []int{8080, 8081} {
		h.Run(f.command, "-t", "raw", "-A", "OUTPUT", "-p", "tcp", "--sport", fmt.Sprint(port), "-j", "DROP") // no reset
		if _, err := lan.Dial("tcp"+f.suffix, f.say(fmt.Sprintf("192.0.2.1:%d", port)), 100*time.Millisecond); err == nil {
			t.Fatal("somebody has answered")
		}
	}
	tracked := func() (seen []uint16) {
		all, err := netlink.ConntrackTableList(netlink.ConntrackTable, f.number)
		if err != nil {
			t.Fatal(err)
		}
		for _, flow := range all {
			seen = append(seen, flow.Forward.DstPort)
		}
		slices.Sort(seen)
		return seen
	}
	if got := tracked(); !slices.Equal(got, []uint16{8080, 8081, 8082}) {
		t.Fatalf("tracked are %v", got)
	}
	came := udp(f.say("0.0.0.0:8081 172.18.0.2:80"), 2)
	came.Proto = model.TCP
	if err := Forget(context.Background(), Change{Came: ports(came)}); err != nil {
		t.Fatal(err)
	}
	if got := tracked(); !slices.Equal(got, []uint16{8080, 8082}) {
		t.Errorf("tracked are %v, want 8080, of somebody else, and 8082, which is answered", got)
	}
}

// One call forgets what is wrong among many flows, in one pass.
func TestManyFlows(t *testing.T) { inBoth(t, testManyFlows) }

func testManyFlows(t *testing.T, f testFamily) {
	h := nettest.New(t)
	h.Address("lo", f.say("192.0.2.1/32"))
	h.Run(f.command, "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW")
	// Flows that are made while another namespace ends can vanish with it.
	nettest.Eventually(t, 5*time.Second, func() error {
		tracked := f.flows(t)
		for port := 9000; port < 9400; port++ {
			to := f.say(fmt.Sprintf("192.0.2.1:%d", port))
			if slices.Contains(tracked, to+" "+to) {
				continue
			}
			c, err := h.Dial("udp"+f.suffix, to, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte("x"))
			c.Close()
		}
		if n := len(f.flows(t)); n != 400 {
			return fmt.Errorf("%d flows", n)
		}
		return nil
	})
	if err := Forget(context.Background(), Change{Came: ports(udp(f.say("0.0.0.0:9000 172.18.0.2:80"), 100)), Gone: ports(udp(f.say("192.0.2.1:9200 172.18.0.2:300"), 100))}); err != nil {
		t.Fatal(err)
	}
	left := f.flows(t)
	if len(left) != 200 || !strings.HasPrefix(left[0], f.say("192.0.2.1:9100 ")) || !strings.HasPrefix(left[199], f.say("192.0.2.1:9399 ")) {
		t.Errorf("%d flows left: %q", len(left), left)
	}
}
