package driver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/docker/go-plugins-helpers/network"
	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// The networks of a container with several endpoints, and what it publishes.
var (
	four = siblings{ep1, netA, []string{"10.1.0.0/24"}, []string{"10.1.0.2/24"}}
	dual = siblings{ep2, netB, []string{"10.2.0.0/24", "fd00:2::/64"}, []string{"10.2.0.2/24", "fd00:2::2/64"}}
	six  = siblings{ep3, netC, []string{"fd00:3::/64"}, []string{"fd00:3::2/64"}}
)

const (
	netC   = "c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3"
	anyTwo = `[{"Proto":6,"Port":80},{"Proto":6,"Port":80}]`
)

type siblings struct {
	ep, net            string
	subnets, addresses []string
}

// container makes a container with an endpoint on each network.
func (w *world) container(all ...siblings) {
	w.t.Helper()
	w.ports.hasIPv6 = true
	for _, s := range all {
		must(w.t, w.dualNetwork(s.net, nil, s.subnets...))
		must(w.t, w.dualEndpoint(s.net, s.ep, s.addresses...))
		must(w.t, w.joinSandbox(s.net, s.ep, sandbox))
	}
}

// published writes what an endpoint publishes.
func (w *world) published(id string) (texts []string) {
	w.t.Helper()
	for _, b := range w.endpointRecord(id).Ports {
		texts = append(texts, b.String())
	}
	return texts
}

func (w *world) wantPublished(id string, want ...string) {
	w.t.Helper()
	if have := w.published(id); !slices.Equal(have, want) {
		w.t.Errorf("endpoint %s publishes %q, want %q", short(id), have, want)
	}
}

func (w *world) revoke(s siblings) error {
	return w.RevokeExternalConnectivity(ctx, &network.RevokeExternalConnectivityRequest{NetworkID: s.net, EndpointID: s.ep})
}

// Two endpoints of one container are asked to publish the same, in any order.
func TestSiblingsPublishTheSame(t *testing.T) {
	const (
		four4 = "tcp 0.0.0.0:8080 -> 10.1.0.2:80"
		four6 = "tcp [::]:8080 -> 10.1.0.2:80"
		dual4 = "tcp 0.0.0.0:8080 -> 10.2.0.2:80"
		dual6 = "tcp [::]:8080 -> [fd00:2::2]:80"
		six6  = "tcp [::]:8080 -> [fd00:3::2]:80"
	)
	type ask struct {
		siblings
		only4 bool
	}
	type want map[string][]string
	for _, c := range []struct {
		name       string
		asks       []ask
		then       want
		gone       siblings // revokes
		afterwards want
	}{
		{"IPv4, then both", []ask{{four, false}, {dual, false}}, want{ep1: {four4}, ep2: {dual6}}, dual, want{ep1: {four4, four6}}},
		{"both, then IPv4", []ask{{dual, false}, {four, false}}, want{ep2: {dual4, dual6}}, dual, want{ep1: {four4, four6}}},
		{"both, then the default route by IPv4", []ask{{dual, false}, {four, true}}, want{ep1: {four4}, ep2: {dual6}}, four, want{ep2: {dual4, dual6}}},
		{"the default route by IPv4, then both", []ask{{four, true}, {dual, false}}, want{ep1: {four4}, ep2: {dual6}}, four, want{ep2: {dual4, dual6}}},
		{"IPv4, then IPv6", []ask{{four, false}, {six, false}}, want{ep1: {four4}, ep3: {six6}}, six, want{ep1: {four4, four6}}},
		{"IPv6, then IPv4", []ask{{six, false}, {four, false}}, want{ep1: {four4}, ep3: {six6}}, six, want{ep1: {four4, four6}}},
		{"both, then IPv6", []ask{{dual, false}, {six, false}}, want{ep2: {dual4, dual6}}, dual, want{ep3: {six6}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.container(four, dual, six)
			for _, a := range c.asks {
				must(t, w.publish(a.net, a.ep, port8080, a.only4))
				w.unchanged(func() { must(t, w.publish(a.net, a.ep, port8080, a.only4)) })
			}
			for id, ports := range c.then {
				w.wantPublished(id, ports...)
			}
			last := c.asks[len(c.asks)-1]
			w.unchanged(func() { must(t, w.publish(last.net, last.ep, port8080, last.only4)) })
			must(t, w.revoke(c.gone))
			w.wantPublished(c.gone.ep)
			for id, ports := range c.afterwards {
				w.wantPublished(id, ports...)
				if e := w.endpointRecord(id); e.Wanted != nil {
					t.Errorf("endpoint %s has all, but wants %v", short(id), e.Wanted)
				}
			}
		})
	}
}

