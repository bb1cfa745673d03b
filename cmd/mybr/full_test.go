package main

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/plugin"
)

// bridgePorts is how many ports the kernel allows a bridge: BR_MAX_PORTS (1 << 10) less
// number 0, which is no port's (net/bridge/br_private.h, find_portno in br_if.c).
const bridgePorts = 1<<10 - 1

// A network has as many endpoints as its bridge has ports. The next one is refused with an
// error that says which network is full and what to do; nothing of it is left, other
// networks go on, and there is room once one goes.
func TestFullNetwork(t *testing.T) {
	nettest.New(t)
	i := up(t, t.TempDir(), nil, func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args, "--log-level", "warn") })
	d := newIdler(t, i)
	other := strings.Repeat("a", 64)
	for id, second := range map[string]int{networkID: 198, other: 199} {
		d.call(200, "NetworkDriver.CreateNetwork", `{"NetworkID":%q,"Options":{},"IPv4Data":[{"AddressSpace":"x","Gateway":"10.%d.0.1/16","Pool":"10.%d.0.0/16"}]}`, id, second, second)
	}
	create := func(status int, network string, second, n int) string {
		return d.call(status, "NetworkDriver.CreateEndpoint", `{"NetworkID":%q,"EndpointID":"%08x%056d","Options":{},"Interface":{"Address":"10.%d.%d.%d/16"}}`,
			network, second<<16|n, 0, second, 1+n/250, 1+n%250)
	}
	var next atomic.Int64
	var callers sync.WaitGroup
	for range 12 {
		callers.Go(func() {
			for n := int(next.Add(1)); n <= bridgePorts && !t.Failed(); n = int(next.Add(1)) {
				create(200, networkID, 198, n)
			}
		})
	}
	callers.Wait()
	for range 2 {
		answer := create(500, networkID, 198, 2000)
		for _, want := range []string{"bridge br-" + networkID[:12] + " is full: it has the 1023 ports that the kernel allows", "a second network"} {
			if !strings.Contains(answer, want) {
				t.Errorf("have %s, want %s", answer, want)
			}
		}
		create(200, other, 199, 1)
		d.call(200, "NetworkDriver.DeleteEndpoint", `{"NetworkID":%q,"EndpointID":"%08x%056d"}`, other, 199<<16|1, 0)
	}
	var s plugin.Status
	var err error
	waitFor(t, func() bool { // the pass that the last refusal asked for may be under way
		s, err = d.operator().Status(t.Context())
		return s.Unknown == "" || err != nil
	})
	if err != nil || s.Endpoints != bridgePorts || s.Differences != 0 || s.LastError != "" || s.Unknown != "" {
		t.Errorf("status: %+v %v", s, err)
	}
	d.call(200, "NetworkDriver.DeleteEndpoint", `{"NetworkID":%q,"EndpointID":"%08x%056d"}`, networkID, 198<<16|7, 0)
	create(200, networkID, 198, 2000)
	out, err := exec.Command("ip", "-o", "link", "show", "master", "br-"+networkID[:12]).CombinedOutput()
	if have := strings.Count(string(out), "\n"); err != nil || have != bridgePorts {
		t.Errorf("the bridge has %d ports (%v), want %d", have, err, bridgePorts)
	}
	if text := fmt.Sprint(i.log); strings.Contains(text, "panic") {
		t.Error(text)
	}
}
