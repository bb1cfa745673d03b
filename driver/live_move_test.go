package driver

import (
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// Of a range for one port of the container a number is chosen that nothing leads to yet, whichever
// port of the container it leads to now: else nothing would be added, and no error told.
func TestAddPortsOfARange(t *testing.T) {
	for _, c := range []struct{ ports, chosen string }{
		{"8080-8081:80", "[tcp 0.0.0.0:8081 -> 10.1.0.2:80]"},
		{"8080-8081:81", "[tcp 0.0.0.0:8081 -> 10.1.0.2:81]"},
		{"8079-8081:80 8079-8081:80", "[tcp 0.0.0.0:8079 -> 10.1.0.2:80 tcp 0.0.0.0:8081 -> 10.1.0.2:80]"},
	} {
		w := newLive(t)
		added, err := w.AddPorts(ctx, netA, ep1, strings.Fields(c.ports))
		if have := fmtPorts(added); err != nil || have != c.chosen {
			t.Errorf("%s: %s, %v; want %s", c.ports, have, err, c.chosen)
		}
	}
	w := newLive(t)
	if added, err := w.AddPorts(ctx, netA, ep1, []string{"8080-8080:80"}); err == nil {
		t.Errorf("it added %s", fmtPorts(added))
	}
}

// What was removed stays away while the container runs, also when it leaves the network whose
// endpoint had published it.
func TestRemovedPortsStayAwayWithoutTheirNetwork(t *testing.T) {
	w := newLive(t)
	must(t, w.createNetwork(netB, "10.2.0.0/24", ""))
	_, err := w.createEndpoint(netB, ep2, "10.2.0.2/24")
	must(t, err)
	must(t, w.joinSandbox(netB, ep2, sandbox))
	must(t, w.remove(ep1, "8080:80"))
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
	w.want(ep1, "", "", "")
	for range 2 {
		must(t, w.pec(netB, ep2, port8080))
		w.want(ep2, "", "", strings.ReplaceAll(twin8080, "10.1.", "10.2."))
		w.restart()
	}
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netB, EndpointID: ep2}))
	must(t, w.joinSandbox(netB, ep2, sandbox))
	must(t, w.pec(netB, ep2, port8080))
	w.want(ep2, "tcp 0.0.0.0:8080 -> 10.2.0.2:80", "", "")
}

// What was removed and added again is Docker's once more when the endpoint that had it leaves.
func TestPortsThatCameBackAreNotRemoved(t *testing.T) {
	w := newLive(t)
	must(t, w.createNetwork(netB, "10.2.0.0/24", ""))
	_, err := w.createEndpoint(netB, ep2, "10.2.0.2/24")
	must(t, err)
	must(t, w.joinSandbox(netB, ep2, sandbox))
	must(t, w.remove(ep1, "8080:80"))
	must(t, w.add(ep1, "8080:80"))
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
	must(t, w.pec(netB, ep2, port8080))
	w.want(ep2, "tcp 0.0.0.0:8080 -> 10.2.0.2:80", "", "tcp [::]:8080 -> 10.2.0.2:80") // the host has no IPv6
}

// The process carries no SCTP: what was added of it is given up where the host's firewall decides by
// then about the ports of the endpoint that is to publish it, and Docker's call succeeds.
func TestAddedSCTPIsGivenUpByPolicy(t *testing.T) {
	const docker8080 = "tcp 0.0.0.0:8080 -> 10.2.0.2:80"
	host := map[string]string{optPolicy: model.PublishHost}
	both := func() live {
		w := newLive(t)
		must(t, w.createNetwork(netB, "10.2.0.0/24", ""))
		_, err := w.createEndpoint(netB, ep2, "10.2.0.2/24")
		must(t, err)
		must(t, w.joinSandbox(netB, ep2, sandbox))
		return w
	}
	revoke := func(w live, net, id string) {
		must(t, w.RevokeExternalConnectivity(ctx, &network.RevokeExternalConnectivityRequest{NetworkID: net, EndpointID: id}))
	}
	for name, w := range map[string]live{
		"another's": func() live {
			w := both()
			must(t, w.SetNetwork(ctx, netB, host))
			must(t, w.add(ep1, "9000:90/sctp"))
			revoke(w, netA, ep1)
			return w
		}(),
		"its own": func() live {
			w := both()
			revoke(w, netA, ep1)
			must(t, w.pec(netB, ep2, port8080))
			must(t, w.add(ep2, "9000:90/sctp"))
			revoke(w, netB, ep2)
			must(t, w.SetNetwork(ctx, netB, host))
			return w
		}(),
	} {
		said := len(w.said)
		must(t, w.pec(netB, ep2, port8080))
		w.want(ep2, docker8080, "", "")
		if all := strings.Join(w.said[said:], "\n"); strings.Count(all, "9000") != 1 || !strings.Contains(all, "endpoint e2e2e2e2e2e2 can't publish what was added") {
			t.Errorf("%s: it said %q", name, all)
		}
	}
}
