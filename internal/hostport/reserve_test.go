package hostport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

func TestConsecutivePortsAreOneBindingForEachHostAddress(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	var reqs []model.PortRequest
	for i := range 100 {
		reqs = append(reqs, request(model.TCP, "", 8000+i*37%100, 8000+i*37%100, 80+i*37%100))
	}
	got, _ := reserve(t, m, "a", reqs...)
	want := "tcp 0.0.0.0:8000-8099 -> 172.30.0.2:80-179\ntcp [::]:8000-8099 -> 172.30.0.2:80-179"
	if text(got) != want {
		t.Errorf("have\n%s\nwant\n%s", text(got), want)
	}
	if n := len(bound(t)); n != 200 {
		t.Errorf("%d ports are bound, want 200", n)
	}
}

func TestHostAddressDecidesTheFamilies(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	for ip, want := range map[string]string{
		"":                 "tcp 0.0.0.0:80 tcp [::]:80",
		"0.0.0.0":          "tcp 0.0.0.0:80",
		"::":               "tcp [::]:80",
		"127.0.0.9":        "tcp 127.0.0.9:80",
		"::1":              "tcp [::1]:80",
		"::ffff:127.0.0.1": "tcp 127.0.0.1:80",
	} {
		_, release := reserve(t, m, "a", request(model.TCP, ip, 80, 80, 80))
		if got := strings.Join(bound(t), " "); got != want {
			t.Errorf("%q: %s, want %s", ip, got, want)
		}
		release()
	}
	if got := bound(t); len(got) > 0 {
		t.Errorf("released, but still bound: %v", got)
	}
}

func TestWithoutIPv6OnTheHostPortsAreOfIPv4Alone(t *testing.T) {
	withoutIPv6(t, nettest.Process(t))
	m := start(t, Config{})
	got, _ := reserve(t, m, "a", request(model.TCP, "", 80, 80, 80))
	if text(got) != "tcp 0.0.0.0:80 -> 172.30.0.2:80" {
		t.Error(text(got))
	}
}

func TestEphemeralPortsWalkOnAndSkipWhatIsReserved(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{Root: settings(t, "20000 20007", "20005")})
	var seen []string
	for range 4 {
		got, release := reserve(t, m, "a", request(model.UDP, "", 0, 0, 53))
		if len(got) != 2 || got[0].Host.Port() != got[1].Host.Port() {
			t.Fatalf("the families differ:\n%s", text(got))
		}
		seen = append(seen, fmt.Sprint(got[0].Host.Port()))
		release()
	}
	if got := strings.Join(seen, " "); got != "20004 20006 20007 20004" {
		t.Error(got)
	}
}

func TestEphemeralPortsOfConsecutiveContainerPortsAreOneBinding(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{Root: settings(t, "20000 20009", "")})
	got, _ := reserve(t, m, "a", request(model.TCP, "", 0, 0, 82), request(model.TCP, "", 0, 0, 80), request(model.TCP, "", 0, 0, 81))
	if len(got) != 2 || got[0].Count != 3 || got[0].Container.Port() != 80 {
		t.Error(text(got))
	}
}

func TestEphemeralNumberMustBeFreeInBothFamilies(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{Root: settings(t, "20000 20003", "")})
	foreign(t, "tcp4", "127.0.0.1:20002")
	foreign(t, "tcp6", "[::1]:20003")
	got, _ := reserve(t, m, "a", request(model.TCP, "", 0, 0, 80))
	if want := "tcp 0.0.0.0:20001 -> 172.30.0.2:80\ntcp [::]:20001 -> 172.30.0.2:80"; text(got) != want {
		t.Errorf("have\n%s\nwant\n%s", text(got), want)
	}
	if n := len(bound(t)); n != 4 {
		t.Errorf("what was tried is still bound: %v", bound(t))
	}
}

