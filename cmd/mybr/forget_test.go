package main

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/nettest"
)

// What Docker has is not forgotten, what it has no more is, with its subnet, and nothing is
// where nobody can be asked.
func TestForget(t *testing.T) {
	nettest.New(t)
	dir := t.TempDir()
	d := newIdler(t, up(t, dir, nil))
	gone := strings.Repeat("b", 64)
	moved := strings.Repeat("d", 64) // its subnet is another network's now
	for id, subnet := range map[string]string{networkID: "10.198.0", gone: "10.199.0", moved: "10.197.0"} {
		d.call(200, "IpamDriver.RequestPool", `{"AddressSpace":"mybr-local","Pool":"%s.0/24"}`, subnet)
		d.call(200, "IpamDriver.RequestAddress", `{"PoolID":"mybr-local/%s.0/24","Options":{"RequestAddressType":"com.docker.network.gateway"}}`, subnet)
		d.call(200, "NetworkDriver.CreateNetwork", `{"NetworkID":%q,"Options":{},"IPv4Data":[{"AddressSpace":"mybr-local","Gateway":"%s.1/24","Pool":"%s.0/24"}]}`, id, subnet, subnet)
	}
	d.call(200, "NetworkDriver.CreateEndpoint", `{"NetworkID":%q,"EndpointID":"e1","Options":{},"Interface":{"Address":"10.199.0.2/24"}}`, gone)
	for _, subnet := range []string{"10.200.0.0/24", "10.201.0.0/24"} {
		d.call(200, "IpamDriver.RequestPool", `{"AddressSpace":"mybr-local","Pool":%q}`, subnet)
	}

	socket := filepath.Join(dir, "docker.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	mux.HandleFunc("GET /v1.41/networks", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`[{"Id":"` + networkID + `","Name":"front","IPAM":{"Config":[{"Subnet":"10.198.0.0/24"}]}},
			{"Id":"` + strings.Repeat("c", 64) + `","Name":"built-in","IPAM":{"Config":[{"Subnet":"10.201.0.0/24"},{"Subnet":"10.197.0.0/24"}]}}]`))
	})
	server := &http.Server{Handler: mux}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	t.Cleanup(func() { server.Close(); <-ended })

	bridge := "br-" + gone[:12]
	for _, c := range []struct {
		args, docker string
		code         int
		want         string // of both outputs
	}{
		{"network forget " + gone[:12], "unix:///nowhere.sock", exitFailed, "--docker none does not ask"},
		{"network forget " + networkID[:12], socket, exitFailed, "network " + networkID[:12] + " is Docker's: docker network rm front removes it"},
		{"network forget " + gone[:12] + " " + networkID, socket, exitFailed, "docker network rm front"},
		{"network forget nosuch", socket, exitFailed, `network "nosuch" is unknown`},
		{"pool forget 10.199.0.0/24", socket, exitFailed, `pool "mybr-local/10.199.0.0/24" is that of network ` + gone},
		{"pool forget 10.201.0.0/24", socket, exitFailed, "subnet 10.201.0.0/24 is that of Docker's network built-in"},
		{"pool forget 10.202.0.0/24", socket, exitFailed, `subnet "10.202.0.0/24" is unknown`},
		{"network inspect " + bridge, socket, 0, "10.199.0.2"}, // nothing has changed yet

		{"network forget " + bridge, socket, 0, gone},
		{"network forget " + moved, socket, 0, moved},
		{"pool forget 10.200.0.0/24", socket, 0, "10.200.0.0/24"},
		{"network forget " + gone[:12], socket, exitFailed, "is unknown"},
		{"pool forget 10.201.0.0/24", "none", 0, "10.201.0.0/24"},
	} {
		code, stdout, stderr := execute(t, folders(dir), append(strings.Fields(c.args), "--docker", c.docker)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%s: exit code %d, %s%s\nwant %d, %s", c.args, code, stdout, stderr, c.code, c.want)
		}
	}
	if _, stdout, stderr := execute(t, folders(dir), "pool", "ls"); strings.Contains(stdout, "10.199.0.0") || strings.Contains(stdout, "10.20") || !strings.Contains(stdout, "10.198.0.0") || !strings.Contains(stdout, "10.197.0.0") {
		t.Errorf("pools: %s%s", stdout, stderr)
	}
	if _, stdout, stderr := execute(t, folders(dir), "endpoint", "ls", "--docker", "none"); strings.Contains(stdout, "10.199.0.2") {
		t.Errorf("endpoints: %s%s", stdout, stderr)
	}
	if _, err := net.InterfaceByName(bridge); err == nil {
		t.Errorf("link %s is there still", bridge)
	}
	if _, err := net.InterfaceByName("br-" + networkID[:12]); err != nil {
		t.Error(err)
	}
}
