package driver

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// live is a world in which a container publishes 8080, and what is changed of it.
type live struct{ *world }

func newLive(t *testing.T) live {
	w := live{newWorld(t)}
	w.running()
	return w
}

func (w live) add(id, specs string) error {
	_, err := w.AddPorts(ctx, w.endpointRecord(id).NetworkID, id, strings.Fields(specs))
	return err
}

func (w live) remove(id, specs string) error {
	_, err := w.RemovePorts(ctx, w.endpointRecord(id).NetworkID, id, strings.Fields(specs))
	return err
}

// want compares what an endpoint publishes, what of it was added and what was removed.
func (w live) want(id, published, added, removed string) {
	w.t.Helper()
	e := w.endpointRecord(id)
	have := fmt.Sprintf("%s, added %s, removed %s", fmtPorts(e.Ports), fmtPorts(e.Added), fmtPorts(e.Removed))
	if want := fmt.Sprintf("[%s], added [%s], removed [%s]", published, added, removed); have != want {
		w.t.Errorf("endpoint %s: have %s\nwant %s", short(id), have, want)
	}
}

const (
	docker8080 = "tcp 0.0.0.0:8080 -> 10.1.0.2:80"
	twin8080   = docker8080 + " tcp [::]:8080 -> 10.1.0.2:80" // on a host without IPv6
	added9000  = "tcp 0.0.0.0:9000 -> 10.1.0.2:90"
)

// What is added is published beside Docker's own ports, whatever Docker asks for later, and ends
// when the endpoint leaves.
func TestAddPorts(t *testing.T) {
	w := newLive(t)
	added, err := w.AddPorts(ctx, netA, ep1, []string{"9000:90", "127.0.0.1:9001:91/udp"})
	must(t, err)
	if have := fmtPorts(added); have != "["+added9000+" udp 127.0.0.1:9001 -> 10.1.0.2:91]" {
		t.Errorf("it added %s", have)
	}
	both, more := docker8080+" "+added9000+" udp 127.0.0.1:9001 -> 10.1.0.2:91", added9000+" udp 127.0.0.1:9001 -> 10.1.0.2:91"
	w.want(ep1, both, more, "")
	for what, again := range map[string]func() error{
		"a restart":      func() error { w.restart(); return nil },
		"another call":   func() error { return w.pec(netA, ep1, port8080) },
		"a repeated one": func() error { return w.join(netA, ep1) },
		"revoked": func() error {
			err := w.RevokeExternalConnectivity(ctx, &network.RevokeExternalConnectivityRequest{NetworkID: netA, EndpointID: ep1})
			w.want(ep1, "", more, "")
			return errors.Join(err, w.pec(netA, ep1, port8080))
		},
	} {
		must(t, again())
		w.want(ep1, both, more, "")
		if t.Failed() {
			t.Fatal(what)
		}
	}
	must(t, w.add(ep1, "80")) // any port
	w.want(ep1, docker8080+" "+added9000+" tcp 0.0.0.0:32768 -> 10.1.0.2:80 udp 127.0.0.1:9001 -> 10.1.0.2:91",
		added9000+" tcp 0.0.0.0:32768 -> 10.1.0.2:80 udp 127.0.0.1:9001 -> 10.1.0.2:91", "")
	must(t, w.pec(netA, ep1, port8080))
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
	w.want(ep1, "", "", "")
}

