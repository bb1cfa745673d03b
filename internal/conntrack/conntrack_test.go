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
	"github.com/mybr/mybr/internal/plan"
)

// udp is a binding, as "0.0.0.0:53 172.18.0.2:53".
func udp(spec string, count uint16) model.PortBinding {
	host, to, _ := strings.Cut(spec, " ")
	return model.PortBinding{Proto: model.UDP, Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(to), Count: count}
}

func ports(b ...model.PortBinding) []model.PortBinding { return b }

func TestMisled(t *testing.T) {
	type change struct{ gone, came []model.PortBinding }
	const host, a, b = "192.0.2.1", "172.18.0.2", "172.18.0.3"
	for _, c := range []struct {
		name           string
		change         change
		asked, answers string
		want           bool
	}{
		{"came: led to the host itself", change{came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", host + ":53", true},
		{"came: led to another", change{came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", b + ":53", true},
		{"came: led to another port", change{came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", a + ":54", true},
		{"came: leads there", change{came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", a + ":53", false},
		{"came: other port", change{came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":54", host + ":54", false},
		{"came: through the host", change{came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, "8.8.8.8:53", "8.8.8.8:53", false},
		{"came: an address that was the host's", change{came: ports(udp("0.0.0.0:53 "+a+":53", 1))}, "192.0.2.9:53", b + ":53", true},
		{"came: other address", change{came: ports(udp("192.0.2.7:53 "+a+":53", 1))}, host + ":53", host + ":53", false},
		{"came: that address", change{came: ports(udp(host+":53 "+a+":53", 1))}, host + ":53", host + ":53", true},
		{"came: range, right", change{came: ports(udp("0.0.0.0:9000 "+a+":80", 10))}, host + ":9009", a + ":89", false},
		{"came: range, wrong", change{came: ports(udp("0.0.0.0:9000 "+a+":80", 10))}, host + ":9009", a + ":88", true},
		{"came: behind the range", change{came: ports(udp("0.0.0.0:9000 "+a+":80", 10))}, host + ":9010", b + ":80", false},
		{"came: before the range", change{came: ports(udp("0.0.0.0:9000 "+a+":80", 10))}, host + ":8999", b + ":80", false},
		{"came: last port", change{came: ports(udp("0.0.0.0:65535 "+a+":80", 1))}, host + ":65535", b + ":80", true},
		{"gone: led there", change{gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", a + ":53", true},
		{"gone: led there by another port", change{gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":99", a + ":53", true},
		{"gone: to the port", change{gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":53", host + ":53", true},
		{"gone: to the container itself", change{gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, a + ":53", a + ":53", false},
		{"gone: through the host", change{gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, "8.8.8.8:53", "8.8.8.8:53", false},
		{"gone: other", change{gone: ports(udp("0.0.0.0:53 "+a+":53", 1))}, host + ":54", b + ":54", false},
		{"moved: follows already", change{gone: ports(udp("0.0.0.0:53 "+a+":53", 1)), came: ports(udp("0.0.0.0:53 "+b+":53", 1))}, host + ":53", b + ":53", false},
		{"moved: doesn't follow", change{gone: ports(udp("0.0.0.0:53 "+a+":53", 1)), came: ports(udp("0.0.0.0:53 "+b+":53", 1))}, host + ":53", a + ":53", true},
	} {
		f := filter{gone: relevant(model.IPv4, c.change.gone, model.UDP), came: relevant(model.IPv4, c.change.came, model.UDP),
			local: map[netip.Addr]bool{netip.MustParseAddr(host): true}}
		if got := f.misled(netip.MustParseAddrPort(c.asked), netip.MustParseAddrPort(c.answers)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// What the process relays by design is not translated, and is no stale flow.
func TestRelayedFlowsAreNotStale(t *testing.T) {
	web := model.PortBinding{Proto: model.UDP, Host: netip.MustParseAddrPort("0.0.0.0:53"), Container: netip.MustParseAddrPort("172.18.0.2:53"), Count: 1}
	for _, c := range []struct {
		name, from, asked string
		stale             bool
	}{
		{"from the LAN", "192.0.2.9:4242", "192.0.2.1:53", true},
		{"from the host to 127.0.0.1", "127.0.0.1:4242", "127.0.0.1:53", false},
		{"from a neighbour that is kept apart", "172.18.0.3:4242", "172.18.0.1:53", false},
		{"from a neighbour on another such network", "172.19.0.3:4242", "172.18.0.1:53", true},
	} {
		f := filter{came: ports(web), relayed: []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16"), netip.MustParsePrefix("172.19.0.0/16")},
			local: map[netip.Addr]bool{}}
		for _, a := range []string{"192.0.2.1", "127.0.0.1", "172.18.0.1"} {
			f.local[netip.MustParseAddr(a)] = true
		}
		asked := netip.MustParseAddrPort(c.asked)
		if got := f.stale(flow{proto: model.UDP, from: netip.MustParseAddrPort(c.from), asked: asked, answers: asked}); got != c.stale {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	six := model.PortBinding{Proto: model.UDP, Host: netip.MustParseAddrPort("[::]:53"), Container: netip.MustParseAddrPort("[fd00::2]:53"), Count: 1}
	f := filter{came: ports(six), local: map[netip.Addr]bool{netip.MustParseAddr("fe80::1"): true}}
	asked := netip.MustParseAddrPort("[fe80::1]:53")
	if f.stale(flow{proto: model.UDP, from: netip.MustParseAddrPort("[fe80::9]:4242"), asked: asked, answers: asked}) {
		t.Error("a client with a link-local address is stale")
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
		f := filter{came: relevant(model.IPv4, ports(model.PortBinding{Proto: model.UDP, Count: uint16(count),
			Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(first)), Container: netip.AddrPortFrom(to, uint16(base))}), model.UDP)}
		want := i >= 0 && i < count && shift != 0
		if got := f.misled(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(asked)), netip.AddrPortFrom(to, uint16(answers))); got != want {
			r.Errorf("%d of %d: %v", i, count, got)
		}
	})
}

// What a set has that another has not.
func TestDifference(t *testing.T) {
	a, b := udp("0.0.0.0:53 172.18.0.2:53", 1), udp("0.0.0.0:54 172.18.0.2:54", 1)
	tcp := a
	tcp.Proto = model.TCP
	at := func(id string, addresses ...string) Endpoint {
		e := Endpoint{ID: id}
		for _, text := range addresses {
			if address := netip.MustParseAddr(text); address.Is4() {
				e.V4 = address
			} else {
				e.V6 = address
			}
		}
		return e
	}
	both := at("1", "172.18.0.2", "fd00:18::2")
	for _, c := range []struct {
		name             string
		have             *Set
		want             Set
		gone, came, left string
	}{
		{"nothing known", nil, Set{Bindings: ports(a, tcp), Endpoints: []Endpoint{both}}, "[]", fmt.Sprint(ports(a, tcp)), "[]"},
		{"the same", &Set{Bindings: ports(a, tcp), Endpoints: []Endpoint{both}}, Set{Bindings: ports(tcp, a), Endpoints: []Endpoint{both}}, "[]", "[]", "[]"},
		{"unsure", &Set{Bindings: ports(a, b, tcp), Unsure: true}, Set{Bindings: ports(a, tcp)}, fmt.Sprint(ports(b)), fmt.Sprint(ports(a, tcp)), "[]"},
		{"one comes", &Set{Bindings: ports(a)}, Set{Bindings: ports(a, tcp)}, "[]", fmt.Sprint(ports(tcp)), "[]"},
		{"of those that go, UDP", &Set{Bindings: ports(a, tcp)}, Set{}, fmt.Sprint(ports(a)), "[]", "[]"},
		{"one moves", &Set{Bindings: ports(a)}, Set{Bindings: ports(b)}, fmt.Sprint(ports(a)), fmt.Sprint(ports(b)), "[]"},
		{"an endpoint goes", &Set{Endpoints: []Endpoint{both}}, Set{}, "[]", "[]", "[172.18.0.2 fd00:18::2]"},
		{"another one has its address", &Set{Endpoints: []Endpoint{both}}, Set{Endpoints: []Endpoint{at("2", "172.18.0.2", "fd00:18::2")}}, "[]", "[]", "[172.18.0.2 fd00:18::2]"},
		{"it loses one", &Set{Endpoints: []Endpoint{both}}, Set{Endpoints: []Endpoint{at("1", "172.18.0.2")}}, "[]", "[]", "[fd00:18::2]"},
		{"it gets another", &Set{Endpoints: []Endpoint{both}}, Set{Endpoints: []Endpoint{at("1", "172.18.0.3", "fd00:18::2")}}, "[]", "[]", "[172.18.0.2]"},
		{"one without addresses", &Set{Endpoints: []Endpoint{{ID: "3"}}}, Set{}, "[]", "[]", "[]"},
	} {
		got := difference(c.have, c.want)
		if fmt.Sprint(got.gone) != c.gone || fmt.Sprint(got.came) != c.came || fmt.Sprint(got.left) != c.left {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestNothingToDo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // whatever is read fails
	tcp := udp("0.0.0.0:53 172.18.0.2:53", 1)
	tcp.Proto = model.TCP
	tcp6 := udp("[::]:53 [fd00:18::2]:53", 1)
	tcp6.Proto = model.TCP
	relayed, relayedToo := udp("[::]:53 172.18.0.2:53", 1), udp("0.0.0.0:53 [fd00:18::2]:53", 1)
	a := &Applier{}
	if p, err := a.Plan(ctx, &Set{Bindings: ports(tcp, tcp6, relayed)}, Set{Bindings: ports(relayedToo)}); err != nil || len(p) > 0 {
		t.Error(p, err)
	}
	gone := func(addresses ...string) *Set {
		var s Set
		for _, text := range addresses {
			s.Endpoints = append(s.Endpoints, Endpoint{ID: text, V6: netip.MustParseAddr(text)})
		}
		return &s
	}
	for _, c := range []struct {
		have *Set
		want Set
		read string
	}{
		{&Set{Bindings: ports(udp("0.0.0.0:53 172.18.0.2:53", 1))}, Set{}, "IPv4"},
		{nil, Set{Bindings: ports(udp("[::]:53 [fd00:18::2]:53", 1))}, "IPv6"},
		{&Set{}, Set{Bindings: ports(tcp6)}, "IPv6"},
		{gone("172.18.0.2"), Set{}, "IPv4"},
		{gone("fd00:18::2"), Set{}, "IPv6"},
		{gone("fd00:18::2", "172.18.0.2"), Set{}, "IPv4 IPv6"},
	} {
		var read []string
		if d := difference(c.have, c.want); d.canWait(c.have, c.want) {
			for _, f := range model.Families() {
				if match := d.filter(f); !match.empty() {
					read = append(read, f.String())
				}
			}
			if p, err := a.Plan(ctx, c.have, c.want); err != nil || len(p) != 1 || len(p.Changes()) > 0 || strings.Join(read, " ") != c.read {
				t.Errorf("%+v: later looked into %v, want %s: %v %v", c.have, read, c.read, p, err)
			}
			continue
		}
		err := a.Apply(ctx, c.have, c.want)
		for _, f := range model.Families() {
			if strings.Contains(fmt.Sprint(err), "conntrack: "+f.String()+": addresses of the host: context canceled") {
				read = append(read, f.String())
			}
		}
		if subjects, rest := plan.Blame(err); !errors.Is(rest, context.Canceled) || len(subjects) > 0 || strings.Join(read, " ") != c.read {
			t.Errorf("%+v: looked into %v, want %s: %v", c.have, read, c.read, err)
		}
	}
}

func TestRetry(t *testing.T) {
	for _, interrupted := range []error{netlink.ErrDumpInterrupted, unix.EINTR, fmt.Errorf("dump: %w", netlink.ErrDumpInterrupted)} {
		n := 0
		err := retry(t.Context(), func() error {
			if n++; n < 3 {
				return interrupted
			}
			return nil
		})
		if err != nil || n != 3 {
			t.Errorf("%v: %d calls, error %v", interrupted, n, err)
		}
		n = 0
		if err := retry(t.Context(), func() error { n++; return interrupted }); !errors.Is(err, interrupted) || n != attempts {
			t.Errorf("%v for ever: %d calls, error %v", interrupted, n, err)
		}
	}
	n := 0
	if err := retry(t.Context(), func() error { n++; return unix.EPERM }); !errors.Is(err, unix.EPERM) || n != 1 {
		t.Errorf("%d calls, error %v", n, err)
	}
}

// inBoth runs a test in each family. What it writes for IPv4 it says through the family.
func inBoth(t *testing.T, test func(t *testing.T, f testFamily)) {
	for _, f := range []testFamily{{model.IPv4, "iptables", "4"}, {model.IPv6, "ip6tables", "6"}} {
		t.Run(f.String(), func(t *testing.T) { test(t, f) })
	}
}

type testFamily struct {
	model.Family
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

// server returns the name of the server that answers.
func (c *client) server() string {
	c.t.Helper()
	a, err := nettest.AskOn(c.c, 2*time.Second)
	if err != nil {
		c.t.Fatal(err)
	}
	return a.Server
}

// tracked lists the flows of the namespace.
func (f testFamily) tracked(t *testing.T) []flow {
	t.Helper()
	all, err := list(t.Context(), nil, f.Family, query{}, func(flow) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// apply applies and fails the test on an error; it returns what was changed, in words.
func apply(t *testing.T, have *Set, want Set) []string {
	t.Helper()
	var later []string
	a := &Applier{unkept: errors.ErrUnsupported, Forgot: func(changes []string) { later = append(later, changes...) }}
	p, err := a.Plan(t.Context(), have, want)
	if err := errors.Join(err, p.Do(t.Context()), a.Wait(t.Context())); err != nil {
		t.Fatal(err)
	}
	return append(p.Changes(), later...)
}

// flows lists the UDP flows of the namespace, as "ASKED ANSWERS", sorted.
func (f testFamily) flows(t *testing.T) (out []string) {
	t.Helper()
	for _, l := range f.tracked(t) {
		if l.proto == model.UDP {
			out = append(out, fmt.Sprintf("%s %s", l.asked, l.answers))
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
		lead          string
		have, want    []model.PortBinding
		before, after string
		led           string // where the flow led that is forgotten
	}{
		{f.say("172.18.0.2:53"), nil, ports(toA), "host", "a", ""},
		{f.say("172.18.1.2:53"), ports(toA), ports(toB), "a", "b", f.say(", which leads to 172.18.0.2:53")},
		{f.say("192.0.2.1:53"), ports(toB), nil, "b", "host", f.say(", which leads to 172.18.1.2:53")},
	} {
		if got := toPort.server(); got != step.before {
			t.Fatalf("%s answers instead of %s", got, step.before)
		}
		lead(step.lead)
		if got := toPort.server(); got != step.before {
			t.Fatalf("the flow has left %s for %s by itself", step.before, got)
		}
		changes := []string{fmt.Sprintf("conntrack: forget udp %s -> %s%s", toPort.c.LocalAddr(), f.say("192.0.2.1:53"), step.led)}
		if got := apply(t, &Set{Bindings: step.have}, Set{Bindings: step.want}); !slices.Equal(got, changes) {
			t.Errorf("changes %q, want %q", got, changes)
		}
		if left := f.flows(t); !slices.Equal(left, []string{f.say("192.0.2.2:53 192.0.2.2:53")}) {
			t.Fatalf("flows that are left: %q", left)
		}
		if got := toPort.server(); got != step.after {
			t.Fatalf("%s answers instead of %s", got, step.after)
		}
		if got := apply(t, nil, Set{Bindings: step.want}); len(got) > 0 {
			t.Errorf("everything leads to the right place, and yet: %q", got)
		}
		if left := f.flows(t); len(left) != 2 {
			t.Fatalf("a flow is gone that leads to the right place: %q", left)
		}
	}
}

// Of a container that left, every flow is forgotten, of any protocol and in any direction;
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
	left := netip.MustParseAddr(f.say("172.18.0.2"))
	apply(t, &Set{Endpoints: []Endpoint{{ID: "a", V4: left}}}, Set{})
	others := map[string]bool{} // a connection may have been tried twice
	for _, l := range f.tracked(t) {
		if l.from.Addr() == left || l.answers.Addr() == left {
			t.Errorf("left: %s", l)
		}
		others[fmt.Sprint(l.proto, l.from.Addr(), l.asked.Addr())] = true
	}
	if len(others) != 4 {
		t.Errorf("%v are left, want the 4 of the others", others)
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
	// No answer is sent, as by a socket that drops what arrives, behind conntrack.
	for _, port := range []int{8080, 8081} {
		h.Run(f.command, "-t", "raw", "-A", "OUTPUT", "-p", "tcp", "--sport", fmt.Sprint(port), "-j", "DROP") // no reset
		if _, err := lan.Dial("tcp"+f.suffix, f.say(fmt.Sprintf("192.0.2.1:%d", port)), 100*time.Millisecond); err == nil {
			t.Fatal("somebody has answered")
		}
	}
	tracked := func() (seen []uint16) {
		for _, l := range f.tracked(t) {
			seen = append(seen, l.asked.Port())
		}
		slices.Sort(seen)
		return seen
	}
	if got := tracked(); !slices.Equal(got, []uint16{8080, 8081, 8082}) {
		t.Fatalf("tracked are %v", got)
	}
	came := udp(f.say("0.0.0.0:8081 172.18.0.2:80"), 2)
	came.Proto = model.TCP
	apply(t, nil, Set{Bindings: ports(came)})
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
	have, want := ports(udp(f.say("192.0.2.1:9200 172.18.0.2:300"), 100)), ports(udp(f.say("0.0.0.0:9000 172.18.0.2:80"), 100))
	if got := apply(t, &Set{Bindings: have}, Set{Bindings: want}); len(got) != told+1 || got[told] != "conntrack: forget 180 more flows" {
		t.Errorf("changes %q", got)
	}
	left := f.flows(t)
	if len(left) != 200 || !strings.HasPrefix(left[0], f.say("192.0.2.1:9100 ")) || !strings.HasPrefix(left[199], f.say("192.0.2.1:9399 ")) {
		t.Errorf("%d flows left: %q", len(left), left)
	}
}