// foreign takes a port as a program that is not mybr does.
func foreign(t *testing.T, network, address string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

func TestRangesTakeTheFirstFreePortAndNeverTheSame(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	foreign(t, "tcp4", "0.0.0.0:9001")
	got, _ := reserve(t, m, "a",
		request(model.TCP, "", 9000, 9010, 80), // the same container port twice, in overlapping ranges
		request(model.TCP, "", 9000, 9002, 80),
		request(model.TCP, "", 9000, 9000, 81))
	want := "tcp 0.0.0.0:9000 -> 172.30.0.2:81\ntcp 0.0.0.0:9002 -> 172.30.0.2:80\ntcp 0.0.0.0:9003 -> 172.30.0.2:80\n"
	want += strings.ReplaceAll(strings.TrimSuffix(want, "\n"), "0.0.0.0", "[::]")
	if text(got) != want {
		t.Errorf("have\n%s\nwant\n%s", text(got), want)
	}
}

func TestErrorsSayWhatDockerSays(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{Root: settings(t, "20000 20001", "")})
	reserve(t, m, "ep1", request(model.TCP, "0.0.0.0", 8080, 8080, 80), request(model.TCP, "::1", 8081, 8081, 80),
		request(model.TCP, "127.0.0.1", 9000, 9000, 80), request(model.TCP, "0.0.0.0", 20000, 20001, 80))
	reserve(t, m, "ep0", request(model.TCP, "127.0.0.1", 9001, 9001, 80), request(model.TCP, "0.0.0.0", 20001, 20001, 80))
	foreign(t, "tcp4", "0.0.0.0:8082")
	foreign(t, "tcp6", "[::]:9002")
	before := bound(t)
	for _, c := range []struct {
		req  model.PortRequest
		text string
		is   error
	}{
		{request(model.TCP, "0.0.0.0", 8080, 8080, 80), "Bind for 0.0.0.0:8080 failed: port is already allocated", model.ErrConflict},
		{request(model.TCP, "", 8080, 8080, 80), "Bind for 0.0.0.0:8080 failed: port is already allocated", model.ErrConflict},
		{request(model.TCP, "127.0.0.1", 8080, 8080, 80), "Bind for 127.0.0.1:8080 failed: port is already allocated", model.ErrConflict},
		{request(model.TCP, "::", 8081, 8081, 80), "Bind for :::8081 failed: port is already allocated", model.ErrConflict},
		{request(model.TCP, "0.0.0.0", 9001, 9001, 80), "Bind for 0.0.0.0:9001 failed: port is already allocated", model.ErrConflict},
		{request(model.TCP, "", 8082, 8082, 80), "failed to bind host port for 0.0.0.0:8082:172.30.0.2:80/tcp: address already in use", model.ErrConflict},
		{request(model.TCP, "127.0.0.1", 8082, 8082, 80), "failed to bind host port for 127.0.0.1:8082:172.30.0.2:80/tcp: address already in use", model.ErrConflict},
		{request(model.TCP, "", 9002, 9002, 80), "failed to bind host port for [::]:9002:172.30.0.2:80/tcp: address already in use", model.ErrConflict},
		{request(model.UDP, "192.0.2.1", 53, 53, 53), "failed to bind host port for 192.0.2.1:53:172.30.0.2:53/udp: cannot assign requested address", syscall.EADDRNOTAVAIL},
		{request(model.TCP, "192.0.2.1", 53, 59, 53), "failed to bind host port for 192.0.2.1:53:172.30.0.2:53/tcp: cannot assign requested address", syscall.EADDRNOTAVAIL},
		{request(model.TCP, "", 9000, 9002, 80), "failed to bind a host port of 0.0.0.0:9000-9002/tcp: all ports are allocated", model.ErrConflict},
		{request(model.TCP, "", 0, 0, 80), "failed to bind a host port of 0.0.0.0:20000-20001/tcp: all ports are allocated", model.ErrConflict},
		{request(model.TCP, "", 5, 4, 80), "publish 172.30.0.2:80/tcp: invalid host ports 5-4", model.ErrInvalid},
		{request(model.TCP, "", 0, 4, 80), "publish 172.30.0.2:80/tcp: invalid host ports 0-4", model.ErrInvalid},
		{request(model.TCP, "224.0.0.1", 5, 5, 80), "publish 172.30.0.2:80/tcp: invalid host address 224.0.0.1", model.ErrInvalid},
		{request(1, "", 5, 5, 80), "publish protocol 1 port 80: invalid: only tcp, udp and sctp have ports", model.ErrInvalid},
		{model.PortRequest{Proto: model.TCP, V4: model.Target{Host: netip.IPv4Unspecified(), Container: netip.MustParseAddrPort("0.0.0.0:80")}}, "publish 0.0.0.0:80 of a container: invalid container address", model.ErrInvalid},
		{model.PortRequest{Proto: model.TCP, V4: model.Target{Host: netip.IPv4Unspecified(), Container: netip.MustParseAddrPort("[::ffff:127.0.0.1]:80")}}, "publish [::ffff:127.0.0.1]:80 of a container: invalid container address", model.ErrInvalid},
		{model.PortRequest{Proto: model.TCP, V4: model.Target{Host: netip.IPv6Unspecified(), Container: at(80)}}, "publish 172.30.0.2:80/tcp: invalid host address ::", model.ErrInvalid},
		{model.PortRequest{Proto: model.TCP, V6: model.Target{Host: netip.IPv4Unspecified(), Container: at(80)}}, "publish 172.30.0.2:80/tcp: invalid host address 0.0.0.0", model.ErrInvalid},
		{model.PortRequest{Proto: model.TCP, V6: model.Target{Host: netip.MustParseAddr("::ffff:127.0.0.1"), Container: at(80)}}, "publish 172.30.0.2:80/tcp: invalid host address ::ffff:127.0.0.1", model.ErrInvalid},
		{model.PortRequest{Proto: model.TCP}, "publish a tcp port: invalid: no host address", model.ErrInvalid},
		{request(model.TCP, "", 5, 5, 0), "publish 172.30.0.2:0 of a container: invalid container address", model.ErrInvalid},
	} {
		// Another request that could be served shows that nothing of the call stays.
		_, release, err := m.Reserve("b", []model.PortRequest{request(model.TCP, "", 7000, 7000, 7000), c.req})
		if err == nil || err.Error() != c.text || !errors.Is(err, c.is) || errors.Is(err, model.ErrConflict) != (c.is == model.ErrConflict) {
			t.Errorf("have %v\nwant %s (%v)", err, c.text, c.is)
		}
		release()
		if after := bound(t); !slices.Equal(after, before) {
			t.Fatalf("%s: bound %v, before %v", c.text, after, before)
		}
	}
}

