package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/plugin"
)

// idler calls a process over and over, on one connection.
type idler struct {
	t      *testing.T
	i      *instance
	client *http.Client
}

func newIdler(t *testing.T, i *instance) *idler {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", i.plugin)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &idler{t, i, &http.Client{Transport: transport, Timeout: testWithin}}
}

// call makes a call that has the given status, and gives the answer.
func (d *idler) call(status int, path, format string, args ...any) string {
	d.t.Helper()
	resp, err := d.client.Post("http://mybr/"+path, "application/json", strings.NewReader(fmt.Sprintf(format, args...)))
	if err != nil {
		d.t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		d.t.Errorf("%s %s: %s %s %v, want %d", path, fmt.Sprintf(format, args...), resp.Status, answer, err, status)
	}
	return string(answer)
}

// callers take addresses at a time: their calls share commits, so that a test of many calls
// takes less.
const callers = 4

// addresses takes n addresses of a pool, by all callers, and gives them back.
func addresses(all []*idler, n int) {
	var ended sync.WaitGroup
	for i, d := range all {
		ended.Go(func() { d.addresses(i, n/len(all)) })
	}
	ended.Wait()
}

// addresses takes addresses of the caller's own part of a pool and gives them back. Every
// tenth time calls fail.
func (d *idler) addresses(caller, n int) {
	const pool, own = `"PoolID":"mybr-local/10.197.0.0/24"`, 250 / callers
	for k := range n {
		a := fmt.Sprintf("10.197.0.%d", 2+caller*own+k%own)
		d.call(200, "IpamDriver.RequestAddress", `{%s,"Address":%q,"Options":{"com.docker.network.endpoint.macaddress":"02:42:00:00:00:01"}}`, pool, a)
		if k%10 == 0 {
			d.call(500, "IpamDriver.RequestAddress", `{%s,"Address":%q}`, pool, a) // in use
			d.call(500, "IpamDriver.RequestAddress", `{"PoolID":"none","Address":%q}`, a)
			d.call(500, "IpamDriver.RequestPool", `{"AddressSpace":"mybr-local","Pool":"10.197.0.0/25"}`) // overlaps
			d.call(400, "IpamDriver.RequestPool", `{"AddressSpace":`)
		}
		d.call(200, "IpamDriver.ReleaseAddress", `{%s,"Address":%q}`, pool, a)
	}
}

// endpoints makes endpoints and deletes them. Every fifth time calls fail: on the way in, and
// half-way.
func (d *idler) endpoints(n int) {
	d.t.Helper()
	for k := range n {
		id := fmt.Sprintf("%064x", k+1)
		of := fmt.Sprintf(`"NetworkID":%q,"EndpointID":%q`, networkID, id)
		create := fmt.Sprintf(`{%s,"Options":{},"Interface":{"Address":"10.198.1.%d/24","MacAddress":""}}`, of, 2+k%250)
		d.call(200, "NetworkDriver.CreateEndpoint", "%s", create)
		d.call(200, "NetworkDriver.Join", `{%s,"SandboxKey":"/var/run/docker/netns/%012x","Options":{}}`, of, k)
		if k%5 == 0 {
			d.call(500, "NetworkDriver.CreateEndpoint", `{"NetworkID":"none","EndpointID":%q}`, id)
			d.call(500, "NetworkDriver.ProgramExternalConnectivity",
				`{%s,"Options":{"com.docker.network.portmap":[{"Proto":6,"Port":80,"HostIP":"192.0.2.200","HostPort":80}]}}`, of) // no address of this host
		}
		d.call(200, "NetworkDriver.Leave", `{%s}`, of)
		d.call(200, "NetworkDriver.DeleteEndpoint", `{%s}`, of)
	}
}

// networks makes networks and deletes them; every second time one more is refused.
func (d *idler) networks(n int) {
	d.t.Helper()
	for k := range n {
		id := fmt.Sprintf("%064x", 1<<32+k)
		body := fmt.Sprintf(`{"NetworkID":%q,"Options":{},"IPv4Data":[{"AddressSpace":"x","Gateway":"10.196.1.1/24","Pool":"10.196.1.0/24"}]}`, id)
		d.call(200, "NetworkDriver.CreateNetwork", "%s", body)
		if k%2 == 0 {
			d.call(500, "NetworkDriver.CreateNetwork", "%s", strings.Replace(body, id, strings.Repeat("f", 64), 1)) // the subnet is taken
		}
		d.call(200, "NetworkDriver.DeleteNetwork", `{"NetworkID":%q}`, id)
	}
}

func (d *idler) operator() plugin.Client {
	return plugin.Client{RunDir: strings.TrimSuffix(d.i.admin, "/mybr.sock")}
}

func (d *idler) resources() plugin.Runtime {
	d.t.Helper()
	r, err := d.operator().Runtime(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// Ten thousand times something is made and removed again, by calls that succeed and calls
// that fail: the process is then as big as it was, and so is its file.
func TestNothingGrows(t *testing.T) {
	nettest.New(t)
	dir, err := os.MkdirTemp("/dev/shm", "mybr") // no disk: it is not about one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	i := up(t, dir, []string{"MYBR_ADDRESS_QUARANTINE=1s"},
		func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args, "--log-level", "panic") }) // ten thousand lines help nobody
	var all []*idler
	for range callers {
		all = append(all, newIdler(t, i))
	}
	d := all[0]
	d.call(200, "NetworkDriver.CreateNetwork", "%s", createBody)
	d.call(200, "IpamDriver.RequestPool", `{"AddressSpace":"mybr-local","Pool":"10.197.0.0/24"}`)
	round := func(leases, endpoints, networks int) {
		t.Helper()
		begun := time.Now()
		addresses(all, leases)
		d.endpoints(endpoints)
		d.networks(networks)
		t.Logf("%d addresses, %d endpoints, %d networks in %v: %+v", leases, endpoints, networks, time.Since(begun), d.resources())
	}
	round(1000, 20, 5)
	before := d.resources()
	round(9800, 150, 50)
	var after plugin.Runtime
	waitFor(t, func() bool { // what ended a moment ago has its goroutine still
		after = d.resources()
		return after.Goroutines <= before.Goroutines && after.Descriptors <= before.Descriptors
	})
	s, err := d.operator().Status(t.Context())
	if err != nil || s.Networks != 1 || s.Endpoints != 0 || s.Differences != 0 || s.LastError != "" {
		t.Errorf("status: %+v %v, want the one network and nothing else", s, err)
	}
	if limit := before.Heap + 1<<20; after.Heap > limit {
		t.Errorf("the heap has %d bytes, had %d: want at most %d", after.Heap, before.Heap, limit)
	}
	if limit := before.Records + 128<<10; after.Records > limit {
		t.Errorf("the records take %d bytes, took %d: want at most %d", after.Records, before.Records, limit)
	}
}
