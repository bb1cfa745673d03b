package plugin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/ipam"
)

// busy is a host on which everything takes a moment, and every seventh pass fails.
type busy struct {
	nowhere
	mu     sync.Mutex
	passes int
}

func (b *busy) Sync(context.Context, ...string) error {
	for range rand.IntN(40) {
		runtime.Gosched()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.passes++; b.passes%7 == 0 {
		return fmt.Errorf("pass %d failed", b.passes)
	}
	return nil
}

// storm is a server with the calls of both protocols, with records and without a host.
type storm struct {
	*server
	records *store.Store
	begun   sync.Map // request → chan struct{}, closed when that is being carried out
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	records, err := store.Open(filepath.Join(t.TempDir(), "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { records.Close() })
	s := &storm{records: records}
	networks := driver.New(driver.Config{Store: driverRecords{records}, Sync: &busy{}, Ports: nowhere{}, Links: nowhere{}})
	calls := routes(networks, ipam.New(ipam.Config{Store: pools{records}, Routes: nowhere{}}), func() {})
	for path, c := range calls {
		prepare := c.prepare
		c.prepare = func(body []byte) (*prepared, error) {
			p, err := prepare(body)
			if begun, ok := s.begun.LoadAndDelete(path + string(body)); ok && err == nil {
				do := p.do
				p.do = func(ctx context.Context) ([]byte, error) {
					close(begun.(chan struct{}))
					return do(ctx)
				}
			}
			return p, err
		}
		calls[path] = c
	}
	s.server = serve(t, calls)
	return s
}

// ask makes a call and reads its answer, or hangs up: when it has sent a part of the
// request, or all of it, or when the call is being carried out.
func (s *storm) ask(rnd *rand.Rand, path, body string) (status int) {
	var conn *net.UnixConn
	switch rnd.IntN(10) {
	case 0:
		conn = s.begin(path, len(body), body[:rnd.IntN(len(body))])
	case 1:
		conn = s.request(path, body)
	case 2, 3:
		body += " " // so that it differs from a call that was given up before
		begun := make(chan struct{})
		s.begun.Store(path+body, begun)
		conn = s.request(path, body)
		wait(s.t, "the call begins", begun)
		for range rnd.IntN(20) {
			runtime.Gosched()
		}
	default:
		conn = s.request(path, body)
		if rnd.IntN(2) == 0 {
			_ = conn.CloseWrite()
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			s.t.Error(err)
			break
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		status = resp.StatusCode
	}
	conn.Close()
	return status
}

// Clients of both protocols hang up at any moment. What is asked for again succeeds, and
// when everything has been removed, no record or goroutine is left.
func TestStormOfHangUps(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := newStorm(t)
	var workers sync.WaitGroup
	for n := range 8 {
		workers.Go(func() { s.lifecycles(n, 12) })
	}
	workers.Wait()
	for n := range 8 {
		s.must("/NetworkDriver.DeleteNetwork", fmt.Sprintf(`{"NetworkID":%q}`, networkID(n)))
		s.must("/IpamDriver.ReleasePool", fmt.Sprintf(`{"PoolID":"mybr-local/10.%d.0.0/24"}`, n))
	}
	if left := s.records.Snapshot(); len(left.Networks)+len(left.Endpoints) > 0 {
		t.Errorf("left are %+v", left)
	}
	err := s.records.View(func(tx *store.Tx) error {
		if left := tx.Pools(); len(left) > 0 {
			return fmt.Errorf("left are %+v", left)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(s.log.String(), "crashed") {
		t.Errorf("a call crashed:\n%s", s.log)
	}
	s.stop()
	goleak.VerifyNone(t, before)
}

func networkID(n int) string { return fmt.Sprintf("%04x%060x", n+1, 0) }

// lifecycles takes endpoints of a network from their making to their end, as Docker does.
func (s *storm) lifecycles(n, count int) {
	rnd := rand.New(rand.NewPCG(7, uint64(n)))
	s.must("/IpamDriver.RequestPool", fmt.Sprintf(`{"AddressSpace":"mybr-local","Pool":"10.%d.0.0/24"}`, n)) // asked for again, it is another network's
	s.eventually(rnd, "/NetworkDriver.CreateNetwork", fmt.Sprintf(`{"NetworkID":%q,"Options":{"com.docker.network.generic":{}},
		"IPv4Data":[{"AddressSpace":"mybr-local","Gateway":"10.%d.0.1/24","Pool":"10.%d.0.0/24"}]}`, networkID(n), n, n))
	for i := range count {
		ids := fmt.Sprintf(`"NetworkID":%q,"EndpointID":"%04x%060x"`, networkID(n), 1000*(n+1)+i, 0)
		address := fmt.Sprintf("10.%d.0.%d", n, 2+i)
		s.eventually(rnd, "/IpamDriver.RequestAddress", fmt.Sprintf(`{"PoolID":"mybr-local/10.%d.0.0/24","Address":%q,"Options":{"com.docker.network.endpoint.macaddress":"02:42:0a:00:%02x:%02x"}}`, n, address, n, i))
		s.eventually(rnd, "/NetworkDriver.CreateEndpoint", fmt.Sprintf(`{%s,"Interface":{"Address":"%s/24","MacAddress":"02:42:0a:00:%02x:%02x"}}`, ids, address, n, i))
		s.eventually(rnd, "/NetworkDriver.Join", fmt.Sprintf(`{%s,"SandboxKey":"/var/run/docker/netns/%d-%d"}`, ids, n, i))
		s.eventually(rnd, "/NetworkDriver.ProgramExternalConnectivity", fmt.Sprintf(`{%s,"Options":{"com.docker.network.portmap":[{"Proto":6,"Port":80,"HostPort":8080}]}}`, ids))
		for _, last := range []string{"RevokeExternalConnectivity", "Leave", "DeleteEndpoint"} {
			if rnd.IntN(3) > 0 { // Docker may have been killed
				s.ask(rnd, "/NetworkDriver."+last, "{"+ids+"}")
			}
		}
	}
}

// eventually makes a call until it succeeds.
func (s *storm) eventually(rnd *rand.Rand, path, body string) {
	for range 100 {
		if s.ask(rnd, path, body) == http.StatusOK {
			return
		}
	}
	s.t.Errorf("%s never succeeded: %s\n%s", path, body, s.log)
	runtime.Goexit()
}

// must makes a call that has to succeed.
func (s *storm) must(path, body string) {
	s.t.Helper()
	if status, answer := s.post(path, body); status != http.StatusOK {
		s.t.Errorf("%s: %d %s", path, status, answer)
	}
}

// A request that is cut at any byte is not carried out.
func TestRequestCutAtEachByte(t *testing.T) {
	s := newStorm(t)
	body, err := json.Marshal(map[string]any{"NetworkID": networkID(0), "IPv4Data": []any{map[string]any{"Pool": "10.0.0.0/24", "Gateway": "10.0.0.1/24"}}})
	if err != nil {
		t.Fatal(err)
	}
	for n := range body {
		s.begin("/NetworkDriver.CreateNetwork", len(body), string(body[:n])).Close()
	}
	waitFor(t, func() bool { return len(s.log.entries(t)) == len(body) })
	for _, e := range s.log.entries(t) {
		if e["msg"] != "call refused" || e["error"] != "the request broke off: unexpected EOF" {
			t.Fatalf("log entry %v", e)
		}
	}
	if left := s.records.Snapshot(); len(left.Networks) > 0 {
		t.Errorf("there are %+v", left)
	}
}
