package firewalltest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/nflog"
)

// refused is scenarios of what is told of what egress lists don't have.
func refused() []scenario {
	return []scenario{
		{"what is refused is told", refusedTold},
		{"a list that is watched", listWatched},
		{"a kernel that can't tell", refusedUntold},
	}
}

// ear hears what the rules tell. Of what containers send by themselves in IPv6 (RFC 4861, RFC 3810)
// it takes no notice.
type ear struct {
	w     *World
	flows bool // the kernel tells them

	mu  sync.Mutex
	got map[string]int // such as "mybr-refused tcp 192.0.2.2:81 from 172.18.0.2 at br0", and how often
}

func (w *World) listen() *ear {
	w.T.Helper()
	e := &ear{w: w, got: map[string]int{}}
	var l *nflog.Listener
	var err error
	w.Host.In(func() { l, err = nflog.Listen(firewall.RefusedGroup, firewall.RefusedBytes) })
	if err != nil {
		w.T.Fatal(err)
	}
	e.flows = l.NoFlows == nil
	ended := make(chan error, 1)
	go func() {
		for {
			if err := l.Read(e.hear); err != nil {
				ended <- err
				return
			}
		}
	}()
	w.T.Cleanup(func() {
		l.Close()
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			w.T.Errorf("who listens has ended: %v", err)
		}
	})
	return e
}

func (e *ear) hear(p nflog.Packet) {
	proto := map[uint8]string{6: "tcp", 17: "udp"}[p.Proto]
	if proto == "" || p.To.Addr().IsMulticast() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.got[fmt.Sprintf("%s %s %s from %s link %d flow %t", p.Prefix, proto, p.To, p.From.Addr(), p.Link, p.Flow)]++
}