func TestReserveAgainGivesTheSame(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	reqs := []model.PortRequest{
		request(model.TCP, "", 0, 0, 80), request(model.TCP, "", 0, 0, 80), request(model.TCP, "::", 0, 0, 80),
		request(model.TCP, "127.0.0.1", 0, 0, 80), request(model.TCP, "127.0.0.2", 0, 0, 80),
		request(model.UDP, "", 9000, 9010, 53), request(model.UDP, "", 9000, 9000, 54), request(model.UDP, "", 9000, 9000, 54),
	}
	first, release := reserve(t, m, "a", reqs...)
	held := bound(t)
	slices.Reverse(reqs)
	again, releaseAgain := reserve(t, m, "a", reqs...)
	if text(again) != text(first) {
		t.Errorf("have\n%s\nwant\n%s", text(again), text(first))
	}
	release()
	if got := bound(t); !slices.Equal(got, held) {
		t.Errorf("the second reservation lost %v to the first one's release, has %v", held, got)
	}
	apply(t, m, setOf("a", again))
	releaseAgain() // adopted: not its to give back
	third, release3 := reserve(t, m, "a", reqs...)
	release3()
	if text(third) != text(first) {
		t.Errorf("adopted: have\n%s\nwant\n%s", text(third), text(first))
	}
	if got := bound(t); !slices.Equal(got, held) {
		t.Errorf("have %v, want %v", got, held)
	}
}