// What can't be added changes nothing.
func TestAddPortsRefused(t *testing.T) {
	w := newLive(t)
	_, err := w.createEndpoint(netA, ep2, "10.1.0.3/24")
	must(t, err)
	must(t, w.createNetwork(netB, "10.2.0.0/24", `{"com.docker.network.internal":true}`))
	_, err = w.createEndpoint(netB, ep3, "10.2.0.2/24")
	must(t, err)
	must(t, w.joinSandbox(netB, ep3, sandbox))
	w.ports.owner[9001] = webServer
	const bind = "publish ports of endpoint e1e1e1e1e1e1: Bind for 0.0.0.0:%d failed: port is already allocated"
	for _, c := range []struct {
		id, ports string
		kind      error
		says      string
	}{
		{ep1, "8080:80", model.ErrConflict, fmt.Sprintf(bind, 8080)},
		{ep1, "9000:90 127.0.0.1:8080:80", model.ErrConflict, "publish ports of endpoint e1e1e1e1e1e1: Bind for 127.0.0.1:8080 failed: port is already allocated"},
		{ep1, "9000:90 9001:91", model.ErrConflict, fmt.Sprintf(bind, 9001)},
		{ep1, "9000:90 x", model.ErrInvalid, "publish ports of endpoint e1e1e1e1e1e1: port \"x\": x is no container port: want a number from 1 to 65535, or a range such as 8000-8010"},
		{ep1, "127.0.0.1:9000:90/sctp", model.ErrInvalid, "publish ports of endpoint e1e1e1e1e1e1: host address: sctp can't be published at 127.0.0.1: it takes NAT, within one address family and not from a loopback address"},
		{ep2, "9000:90", model.ErrConflict, "publish ports of endpoint e2e2e2e2e2e2: no container has joined it"},
		{ep3, "9000:90", model.ErrInvalid, "publish ports of endpoint e3e3e3e3e3e3: its network b2b2b2b2b2b2 is internal and publishes nothing: name another network of the container's"},
	} {
		w.unchanged(func() { wantErr(t, w.add(c.id, c.ports), c.kind, c.says) })
	}
	broken := errors.New("iptables said no")
	base := w.sync.n
	w.sync.fail = func(n int) error {
		if n == base+1 {
			return broken
		}
		return nil
	}
	w.unchanged(func() {
		wantErr(t, w.add(ep1, "9000:90"), broken, "publish ports of endpoint e1e1e1e1e1e1: iptables said no")
	})
	_, err = w.AddPorts(ctx, netB, ep1, []string{"9000:90"})
	wantErr(t, err, model.ErrNotFound, "publish ports of endpoint e1e1e1e1e1e1: the endpoint is not known to mybr on network b2b2b2b2b2b2")
}

// What is removed stays away, whoever published it, until the container is started again.
func TestRemovePorts(t *testing.T) {
	w := newLive(t)
	must(t, w.add(ep1, "9000-9002:90-92 9003:90"))
	must(t, w.remove(ep1, "8080:80 9001:91"))
	const left = added9000 + " tcp 0.0.0.0:9002 -> 10.1.0.2:92 tcp 0.0.0.0:9003 -> 10.1.0.2:90"
	w.want(ep1, left, left, twin8080)
	for range 2 {
		must(t, w.pec(netA, ep1, port8080))
		w.want(ep1, left, left, twin8080)
		w.restart()
	}
	w.unchanged(func() {
		wantErr(t, w.remove(ep1, "9002:92 8080:80"), model.ErrNotFound, "withdraw ports of endpoint e1e1e1e1e1e1: port 8080:80/tcp of the container is not published")
		wantErr(t, w.remove(ep1, "127.0.0.1:9002:92"), model.ErrNotFound, "withdraw ports of endpoint e1e1e1e1e1e1: port 127.0.0.1:9002:92/tcp of the container is not published")
		wantErr(t, w.remove(ep1, "9002:92/udp"), model.ErrNotFound, "withdraw ports of endpoint e1e1e1e1e1e1: port 9002:92/udp of the container is not published")
		wantErr(t, w.remove(ep1, "9000-9003:92-95"), model.ErrNotFound, "withdraw ports of endpoint e1e1e1e1e1e1: port 9000:92/tcp of the container is not published")
	})
	must(t, w.remove(ep1, "90"))
	w.want(ep1, "tcp 0.0.0.0:9002 -> 10.1.0.2:92", "tcp 0.0.0.0:9002 -> 10.1.0.2:92", twin8080)
	// It can be had back, and taken away again.
	must(t, w.add(ep1, "8080:80"))
	w.want(ep1, docker8080+" tcp 0.0.0.0:9002 -> 10.1.0.2:92", docker8080+" tcp 0.0.0.0:9002 -> 10.1.0.2:92", twin8080)
	must(t, w.pec(netA, ep1, port8080))
	must(t, w.remove(ep1, "8080:80 9002:92"))
	w.want(ep1, "", "", twin8080)
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
	must(t, w.join(netA, ep1))
	must(t, w.pec(netA, ep1, port8080))
	w.want(ep1, docker8080, "", "")
}

