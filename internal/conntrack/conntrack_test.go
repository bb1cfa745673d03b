package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
		f := filter{gone: relevant(c.change.Gone, model.UDP), came: relevant(c.change.Came, model.UDP),
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
		f := filter{came: relevant(ports(model.PortBinding{Proto: model.UDP, Count: uint16(count),
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
	v6 := udp("[::]:53 172.18.0.2:53", 1)
	if err := Forget(ctx, Change{Gone: ports(tcp, v6), Came: ports(v6), Left: []netip.Addr{netip.MustParseAddr("fd00::2")}}); err != nil {
		t.Error(err)
	}
	if err := Forget(ctx, Change{Gone: ports(udp("0.0.0.0:53 172.18.0.2:53", 1))}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
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

// client keeps one UDP socket, so that all it sends is one flow.
type client struct {
	t *testing.T
	c net.Conn
}

func newClient(t *testing.T, from *nettest.Host, to string) *client {
	t.Helper()
	c, err := from.Dial("udp4", to, time.Second)
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
func flows(t *testing.T) (out []string) {
	t.Helper()
	all, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.Forward.Protocol == unix.IPPROTO_UDP {
			out = append(out, fmt.Sprintf("%s:%d %s:%d", f.Forward.DstIP, f.Forward.DstPort, f.Reverse.SrcIP, f.Reverse.SrcPort))
		}
	}
	slices.Sort(out)
	return out
}

// A client that goes on sending is led to the new place of a port as soon as its flow
// is forgotten, and not before; flows of others are left alone.
func TestPortChangesHands(t *testing.T) {
	h := nettest.New(t)
	lan, a, b := h.Peer("lan"), h.Peer("a"), h.Peer("b")
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{"192.0.2.1/24"}}, lan, nettest.End{Name: "eth0", Addresses: []string{"192.0.2.2/24"}})
	for i, c := range []*nettest.Host{a, b} {
		h.Connect(nettest.End{Name: "v" + c.Name, Addresses: []string{fmt.Sprintf("172.18.%d.1/24", i)}}, c,
			nettest.End{Name: "eth0", Addresses: []string{fmt.Sprintf("172.18.%d.2/24", i)}})
		c.Route("0.0.0.0/0", fmt.Sprintf("172.18.%d.1", i))
		c.Echo("udp4", "0.0.0.0:53")
	}
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Echo("udp4", "0.0.0.0:53")
	lan.Echo("udp4", "0.0.0.0:53")
	// Flows are tracked where a rule asks for it; the container's own requests too.
	h.Run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "172.18.0.0/16", "-o", "eth0", "-j", "MASQUERADE")
	lead := func(to string) {
		h.Run("iptables", "-t", "nat", "-R", "PREROUTING", "1", "-p", "udp", "-d", "192.0.2.1", "--dport", "53", "-j", "DNAT", "--to-destination", to)
	}
	h.Run("iptables", "-t", "nat", "-A", "PREROUTING", "-j", "RETURN")

	toPort, through := newClient(t, lan, "192.0.2.1:53"), newClient(t, a, "192.0.2.2:53")
	toA, toB := udp("0.0.0.0:53 172.18.0.2:53", 1), udp("192.0.2.1:53 172.18.1.2:53", 1)
	if got := through.server(); got != "lan" {
		t.Fatal(got)
	}
	for _, step := range []struct {
		lead   string
		change Change
		before string
		after  string
	}{
		{"172.18.0.2:53", Change{Came: ports(toA)}, "host", "a"},
		{"172.18.1.2:53", Change{Gone: ports(toA), Came: ports(toB)}, "a", "b"},
		{"192.0.2.1:53", Change{Gone: ports(toB)}, "b", "host"},
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
		if left := flows(t); !slices.Equal(left, []string{"192.0.2.2:53 192.0.2.2:53"}) {
			t.Fatalf("flows that are left: %q", left)
		}
		if got := toPort.server(); got != step.after {
			t.Fatalf("%s answers instead of %s", got, step.after)
		}
		if err := Forget(context.Background(), Change{Came: step.change.Came}); err != nil {
			t.Fatal(err)
		}
		if left := flows(t); len(left) != 2 {
			t.Fatalf("a flow is gone that leads to the right place: %q", left)
		}
	}
}

// Of a container that left, every flow is forgotten, of any protocol, whoever began it;
// those of others stay.
func TestContainerLeaves(t *testing.T) {
	h := nettest.New(t)
	lan, a, b := h.Peer("lan"), h.Peer("a"), h.Peer("b")
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{"192.0.2.1/24"}}, lan, nettest.End{Name: "eth0", Addresses: []string{"192.0.2.2/24"}})
	for i, c := range []*nettest.Host{a, b} {
		h.Connect(nettest.End{Name: "v" + c.Name, Addresses: []string{fmt.Sprintf("172.18.%d.1/24", i)}}, c,
			nettest.End{Name: "eth0", Addresses: []string{fmt.Sprintf("172.18.%d.2/24", i)}})
		c.Route("0.0.0.0/0", fmt.Sprintf("172.18.%d.1", i))
	}
	lan.Route("172.18.0.0/16", "192.0.2.1")
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "172.18.0.0/16", "-o", "eth0", "-j", "MASQUERADE")
	h.Run("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-d", "192.0.2.1", "--dport", "54", "-j", "DNAT", "--to-destination", "172.18.0.2:53")
	for _, network := range []string{"tcp4", "udp4"} {
		for _, server := range []*nettest.Host{lan, a, b} {
			server.Echo(network, "0.0.0.0:53")
		}
		ask := func(from *nettest.Host, to string) {
			nettest.Eventually(t, 5*time.Second, func() error { _, err := from.Ask(network, to, time.Second); return err })
		}
		ask(a, "192.0.2.2:53")    // out, masqueraded
		ask(b, "192.0.2.2:53")    // not a's
		ask(h, "172.18.0.2:53")   // in from the host
		ask(b, "172.18.0.2:53")   // in from elsewhere
		ask(lan, "172.18.1.2:53") // not a's
		if network == "tcp4" {
			ask(lan, "192.0.2.1:54") // in, translated
		}
	}
	if err := Forget(context.Background(), Change{Left: []netip.Addr{netip.MustParseAddr("172.18.0.2")}}); err != nil {
		t.Fatal(err)
	}
	all, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if text := f.String(); strings.Contains(text, "172.18.0.2") {
			t.Errorf("left: %s", text)
		}
	}
	if len(all) != 4 {
		t.Errorf("%d flows are left, want the 4 of the others: %v", len(all), all)
	}
}