// TestRangeChoiceServesAllThatCanBeServed compares with trying every assignment.
func TestRangeChoiceServesAllThatCanBeServed(t *testing.T) {
	nettest.Process(t)
	const base = 9100
	rapid.Check(t, func(rt *rapid.T) {
		m := New(Config{})
		defer m.Close()
		busy := map[int]bool{}
		for _, p := range rapid.SliceOfN(rapid.IntRange(base, base+5), 0, 3).Draw(rt, "busy") {
			if !busy[p] {
				busy[p] = true
				reserve(t, m, "other", request(model.TCP, "0.0.0.0", p, p, 80))
			}
		}
		var reqs []model.PortRequest
		for i := range rapid.IntRange(1, 5).Draw(rt, "requests") {
			first := rapid.IntRange(base, base+5).Draw(rt, "first")
			last := rapid.IntRange(first, base+5).Draw(rt, "last")
			reqs = append(reqs, request(model.TCP, "0.0.0.0", first, last, 1000+10*i))
		}
		got, _, err := m.Reserve("a", reqs)
		if possible := assign(reqs, busy); possible != (err == nil) {
			rt.Fatalf("possible: %v, but: %v", possible, err)
		}
		used := map[uint16]bool{}
		for _, b := range got {
			req := reqs[(int(b.Container.Port())-1000)/10]
			if b.Host.Port() < req.First || b.Host.Port() > req.Last || used[b.Host.Port()] || busy[int(b.Host.Port())] {
				rt.Fatalf("%s for %v", b, req)
			}
			used[b.Host.Port()] = true
		}
		if err == nil && len(got) != len(reqs) {
			rt.Fatalf("%d bindings for %d requests", len(got), len(reqs))
		}
	})
}

// assign reports whether every request can have a port of its own.
func assign(reqs []model.PortRequest, busy map[int]bool) bool {
	if len(reqs) == 0 {
		return true
	}
	for p := int(reqs[0].First); p <= int(reqs[0].Last); p++ {
		if busy[p] {
			continue
		}
		busy[p] = true
		ok := assign(reqs[1:], busy)
		delete(busy, p)
		if ok {
			return true
		}
	}
	return false
}

func TestTwoThousandPortsTakeWellUnderASecond(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	var reqs []model.PortRequest
	for i := range 2000 {
		reqs = append(reqs, request(model.TCP, "", 10000+2*i, 10000+2*i, 10000+i)) // no two are consecutive
	}
	goroutines, sockets := runtime.NumGoroutine(), openSockets(t)
	began, work := time.Now(), cpuTime(t)
	got, _ := reserve(t, m, "a", reqs...)
	reserved := time.Since(began)
	apply(t, m, setOf("a", got))
	applied := time.Since(began) - reserved
	if g, s := runtime.NumGoroutine()-goroutines, openSockets(t)-sockets; g > 8 || s != 2000 {
		t.Errorf("%d goroutines and %d sockets for 2,000 ports of both families, want one socket for each", g, s)
	}
	apply(t, m, Set{})
	t.Logf("reserved in %v, adopted in %v, closed in %v", reserved, applied, time.Since(began)-reserved-applied)
	// Beside other tests it takes longer, and no more work; who waited for the kernel at each
	// port, some 10 ms (RCU), would take 20 s.
	if took, worked := time.Since(began), cpuTime(t)-work; len(got) != 4000 || worked > 3*time.Second || took > 15*time.Second {
		t.Errorf("%d bindings in %v, of which %v are work", len(got), took, worked)
	}
}

// cpuTime is how long processors have worked for this process, the kernel's work for it
// included (getrusage(2)).
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func TestReserveAgainKeepsTheNumberThatIsHeldInBothFamilies(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{Root: settings(t, "20000 20001", "")})
	l, err := net.Listen("tcp4", "127.0.0.1:20001")
	if err != nil {
		t.Fatal(err)
	}
	reqs := []model.PortRequest{request(model.TCP, "", 0, 0, 80), request(model.TCP, "::", 0, 0, 80)}
	first, _ := reserve(t, m, "a", reqs...) // 20000 in both, then [::]:20001 alone
	l.Close()
	again, _ := reserve(t, m, "a", reqs...)
	want := "tcp 0.0.0.0:20000 -> 172.30.0.2:80\ntcp [::]:20000 -> 172.30.0.2:80\ntcp [::]:20001 -> 172.30.0.2:80"
	if text(first) != want || text(again) != want {
		t.Errorf("have\n%s\nand\n%s\nwant\n%s", text(first), text(again), want)
	}
}