// When Docker has another endpoint of the container publish its ports, that publishes what was added
// and leaves out what was removed.
func TestChangedPortsMove(t *testing.T) {
	const two = `[{"Proto":6,"Port":80,"HostPort":8080,"HostPortEnd":8080},{"Proto":6,"Port":81,"HostPort":0}]`
	w := newLive(t)
	must(t, w.pec(netA, ep1, two))
	must(t, w.add(ep1, "9000:90"))
	must(t, w.remove(ep1, "81"))
	const removed81 = "tcp 0.0.0.0:32768 -> 10.1.0.2:81 tcp [::]:32768 -> 10.1.0.2:81"
	w.want(ep1, docker8080+" "+added9000, added9000, removed81)
	must(t, w.createNetwork(netB, "10.2.0.0/24", ""))
	_, err := w.createEndpoint(netB, ep2, "10.2.0.2/24")
	must(t, err)
	must(t, w.joinSandbox(netB, ep2, sandbox))
	revoke := func(net, id string) {
		must(t, w.RevokeExternalConnectivity(ctx, &network.RevokeExternalConnectivityRequest{NetworkID: net, EndpointID: id}))
	}
	const moved = "tcp 0.0.0.0:9000 -> 10.2.0.2:90"
	revoke(netA, ep1)
	must(t, w.pec(netB, ep2, two))
	w.want(ep1, "", "", removed81)
	w.want(ep2, "tcp 0.0.0.0:8080 -> 10.2.0.2:80 "+moved, moved, "")
	revoke(netB, ep2)
	must(t, w.pec(netA, ep1, two))
	w.want(ep1, docker8080+" "+added9000, added9000, removed81)
	w.want(ep2, "", "", "")

	// What somebody else has by then is given up, and Docker's call succeeds.
	revoke(netA, ep1)
	w.ports.owner[9000] = webServer
	must(t, w.pec(netB, ep2, two))
	w.want(ep1, "", "", removed81)
	w.want(ep2, "tcp 0.0.0.0:8080 -> 10.2.0.2:80", "", "")
	if last := w.said[len(w.said)-1]; last != "endpoint e2e2e2e2e2e2 publishes no longer what was added, ["+moved+"]: Bind for 0.0.0.0:9000 failed: port is already allocated" {
		t.Errorf("it said %q", last)
	}
	// Docker's own conflict is Docker's.
	revoke(netB, ep2)
	w.ports.owner[8080] = webServer
	if err := w.pec(netA, ep1, two); !errors.Is(err, model.ErrConflict) {
		t.Errorf("%v", err)
	}
}

// The ports of two endpoints of one container, as Docker has a network of each family publish them,
// are taken away from both.
func TestRemovePortsOfBothFamilies(t *testing.T) {
	w := live{newWorld(t)}
	w.ports.hasIPv6 = true
	must(t, w.dualNetwork(netA, nil, "10.1.0.0/24"))
	must(t, w.dualNetwork(netB, nil, "fd00:2::/64"))
	must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24"))
	must(t, w.dualEndpoint(netB, ep2, "fd00:2::2/64"))
	must(t, w.joinSandbox(netA, ep1, sandbox))
	must(t, w.joinSandbox(netB, ep2, sandbox))
	ask := func() {
		must(t, w.publish(netA, ep1, port8080, true))
		must(t, w.publish(netB, ep2, port8080, false))
	}
	ask()
	const six = "tcp [::]:8080 -> [fd00:2::2]:80"
	w.want(ep1, docker8080, "", "")
	w.want(ep2, six, "", "")
	must(t, w.remove(ep1, "8080:80"))
	for range 2 {
		w.want(ep1, "", "", docker8080)
		w.want(ep2, "", "", six)
		ask()
		must(t, w.RemoveStale(ctx))
	}
	for _, id := range []string{ep1, ep2} {
		if wanted := w.endpointRecord(id).Wanted; len(wanted) > 0 {
			t.Errorf("endpoint %s wants %v still", short(id), wanted)
		}
	}
}
