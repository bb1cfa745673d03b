package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/ipam"
)

// nowhere is a host on which everything succeeds.
type nowhere struct{}

func (nowhere) Sync(context.Context, ...string) error { return nil }
func (nowhere) Links() ([]model.Link, error)          { return nil, nil }
func (nowhere) Routes() ([]netip.Prefix, error)       { return nil, nil }
func (nowhere) Reserve(owner string, reqs []model.PortRequest) ([]model.PortBinding, func(), error) {
	return nil, func() {}, nil
}

// FuzzCalls sends any body to every call. Whatever it is, the answer is JSON, an error
// is in the fields of both protocols, and nothing panics.
func FuzzCalls(f *testing.F) {
	const id = `"8b2e0000000000000000000000000000000000000000000000000000000000f9"`
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `{"NetworkID":7}`, `{"NetworkID":""}`, `{"networkid":"a","NetworkID":"b"}`, "{\"NetworkID\":\"\xff\"}",
		`{"NetworkID":` + id + `,"Options":{"com.docker.network.enable_ipv6":false,"com.docker.network.generic":{"com.docker.network.bridge.name":"xyz","com.docker.network.driver.mtu":"1400"}},
		  "IPv4Data":[{"AddressSpace":"LocalDefault","AuxAddresses":{"DefaultGatewayIPv4":"10.198.1.9/24"},"Gateway":"10.198.1.1/24","Pool":"10.198.1.0/24"}],"IPv6Data":[]}`,
		`{"NetworkID":` + id + `,"EndpointID":` + id + `,"Interface":{"Address":"10.198.1.77/24","MacAddress":"02:42:0a:c6:01:4d"},"Options":{"com.docker.network.portmap":[]}}`,
		`{"NetworkID":` + id + `,"EndpointID":` + id + `,"SandboxKey":"/var/run/docker/netns/5f4f711ce5c2","Options":{"com.docker.network.portmap":[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8090}]}}`,
		`{"NetworkID":` + id + `,"IPv4Data":[null]}`, `{"NetworkID":` + id + `,"IPv4Data":[{"Pool":"0.0.0.0/0"}]}`,
		`{"AddressSpace":"mybr-local","Pool":"10.198.7.0/24","SubPool":"10.198.7.64/26","Options":{"a":"b"},"V6":false}`,
		`{"AddressSpace":"mybr-local"}`, `{"PoolID":"mybr-local/10.198.7.0/24","Address":"","Options":{"RequestAddressType":"com.docker.network.gateway"}}`,
		`{"PoolID":"mybr-local/10.198.7.0/24","Address":"10.198.7.9","Options":{"com.docker.network.endpoint.macaddress":"02:42:0a:c6:01:4d"}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		records, err := store.Open(filepath.Join(t.TempDir(), "mybr.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer records.Close()
		log := logrus.New()
		log.SetOutput(io.Discard)
		networks := driver.New(driver.Config{Store: driverRecords{records}, Sync: nowhere{}, Ports: nowhere{}, Links: nowhere{}})
		calls := routes(networks, ipam.New(ipam.Config{Store: pools{records}, Routes: nowhere{}}), func() {})
		h := &handler{calls: calls, ready: closed(), stopping: make(chan struct{}), log: log}
		for _, path := range inCallOrder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
			var answer struct{ Err, Error string }
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Errorf("%s: %v in %q", path, err, w.Body)
			}
			if bad := w.Code != http.StatusOK; bad != (answer.Err != "") || answer.Err != answer.Error {
				t.Errorf("%s: status %d, %s", path, w.Code, w.Body)
			}
			if bytes.Contains(w.Body.Bytes(), []byte("crashed")) {
				t.Errorf("%s: %s", path, w.Body)
			}
		}
	})
}

// inCallOrder is the calls in an order in which each finds the records that it needs.
var inCallOrder = []string{
	"/IpamDriver.RequestPool", "/IpamDriver.RequestAddress", "/NetworkDriver.GwAllocCheck", "/NetworkDriver.CreateNetwork",
	"/NetworkDriver.CreateEndpoint", "/NetworkDriver.Join", "/NetworkDriver.ProgramExternalConnectivity",
	"/NetworkDriver.EndpointOperInfo", "/NetworkDriver.RevokeExternalConnectivity", "/NetworkDriver.Leave",
	"/NetworkDriver.DeleteEndpoint", "/NetworkDriver.DeleteNetwork", "/NetworkDriver.AllocateNetwork", "/NetworkDriver.FreeNetwork",
	"/NetworkDriver.DiscoverNew", "/NetworkDriver.DiscoverDelete", "/IpamDriver.ReleaseAddress", "/IpamDriver.ReleasePool",
}