// However the endpoint that has the ports goes, the other one gets them.
func TestPortsOfAnEndpointThatGoes(t *testing.T) {
	for name, end := range map[string]func(w *world) error{
		"revoke": func(w *world) error { return w.revoke(four) },
		"leave": func(w *world) error {
			return w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1})
		},
		"delete": func(w *world) error {
			return w.DeleteEndpoint(ctx, &network.DeleteEndpointRequest{NetworkID: netA, EndpointID: ep1})
		},
		"delete the network": func(w *world) error { return w.DeleteNetwork(ctx, &network.DeleteNetworkRequest{NetworkID: netA}) },
		"publish nothing":    func(w *world) error { return w.publish(netA, ep1, `[]`, false) },
		"dead": func(w *world) error {
			w.host.gone = map[string]bool{model.Endpoint{ID: ep1}.HostIface(): true}
			return w.publish(netB, ep2, port8080, false)
		},
		"dead for a while": func(w *world) error {
			w.host.gone = map[string]bool{model.Endpoint{ID: ep1}.HostIface(): true}
			return w.RemoveStale(ctx)
		},
		"dead at the start": func(w *world) error {
			w.host.gone = map[string]bool{model.Endpoint{ID: ep1}.HostIface(): true}
			w.restart()
			return errors.Join(w.RemoveEnded(), w.RemoveStale(ctx))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.container(four, dual)
			must(t, w.publish(netA, ep1, port8080, true))
			must(t, w.publish(netB, ep2, port8080, false))
			w.wantPublished(ep2, "tcp [::]:8080 -> [fd00:2::2]:80")
			must(t, end(w))
			w.wantPublished(ep2, "tcp 0.0.0.0:8080 -> 10.2.0.2:80", "tcp [::]:8080 -> [fd00:2::2]:80")
		})
	}
}

// Numbers that nobody cares about are the same for both endpoints, one by one.
func TestSiblingsChooseTheSameNumbers(t *testing.T) {
	w := newWorld(t)
	w.container(four, six)
	must(t, w.publish(netA, ep1, anyTwo, true))
	must(t, w.publish(netC, ep3, anyTwo, false))
	w.wantPublished(ep1, "tcp 0.0.0.0:32768 -> 10.1.0.2:80", "tcp 0.0.0.0:32769 -> 10.1.0.2:80")
	w.wantPublished(ep3, "tcp [::]:32768 -> [fd00:3::2]:80", "tcp [::]:32769 -> [fd00:3::2]:80")
}

// Another port of the container under the same number is a conflict, as it is within one
// endpoint.
func TestSiblingsWithDifferentPorts(t *testing.T) {
	w := newWorld(t)
	w.container(four, dual)
	must(t, w.publish(netA, ep1, port8080, true))
	w.unchanged(func() {
		wantErr(t, w.publish(netB, ep2, `[{"Proto":6,"Port":81,"HostPort":8080}]`, false), model.ErrConflict,
			"Bind for 0.0.0.0:8080 failed: port is already allocated")
	})
}

// A port at all of the host's addresses is left to the endpoint that has it at one of them, and the same
// number at other addresses is no matter.
func TestSiblingsAtSeveralAddresses(t *testing.T) {
	w := newWorld(t)
	w.ports.hasIPv6 = true
	must(t, w.dualNetwork(netA, userOptions(optHostBinding, "127.0.0.1"), four.subnets...))
	must(t, w.dualEndpoint(netA, ep1, four.addresses...))
	must(t, w.joinSandbox(netA, ep1, sandbox))
	w.container(dual)
	must(t, w.publish(netA, ep1, port8080, false))
	must(t, w.publish(netB, ep2, port8080, false))
	w.wantPublished(ep1, "tcp 127.0.0.1:8080 -> 10.1.0.2:80")
	w.wantPublished(ep2, "tcp [::]:8080 -> [fd00:2::2]:80")
	must(t, w.revoke(four))
	w.wantPublished(ep2, "tcp 0.0.0.0:8080 -> 10.2.0.2:80", "tcp [::]:8080 -> [fd00:2::2]:80")
}

