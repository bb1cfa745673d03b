package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// at6 is a port of withContainer's host at its IPv6 address.
func at6(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(containerAddr6), uint16(port))
}

// both asks for a host port on every address, and leads each family to the container's
// own address of that family.
func both(proto model.Proto, first, last, to int) model.PortRequest {
	req := request(proto, "", first, last, to)
	req.V6.Container = at6(to)
	return req
}

// Whatever family a client and a container speak, whatever address of the host the client
// asks, it is answered, and from that address.
func TestEveryFamilyIsRelayedToEveryFamily(t *testing.T) {
	host, container := withContainer(t)
	warm(t, host, container, containerAddr6)
	for _, network := range []string{"tcp", "udp"} {
		container.Echo(network, "[::]:80")
	}
	lan := withLAN(t, host)
	m := start(t, Config{})
	type asked struct {
		by      *nettest.Host
		address string
	}
	v4 := []asked{{host, "127.0.0.1"}, {host, "127.0.0.9"}, {host, "172.30.0.1"}, {host, "192.0.2.9"}, {lan, "192.0.2.1"}, {lan, "192.0.2.9"}, {container, "172.30.0.1"}}
	v6 := []asked{{host, "[::1]"}, {host, "[fd00:30::1]"}, {host, "[fd00:5::9]"}, {lan, "[fd00:5::1]"}, {lan, "[fd00:5::9]"}, {lan, "[fe80::5:1%eth0]"},
		{container, "[fd00:30::1]"}, {container, "[fe80::30:1%eth0]"}, {host, "[fe80::30:1%vh0]"}, {host, "[fe80::5:1%lan0]"}}
	for _, published := range []struct {
		host    string
		clients []asked
	}{
		{"0.0.0.0", v4},
		{"::", v6},
		{"127.0.0.1", []asked{{host, "127.0.0.1"}}},
		{"::1", []asked{{host, "[::1]"}}},
		{"192.0.2.9", []asked{{host, "192.0.2.9"}, {lan, "192.0.2.9"}}},
		{"fd00:5::9", []asked{{host, "[fd00:5::9]"}, {lan, "[fd00:5::9]"}}},
	} {
		for _, to := range []netip.AddrPort{at(80), at6(80)} {
			var bindings []model.PortBinding
			for _, proto := range []model.Proto{model.TCP, model.UDP} {
				bindings = append(bindings, model.PortBinding{Proto: proto, Host: netip.AddrPortFrom(netip.MustParseAddr(published.host), 8080), Container: to, Count: 1})
			}
			apply(t, m, setOf("a", bindings))
			for _, c := range published.clients {
				address := c.address + ":8080"
				if answer, err := c.by.Ask("tcp", address, patience); err != nil || answer.Server != "container" || answer.Client.Addr().Is4() != to.Addr().Is4() {
					t.Errorf("%s to %s: %s asks tcp %s: %v %v", published.host, to, c.by.Name, address, answer, err)
				}
				greeting, echo, err := say(client(t, c.by, address), "hello") // hears nobody but that address
				if err != nil || !strings.HasPrefix(greeting, "container ") || echo != "hello" {
					t.Errorf("%s to %s: %s asks udp %s: %q %q %v", published.host, to, c.by.Name, address, greeting, echo, err)
				}
			}
		}
	}
}

func TestBothFamiliesAreHeldAndServedAfterARestart(t *testing.T) {
	host, container := withContainer(t)
	warm(t, host, container, containerAddr6)
	for _, network := range []string{"tcp", "udp"} {
		container.Echo(network, "[::]:80")
	}
	first := New(Config{})
	want := publish(t, first, both(model.TCP, 0, 0, 80), both(model.UDP, 0, 0, 80))
	held := bound(t)
	if len(want.Bindings) != 4 {
		t.Fatal(want)
	}
	for i := range 2 { // sorted by protocol and host
		v4, v6 := want.Bindings[2*i].PortBinding, want.Bindings[2*i+1].PortBinding
		if v4.Host.Port() != v6.Host.Port() || v4.Container != at(80) || v6.Container != at6(80) {
			t.Errorf("%s\n%s", v4, v6)
		}
	}
	first.Close()
	m := start(t, Config{})
	apply(t, m, want)
	if got := bound(t); fmt.Sprint(got) != fmt.Sprint(held) {
		t.Errorf("have %v\nwant %v", got, held)
	}
	for _, b := range want.Bindings {
		loopback := map[bool]string{true: "127.0.0.1", false: "[::1]"}[b.Host.Addr().Is4()]
		answer, err := host.Ask(b.Proto.String(), fmt.Sprintf("%s:%d", loopback, b.Host.Port()), patience)
		if err != nil || answer.Server != "container" || answer.Client.Addr().Is4() != b.Host.Addr().Is4() {
			t.Errorf("%s: %v %v", b, answer, err)
		}
	}
}