// A connection begun while its port was reserved, and dropped what arrives, would go past
// the rules that have come since, for as long as its client tries.
func TestConnectionBegunEarly(t *testing.T) {
	h := nettest.New(t)
	lan := h.Peer("lan")
	h.Connect(nettest.End{Name: "eth0", Addresses: []string{"192.0.2.1/24"}}, lan, nettest.End{Name: "eth0", Addresses: []string{"192.0.2.2/24"}})
	h.Run("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "8080:8081", "-m", "conntrack", "--ctstate", "NEW") // turns tracking on
	h.Echo("tcp4", "0.0.0.0:8082")
	if _, err := lan.Ask("tcp4", "192.0.2.1:8082", 5*time.Second); err != nil { // an answered one
		t.Fatal(err)
	}
	// Nobody answers: as a socket does that drops what arrives, behind conntrack.
	for _, port := range []int{8080, 8081} {
		h.Run("iptables", "-t", "raw", "-A", "OUTPUT", "-p", "tcp", "--sport", fmt.Sprint(port), "-j", "DROP") // no reset
		if _, err := lan.Dial("tcp4", fmt.Sprintf("192.0.2.1:%d", port), 100*time.Millisecond); err == nil {
			t.Fatal("somebody has answered")
		}
	}
	tracked := func() (seen []uint16) {
		all, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			seen = append(seen, f.Forward.DstPort)
		}
		slices.Sort(seen)
		return seen
	}
	if got := tracked(); !slices.Equal(got, []uint16{8080, 8081, 8082}) {
		t.Fatalf("tracked are %v", got)
	}
	came := udp("0.0.0.0:8081 172.18.0.2:80", 2)
	came.Proto = model.TCP
	if err := Forget(context.Background(), Change{Came: ports(came)}); err != nil {
		t.Fatal(err)
	}
	if got := tracked(); !slices.Equal(got, []uint16{8080, 8082}) {
		t.Errorf("tracked are %v, want 8080, of somebody else, and 8082, which is answered", got)
	}
}

// One call forgets what is wrong among many flows, in one pass.
func TestManyFlows(t *testing.T) {
	h := nettest.New(t)
	h.Address("lo", "192.0.2.1/32")
	h.Run("iptables", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW")
	for port := 9000; port < 9400; port++ {
		c, err := h.Dial("udp4", fmt.Sprintf("192.0.2.1:%d", port), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("x"))
		c.Close()
	}
	if n := len(flows(t)); n != 400 {
		t.Fatalf("%d flows", n)
	}
	if err := Forget(context.Background(), Change{Came: ports(udp("0.0.0.0:9000 172.18.0.2:80", 100)), Gone: ports(udp("192.0.2.1:9200 172.18.0.2:300", 100))}); err != nil {
		t.Fatal(err)
	}
	left := flows(t)
	if len(left) != 200 || !strings.HasPrefix(left[0], "192.0.2.1:9100 ") || !strings.HasPrefix(left[199], "192.0.2.1:9399 ") {
		t.Errorf("%d flows left: %q", len(left), left)
	}
}
