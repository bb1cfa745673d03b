package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mybr/mybr/integration/ask"
	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/plugin"
)

// request sends a request to mybr as Docker does, and gives an error that isn't mybr's.
func request(ctx context.Context, w *world.World, method string, body any) error {
	return ask.New(w.Path("/run/docker/plugins/mybr.sock"), 0).Call(ctx, method, body, nil)
}

// object is a JSON object of Docker's requests.
type object = map[string]any

// networkRequest is CreateNetwork for a subnet 10.SECOND.0.0/16.
func networkRequest(id string, second int) object {
	return object{"NetworkID": id, "Options": object{}, "IPv4Data": []object{{
		"AddressSpace": "LocalDefault", "Pool": fmt.Sprintf("10.%d.0.0/16", second), "Gateway": fmt.Sprintf("10.%d.0.1/16", second)}}}
}

// hangUp sends a request and closes the connection without waiting for the answer; cut
// takes so many bytes off its end.
func hangUp(t *testing.T, w *world.World, method string, body any, cut int) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", w.Path("/run/docker/plugins/mybr.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	whole := fmt.Sprintf("POST /%s HTTP/1.1\r\nHost: plugin\r\nContent-Length: %d\r\n\r\n%s", method, len(text), text)
	if _, err := io.WriteString(c, whole[:len(whole)-cut]); err != nil {
		t.Fatal(err)
	}
}

// clientHangsUp: Docker ends, or gives a call up, before it is answered. What it wanted made
// is not there, whether or not the call had wholly arrived, and can be asked for again;
// what it wanted removed goes.
func clientHangsUp(t *testing.T, w *world.World) {
	w.Network("n0", "--subnet", "172.18.0.0/16", "-o", bridgeName+"mybr0")
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	files := descriptors(t, w)
	id := strings.Repeat("ab", 32)
	bridge := "br-" + id[:12]
	wait := func(there bool) {
		t.Helper()
		w.Eventually(10*time.Second, func() error {
			if _, have := w.Host.Link(bridge); have != there {
				return fmt.Errorf("bridge %s: there %v, want %v", bridge, have, there)
			}
			return nil
		})
	}
	create, remove := networkRequest(id, 50), object{"NetworkID": id}
	for range 20 {
		hangUp(t, w, "NetworkDriver.CreateNetwork", create, 1)
	}
	// A whole request that comes later is answered after them.
	w.Network("later", "--subnet", "172.19.0.0/16")
	w.Docker("network", "rm", "later")
	if _, have := w.Host.Link(bridge); have {
		t.Error("a request without its end has made a bridge")
	}
	for range 10 {
		hangUp(t, w, "NetworkDriver.CreateNetwork", create, 0)
		w.Network("later", "--subnet", "172.19.0.0/16")
		w.Docker("network", "rm", "later")
		wait(false)
		if err := request(t.Context(), w, "NetworkDriver.CreateNetwork", create); err != nil {
			t.Fatalf("repeated: %v", err)
		}
		wait(true)
		hangUp(t, w, "NetworkDriver.DeleteNetwork", remove, 0)
		wait(false)
	}
	w.Eventually(10*time.Second, func() error {
		if have := descriptors(t, w); have > files+2 { // Docker keeps a connection or two
			return fmt.Errorf("mybr has %d open files, had %d", have, files)
		}
		return nil
	})
	seenAs(t, "a container that was there", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	w.Docker("rm", "-f", "web")
	w.Docker("network", "rm", "n0")
	nothingRecorded(t, w)
}

// thousandEndpoints makes them as Docker does, twelve calls at a time, on two bridges (a
// bridge has 1023 ports, BR_MAX_PORTS of the kernel), with their ends in a namespace of a
// container's. mybr starts again beside them, they all stay, and go.
func thousandEndpoints(t *testing.T, w *world.World) {
	const networks, each, callers = 2, 500, 12
	before := footprint(w)
	w.Host.Run("ip", "netns", "add", "pod")
	pod, err := os.Open(w.Path("/run/netns/pod"))
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	id := func(kind string, n int) string { return fmt.Sprintf("%08x%s%052d", n+1, kind, 0) }
	ask := func(method string, body object) {
		if err := request(t.Context(), w, "NetworkDriver."+method, body); err != nil {
			t.Error(err)
		}
	}
	for n := range networks {
		ask("CreateNetwork", networkRequest(id("beef", n), 60+n))
	}
	endpoint := func(i int) object {
		return object{"NetworkID": id("beef", i%networks), "EndpointID": id("cafe", i)}
	}
	timed := func(what string, do func(i int)) {
		begun := time.Now()
		var next atomic.Int64
		var calls sync.WaitGroup
		for range callers {
			calls.Go(func() {
				for i := int(next.Add(1)) - 1; i < networks*each && !t.Failed(); i = int(next.Add(1)) - 1 {
					do(i)
				}
			})
		}
		calls.Wait()
		t.Logf("%d endpoints, %s: %.1f s", networks*each, what, time.Since(begun).Seconds())
	}
	timed("made", func(i int) {
		e := endpoint(i)
		e["Interface"] = object{"Address": fmt.Sprintf("10.%d.%d.%d/16", 60+i%networks, 1+i/networks/250, 1+i/networks%250)}
		ask("CreateEndpoint", e)
	})
	timed("joined", func(i int) {
		e := endpoint(i)
		e["SandboxKey"] = fmt.Sprint("/var/run/docker/netns/", i)
		ask("Join", e)
	})
	if t.Failed() {
		return
	}
	// Docker moves the container's ends, whose names it gets from Join.
	veths := slices.DeleteFunc(w.Host.Links(), func(l report.Link) bool { return l.Kind != "veth" || l.Master != 0 || l.Name == "eth0" })
	if len(veths) != networks*each {
		t.Fatalf("%d container's ends are on the host, want %d", len(veths), networks*each)
	}
	for _, l := range veths {
		if err := w.Host.Handle().LinkSetNsFd(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: l.Index}}, int(pod.Fd())); err != nil {
			t.Fatal(err)
		}
	}

	w.KillMybr()
	begun := time.Now()
	w.StartMybr()
	client := plugin.Client{RunDir: w.Path("/run/mybr")}
	w.Eventually(60*time.Second, func() error {
		s, err := client.Status(t.Context())
		if err != nil {
			return err
		}
		if !s.Ready || s.Endpoints != networks*each {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	t.Logf("in step again after %.1f s", time.Since(begun).Seconds())
	for n := range networks {
		if have := len(ports(t, w, "br-"+id("beef", n)[:12])); have != each {
			t.Errorf("network %d has %d ports, want %d", n, have, each)
		}
	}
	timed("removed", func(i int) {
		ask("Leave", endpoint(i))
		ask("DeleteEndpoint", endpoint(i))
	})
	for n := range networks {
		ask("DeleteNetwork", object{"NetworkID": id("beef", n)})
	}
	w.Host.Run("ip", "netns", "del", "pod")
	same(t, w, "after removal", before)
	nothingRecorded(t, w)
}