// A host without IPv6 loses what was asked for everywhere in that family, and nothing that
// was asked for by an address.
func TestWhatIsGivenUpWithoutIPv6(t *testing.T) {
	withoutIPv6(t, nettest.Process(t))
	m := start(t, Config{Root: settings(t, "20000 20009", "")})
	named := both(model.TCP, 81, 81, 80)
	named.V4.Host = netip.MustParseAddr("127.0.0.1")
	got, _ := reserve(t, m, "a", both(model.TCP, 80, 80, 80), both(model.UDP, 0, 0, 80), named)
	want := "tcp 0.0.0.0:80 -> 172.30.0.2:80\ntcp 127.0.0.1:81 -> 172.30.0.2:80\ntcp [::]:81 -> [fd00:30::2]:80\nudp 0.0.0.0:20005 -> 172.30.0.2:80"
	if text(got) != want {
		t.Errorf("have\n%s\nwant\n%s", text(got), want)
	}
}

// Runs of either family are joined by themselves, also where they lead into another one.
func TestRangesOfBothFamilies(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	var reqs []model.PortRequest
	for i := range 10 {
		reqs = append(reqs, both(model.TCP, 8000+i, 8000+i, 80+i))
	}
	reqs[9].V6.Container = at(89)
	got, _ := reserve(t, m, "a", reqs...)
	want := "tcp 0.0.0.0:8000-8009 -> 172.30.0.2:80-89\ntcp [::]:8000-8008 -> [fd00:30::2]:80-88\ntcp [::]:8009 -> 172.30.0.2:89"
	if text(got) != want {
		t.Errorf("have\n%s\nwant\n%s", text(got), want)
	}
	foreign(t, "tcp6", "[::1]:8010")
	if _, _, err := m.Reserve("b", []model.PortRequest{both(model.TCP, 8010, 8010, 80)}); err == nil || err.Error() != "failed to bind host port for [::]:8010:[fd00:30::2]:80/tcp: address already in use" {
		t.Error(err)
	}
}

// One family of a port that one socket holds for both is given up: the other one is held and
// served still, and the one that was given up is anybody's.
func TestOneOfTwoFamiliesIsGivenUp(t *testing.T) {
	host, container := withContainer(t)
	warm(t, host, container, containerAddr6)
	for _, proto := range []model.Proto{model.TCP, model.UDP} {
		container.Echo(proto.String(), "[::]:80")
		for _, keep := range []struct{ kept, free, address, other string }{
			{"0.0.0.0", "6 [::]:8080", "127.0.0.1:8080", "4 0.0.0.0:8080"},
			{"::", "4 0.0.0.0:8080", "[::1]:8080", "6 [::]:8080"},
		} {
			m := start(t, Config{})
			before := openSockets(t)
			want := publish(t, m, both(proto, 8080, 8080, 80))
			if n := openSockets(t) - before; n != 1 {
				t.Errorf("%s: %d sockets hold both families, want 1", proto, n)
			}
			one := Set{Bindings: slices.DeleteFunc(slices.Clone(want.Bindings), func(b Binding) bool { return b.Host.Addr() != netip.MustParseAddr(keep.kept) })}
			apply(t, m, one)
			if answer, err := host.Ask(proto.String(), keep.address, patience); err != nil || answer.Server != "container" {
				t.Errorf("%s %s: %v %v", proto, keep.address, answer, err)
			}
			for network, refused := range map[string]bool{keep.free: false, keep.other: true} {
				network, address, _ := strings.Cut(proto.String()+network, " ")
				if got := otherProcess(t, network, address); (got == "address already in use") != refused || !refused && got != "" {
					t.Errorf("%s is kept: %s %s: %q", keep.kept, network, address, got)
				}
			}
			apply(t, m, want) // both again, by two sockets
			if got := bound(t); len(got) != 2 {
				t.Errorf("%s: %v", proto, got)
			}
			apply(t, m, Set{})
			m.Close()
		}
	}
}

// What is relayed of one family says nothing of the other: packets of the one that nothing
// has adopted yet are dropped, although one socket has both.
func TestAFamilyThatIsNotAdoptedIsDropped(t *testing.T) {
	host, container := withContainer(t)
	warm(t, host, container, containerAddr6)
	container.Echo("tcp", "[::]:80")
	m := start(t, Config{})
	bindings, release := reserve(t, m, "a", both(model.TCP, 8080, 8080, 80))
	v4 := setOf("a", bindings[:1])
	apply(t, m, v4) // the reservation keeps the other one
	if answer, err := host.Ask("tcp", "127.0.0.1:8080", patience); err != nil || answer.Server != "container" {
		t.Errorf("%v %v", answer, err)
	}
	if c, err := host.Dial("tcp", "[::1]:8080", 100*time.Millisecond); !isTimeout(err) {
		t.Errorf("%v %v, want silence", c, err)
	}
	release()
	if answer, err := host.Ask("tcp", "127.0.0.1:8080", patience); err != nil || answer.Server != "container" {
		t.Errorf("after the release: %v %v", answer, err)
	}
	if c, err := host.Dial("tcp", "[::1]:8080", patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v %v, want a refusal", c, err)
	}
}