// Whatever two endpoints are asked to publish, in whatever order: no port is led to two
// places, none is lost that could be had, and asking again changes nothing.
func TestSiblingsByChance(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ports, err := fixedPorts(r)
		if err != nil {
			t.Fatal(err)
		}
		all := []siblings{four, dual, six}
		w := newWorld(t)
		defer w.store.Close()
		w.container(all...)
		alone := map[string][]string{}
		for _, s := range all {
			must(t, w.publish(s.net, s.ep, ports, false))
			alone[s.ep] = w.published(s.ep)
			must(t, w.revoke(s))
		}
		asked := map[string]bool{}
		for range rapid.IntRange(1, 8).Draw(r, "steps") {
			s := rapid.SampledFrom(all).Draw(r, "endpoint")
			if rapid.IntRange(0, 3).Draw(r, "what") == 0 {
				must(t, w.revoke(s))
				delete(asked, s.ep)
			} else {
				only4 := s.ep == ep1 && rapid.Bool().Draw(r, "only4")
				must(t, w.publish(s.net, s.ep, ports, only4))
				once := w.shares()
				must(t, w.publish(s.net, s.ep, ports, only4))
				if twice := w.shares(); twice != once {
					r.Fatalf("%s asks again for %s, and\n%sbecomes\n%s", short(s.ep), ports, once, twice)
				}
				asked[s.ep] = true
			}
			checkPorts(t, w)
		}
		for id := range asked {
			if len(asked) == 1 && id != ep1 && !slices.Equal(anyPorts(w.published(id)), anyPorts(alone[id])) {
				r.Fatalf("%s is alone and publishes %q, not %q", short(id), w.published(id), alone[id])
			}
		}
		for _, s := range all {
			must(t, w.revoke(s))
		}
		for _, e := range w.store.Snapshot().Endpoints {
			if len(e.Ports) != 0 || e.Wanted != nil {
				r.Fatalf("left: %+v", e)
			}
		}
	})
}

// chosen is a host port that fakePorts chose.
var chosen = regexp.MustCompile(`:3276\d ->`)

// anyPorts are published ports without the numbers that were chosen: it does not matter
// which of them leads where.
func anyPorts(ports []string) []string {
	ports = slices.Clone(ports)
	for i := range ports {
		ports[i] = chosen.ReplaceAllString(ports[i], ":any ->")
	}
	slices.Sort(ports)
	return ports
}

// shares writes what each endpoint publishes and wants.
func (w *world) shares() (text string) {
	for _, e := range w.store.Snapshot().Endpoints {
		text += fmt.Sprintf("%s has %v, wants %q\n", short(e.ID), e.Ports, requestTexts(e.Wanted))
	}
	return text
}

// fixedPorts is a port map whose entries don't conflict.
func fixedPorts(r *rapid.T) (string, error) {
	text := ""
	for i := range rapid.IntRange(1, 4).Draw(r, "ports") {
		host := rapid.SampledFrom([]string{"", "0.0.0.0", "::", "127.0.0.1", "2001:db8::7"}).Draw(r, "host")
		first := rapid.SampledFrom([]int{0, 8000 + 10*i}).Draw(r, "first")
		if text != "" {
			text += ","
		}
		text += fmt.Sprintf(`{"Proto":%d,"Port":%d,"HostIP":%q,"HostPort":%d}`, rapid.SampledFrom([]int{6, 17}).Draw(r, "proto"), 80+i, host, first)
	}
	return "[" + text + "]", nil
}

// checkPorts fails the test if a port of the host leads to two places, or leads from IPv6
// to IPv4 although an endpoint that was asked has IPv6.
func checkPorts(t *testing.T, w *world) {
	t.Helper()
	type hostPort struct {
		proto model.Proto
		host  netip.AddrPort
	}
	taken := map[hostPort]netip.AddrPort{}
	for _, e := range w.store.Snapshot().Endpoints {
		for _, b := range e.Ports {
			for i := range b.Count {
				k := hostPort{b.Proto, netip.AddrPortFrom(b.Host.Addr(), b.Host.Port()+i)}
				to := netip.AddrPortFrom(b.Container.Addr(), b.Container.Port()+i)
				if other, twice := taken[k]; twice {
					t.Errorf("%s leads to %s and to %s", k.host, other, to)
				}
				taken[k] = to
			}
		}
	}
}