// expect waits until just these were told, of packets by br0, since the last call.
// Each line is "PREFIX PROTO DESTINATION from ADDRESS".
func (e *ear) expect(lines ...string) {
	e.w.T.Helper()
	index, _, _ := strings.Cut(e.w.Host.Run("ip", "-o", "link", "show", "br0"), ":")
	want := map[string]bool{}
	for _, line := range lines {
		f := strings.Fields(line)
		to := f[2]
		if name, port, _ := strings.Cut(to, ":"); Address(name) != "" {
			to = Address(name) + ":" + port
		}
		if led := map[string]string{lanHost + ":8180": Address("c") + ":80"}[to]; led != "" && !e.flows {
			to = led // where the published port has led it
		}
		want[fmt.Sprintf("%s %s %s from %s link %s flow %t", f[0], f[1], e.w.Stand.In(to), e.w.Stand.In(Address(f[4])), index, e.flows)] = true
	}
	nettest.Eventually(e.w.T, 5*time.Second, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if got := slices.Sorted(maps.Keys(e.got)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			return fmt.Errorf("told are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(slices.Sorted(maps.Keys(want)), "\n"))
		}
		return nil
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.got)
}

// What is refused is told with the address that the container has chosen, and what passes is not.
func refusedTold(w *World) {
	w.Host.Echo(w.Net("tcp"), w.Stand.In("0.0.0.0:90"))
	w.Host.Echo(w.Net("udp"), w.Stand.In("0.0.0.0:90"))
	heard := w.listen()
	plain := w.Policy(nil)
	have := withEgress(plain, Egress("br0", "", "192.0.2.2:80/tcp"))
	w.Apply(have)
	w.Expect(`
		a tcp lan:80 -> lan
		a tcp lan:81 -> nothing
		a udp lan:80 -> nothing
		a tcp b:80 -> b
		b tcp 192.0.2.1:90 -> nothing
		a udp 172.18.0.1:90 -> nothing
		a tcp 192.0.2.1:8180 -> nothing
		lan tcp 192.0.2.1:8080 -> a lan
		c tcp lan:81 -> lan`)
	heard.expect("mybr-refused tcp lan:81 from a", "mybr-refused udp lan:80 from a", "mybr-refused tcp host:90 from b",
		"mybr-refused udp 172.18.0.1:90 from a", "mybr-refused tcp host:8180 from a")

	// Lists of containers, too, and whoever has an address that is no container's.
	want := withEgress(plain, Egress("br0", "", "none"), Egress("br0", "172.18.0.2", "192.0.2.2:81"))
	Apply(w.T, w.Backend, &have, want)
	w.Expect("a tcp lan:81 -> lan\n a tcp lan:80 -> nothing\n b tcp lan:82 -> nothing")
	heard.expect("mybr-refused tcp lan:80 from a", "mybr-refused tcp lan:82 from b")
	w.same(want)
}

// Nothing is kept from anybody by a list that is only watched, and nothing ends; what an enforced
// one would refuse is told, once for each connection.
func listWatched(w *World) {
	w.Host.Echo(w.Net("tcp"), w.Stand.In("0.0.0.0:90"))
	heard := w.listen()
	plain := w.Policy(nil)
	watched := Egress("br0", "", "192.0.2.2:80/tcp")
	watched.To = watched.To.Audited()
	have := withEgress(plain, watched)
	w.Apply(have)
	w.Expect(`
		a tcp lan:80 -> lan
		a tcp lan:81 -> lan
		a tcp b:80 -> b
		a tcp 192.0.2.1:90 -> host
		a tcp 192.0.2.1:8180 -> c
		lan tcp 192.0.2.1:8080 -> a lan
		c tcp lan:81 -> lan`)
	w.Pings(true, "a lan")
	told := []string{"mybr-audit tcp lan:81 from a", "mybr-audit tcp host:90 from a", "mybr-audit tcp host:8180 from a"}
	heard.mu.Lock()
	for line, n := range heard.got {
		if n > 1 {
			w.T.Errorf("told %d times: %s", n, line)
		}
	}
	heard.mu.Unlock()
	heard.expect(told...)
	w.same(have)

	// One container is kept from what it may not, and the others are not.
	mixed := withEgress(plain, Egress("br0", "", "none"), Egress("br0", "172.18.0.2", "192.0.2.2:80"), Egress("br0", "172.18.0.3", "192.0.2.2:80"))
	for i, e := range mixed.Egress {
		if a := e.Addr.String(); a == "172.18.0.3" || a == sixth(Egress("br0", "172.18.0.3", "none").Addr).String() {
			mixed.Egress[i].To = e.To.Audited()
		}
	}
	Apply(w.T, w.Backend, &have, mixed)
	w.Expect("a tcp lan:81 -> nothing\n b tcp lan:81 -> lan\n b tcp lan:80 -> lan")
	heard.expect("mybr-refused tcp lan:81 from a", "mybr-audit tcp lan:81 from b")
	w.same(mixed)

	// And enforced it is the other way.
	enforced := withEgress(plain, Egress("br0", "", "192.0.2.2:80/tcp"))
	Apply(w.T, w.Backend, &mixed, enforced)
	w.Expect("a tcp lan:81 -> nothing\n b tcp lan:80 -> lan")
	heard.expect("mybr-refused tcp lan:81 from a")
	w.same(enforced)
}

// Where nothing can be told everything else is the same.
func refusedUntold(w *World) {
	heard := w.listen()
	plain := w.Policy(nil)
	plain.Untold = true
	have := withEgress(plain, Egress("br0", "", "192.0.2.2:80/tcp"))
	w.Apply(have)
	w.Expect("a tcp lan:80 -> lan\n a tcp lan:81 -> nothing")
	w.same(have)
	watched := Egress("br0", "", "192.0.2.2:80/tcp")
	watched.To = watched.To.Audited()
	want := withEgress(plain, watched)
	Apply(w.T, w.Backend, &have, want)
	w.Expect("a tcp lan:80 -> lan\n a tcp lan:81 -> lan")
	w.same(want)
	told := want
	told.Untold = false
	Apply(w.T, w.Backend, &want, told)
	w.Expect("a tcp lan:82 -> lan")
	heard.expect("mybr-audit tcp lan:82 from a") // and nothing of what was before
	w.same(told)
}

// same fails unless the host has just the rules of a policy.
func (w *World) same(p firewall.Policy) {
	w.T.Helper()
	if rest, err := w.Backend.Plan(w.T.Context(), nil, p); err != nil || len(rest) > 0 {
		w.T.Fatalf("then there is %q to do: %v", rest.Changes(), err)
	}
}
