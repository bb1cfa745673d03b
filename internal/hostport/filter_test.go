package hostport

import (
	"fmt"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// withInternal wires a namespace that plays a container of an internal network to a
// bridge of the host's, int0.
func withInternal(t *testing.T, host *nettest.Host, name string) *nettest.Host {
	t.Helper()
	if name == "internal" {
		host.Run("ip", "link", "add", "int0", "type", "bridge")
	}
	inner := host.Peer(name)
	host.Run("ip", "link", "set", "int0", "up")
	host.Connect(nettest.End{Name: name, Master: "int0"},
		inner, nettest.End{Name: "eth0", Addresses: []string{"172.31.0.2/24", "fd00:31::2/64", "fe80::31:2/64"}})
	for _, address := range []string{"172.31.0.1/24", "fd00:31::1/64", "fe80::31:1/64"} {
		host.Address("int0", address)
	}
	warm(t, host, inner, "172.31.0.2")
	warm(t, host, inner, "fd00:31::2")
	return inner
}

// What other networks publish is out of reach of a container of an internal network,
// whatever address it tries, and within that of all others.
func TestBlockedLinksReachNothingThatIsRelayed(t *testing.T) {
	host, container := withContainer(t)
	lan := withLAN(t, host)
	for _, network := range []string{"tcp4", "udp4"} {
		container.Echo(network, "0.0.0.0:80")
	}
	inner := withInternal(t, host, "internal")
	m := start(t, Config{})
	bindings, _ := reserve(t, m, "a", request(model.TCP, "", 8080, 8080, 80), request(model.UDP, "", 8080, 8080, 80))
	free := setOf("a", bindings)
	blocked := Set{Bindings: free.Bindings, Blocked: []string{"gone0", "int0"}}
	reach := func(when string, from *nettest.Host, want bool, addresses ...string) {
		t.Helper()
		for _, network := range []string{"tcp", "udp"} {
			for _, address := range addresses {
				wait := patience
				if !want {
					wait = 100 * time.Millisecond
				}
				if _, err := from.Ask(network, address+":8080", wait); (err == nil) != want {
					t.Errorf("%s: from %s to %s %s: %v", when, from.Name, network, address, err)
				}
			}
		}
	}
	others := func(when string) {
		t.Helper()
		reach(when, host, true, "127.0.0.1", "[::1]", "172.31.0.1", "[fd00:31::1]")
		reach(when, lan, true, "192.0.2.1", "[fd00:5::1]", "[fe80::5:1%eth0]")
	}
	mine := []string{"172.31.0.1", "[fd00:31::1]", "[fe80::31:1%eth0]"}

	apply(t, m, free)
	reach("free", inner, true, mine...)
	apply(t, m, blocked)
	reach("blocked", inner, false, mine...)
	others("blocked")
	for _, s := range sockets(m) { // the filter that there was was replaced
		if got := options(t, s)["filter"]; got != 4 {
			t.Errorf("%s: %d instructions", s.host, got)
		}
	}

	host.Run("ip", "link", "del", "int0")
	host.Run("ip", "link", "add", "int0", "type", "bridge")
	other := withInternal(t, host, "another")
	reach("made anew and not looked up", other, true, mine...)
	apply(t, m, blocked)
	reach("made anew", other, false, mine...)
	others("made anew")
	apply(t, m, free)
	reach("free again", other, true, mine...)
	for _, s := range sockets(m) {
		if got := options(t, s)["filter"]; got != 0 {
			t.Errorf("%s: %d instructions are left", s.host, got)
		}
	}
}

// A port that is published while links are blocked answers none of them, and
// one that was suspended keeps to it.
func TestBlockedLinksAreKeptFromPortsToCome(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	inner := withInternal(t, host, "internal")
	m := start(t, Config{})
	bindings, release := reserve(t, m, "a", request(model.TCP, "", 8080, 8080, 80), request(model.TCP, "127.0.0.1", 8081, 8081, 80))
	want := setOf("a", bindings)
	want.Blocked = []string{"int0"}
	apply(t, m, Set{Blocked: want.Blocked})
	refused := func(when string) {
		t.Helper()
		for _, address := range []string{"172.31.0.1:8080", "[fd00:31::1]:8080"} {
			if _, err := inner.Dial("tcp", address, 100*time.Millisecond); !isTimeout(err) {
				t.Errorf("%s: %s: %v, want silence", when, address, err)
			}
		}
		for _, address := range []string{"[::1]:8080", "127.0.0.1:8081"} {
			if answer, err := host.Ask("tcp", address, patience); err != nil || answer.Server != "container" {
				t.Errorf("%s: %s: %v %v", when, address, answer, err)
			}
		}
	}
	apply(t, m, want)
	refused("published")
	apply(t, m, want)
	refused("applied again")
	release()
	_, release = reserve(t, m, "a", request(model.TCP, "", 8080, 8080, 80))
	defer release()
	apply(t, m, Set{Blocked: want.Blocked}) // suspended
	apply(t, m, want)
	refused("suspended and adopted")
}

// A filter can hold every internal network of a big host; beyond that nothing is
// accepted.
func TestBlockingManyLinks(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	m := start(t, Config{})
	want := publish(t, m, request(model.TCP, "0.0.0.0", 8080, 8080, 80))
	for n := range 20 {
		name := fmt.Sprint("int", n)
		host.Run("ip", "link", "add", name, "type", "bridge")
		want.Blocked = append(want.Blocked, name)
	}
	apply(t, m, want)
	if answer, err := host.Ask("tcp", "127.0.0.1:8080", patience); err != nil || answer.Server != "container" {
		t.Error(answer, err)
	}
	s := sockets(m)[0]
	if err := m.adopt(s, s.target, Limit{}, make([]uint32, 5000)); err == nil {
		t.Error("no error")
	}
	if s.adopted || s.relays() || options(t, s)["filter"] != 1 {
		t.Errorf("%+v", s)
	}
	apply(t, m, want)
	if answer, err := host.Ask("tcp", "127.0.0.1:8080", patience); err != nil || answer.Server != "container" {
		t.Error(answer, err)
	}
}