// lockedSync is portSync for several callers.
type lockedSync struct {
	mu sync.Mutex
	*portSync
}

func (s *lockedSync) Sync(ctx context.Context, about ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.portSync.Sync(ctx, about...)
}

// Containers with two endpoints each come and go at the same time, with real sockets.
func TestSiblingsInAStorm(t *testing.T) {
	nettest.New(t)
	w := newWorld(t)
	ports := hostport.New(hostport.Config{})
	defer ports.Close()
	w.Driver.ports, w.Driver.sync = ports, &lockedSync{portSync: &portSync{fakeSync: w.sync, ports: ports}}
	must(t, w.dualNetwork(netA, nil, "10.1.0.0/16"))
	must(t, w.dualNetwork(netB, nil, "10.2.0.0/16", "fd00:2::/64"))
	var wg sync.WaitGroup
	for i := range 4 {
		rnd := rand.New(rand.NewPCG(7, uint64(i)))
		first := siblings{fmt.Sprintf("aa%02d%060d", i, 0), netA, nil, []string{fmt.Sprintf("10.1.0.%d/16", 2+i)}}
		second := siblings{fmt.Sprintf("bb%02d%060d", i, 0), netB, nil, []string{fmt.Sprintf("10.2.0.%d/16", 2+i), fmt.Sprintf("fd00:2::%x/64", 2+i)}}
		portMap := fmt.Sprintf(`[{"Proto":6,"Port":80,"HostPort":%d},{"Proto":6,"Port":81}]`, 9000+i)
		for _, s := range []siblings{first, second} {
			must(t, w.dualEndpoint(s.net, s.ep, s.addresses...))
			wg.Go(func() {
				for range 12 {
					err := errors.Join(w.joinSandbox(s.net, s.ep, fmt.Sprint(sandbox, i)), w.publish(s.net, s.ep, portMap, s.net == netA))
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() {
			for range 6 {
				s := []siblings{first, second}[rnd.IntN(2)]
				if err := w.revoke(s); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	checkPorts(t, w)
	for _, e := range w.store.Snapshot().Endpoints {
		must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: e.NetworkID, EndpointID: e.ID}))
	}
	if have := w.Driver.sync.(*lockedSync).have; len(have.Bindings) != 0 {
		t.Errorf("ports are left: %v", have.Bindings)
	}
	if n := len(w.sandboxes.byKey); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}

// What can't be had when it becomes free stays wanted, and the call that freed it is well.
func TestPortsThatCannotBeReassigned(t *testing.T) {
	w := newWorld(t)
	w.container(four, dual)
	must(t, w.publish(netA, ep1, port8080, true))
	must(t, w.publish(netB, ep2, port8080, false))
	before := w.endpointRecord(ep2)
	w.ports.refuse = errors.New("no more sockets")
	must(t, w.revoke(four))
	if e := w.endpointRecord(ep2); !reflect.DeepEqual(e, before) {
		t.Errorf("have %+v, want %+v", e, before)
	}
	if len(w.said) != 1 {
		t.Errorf("said %q", w.said)
	}
	w.ports.refuse = nil
	must(t, w.RemoveStale(ctx))
	w.wantPublished(ep2, "tcp 0.0.0.0:8080 -> 10.2.0.2:80", "tcp [::]:8080 -> [fd00:2::2]:80")
}

// A pass that fails leaves both endpoints as they were.
func TestTakingOverFails(t *testing.T) {
	w := newWorld(t)
	w.container(four, dual)
	must(t, w.publish(netA, ep1, port8080, false))
	base, broken := w.sync.n, errors.New("iptables said no")
	w.sync.fail = func(n int) error {
		if n == base+1 {
			return broken
		}
		return nil
	}
	w.unchanged(func() {
		if err := w.publish(netB, ep2, port8080, false); !errors.Is(err, broken) {
			t.Errorf("have error %v", err)
		}
	})
}
