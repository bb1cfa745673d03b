package attach

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/ask"
	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/plugin"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// object is what Docker sends and gets.
type object map[string]any

// world is a mybr in this process, with the kernel of the test's network namespace, and with
// Docker played.
type world struct {
	tb   testing.TB
	host *nettest.Host
	dir  string
	mybr *ask.Mybr
	stop func()
	nth  int // of the IDs that were given

	firewall string        // the backend
	resync   time.Duration // how often mybr looks at everything; 0: it looks at nothing by itself

	mu      sync.Mutex
	seen    map[string]int            // fault points that were passed
	awaited map[string]chan time.Time // and those that are to be
}

// newWorld is a fresh host with a link to a LAN.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{tb: tb, host: nettest.Process(tb), dir: tb.TempDir(), firewall: firewallBackend(), resync: time.Hour, seen: map[string]int{}, awaited: map[string]chan time.Time{}}
	w.host.Run("sh", "-c", "ip link add eth0 type veth peer name lan0 && ip addr add 192.0.2.1/24 dev eth0 && ip link set eth0 up && ip link set lan0 up")
	tb.Cleanup(fault.Set(w.pass))
	w.mybr = ask.New(filepath.Join(w.dir, "plugins", "mybr.sock"), 1)
	tb.Cleanup(func() {
		if w.stop != nil {
			w.stop()
		}
		// Rules stay in the namespace that all tests share.
		w.host.Run("sh", "-c", "for c in iptables ip6tables; do for t in filter nat; do $c -t $t -F; $c -t $t -X; done; done; for f in ip ip6; do nft delete table $f mybr 2>/dev/null; done; conntrack -F 2>/dev/null; true")
	})
	return w
}

// start starts mybr, and returns how long it took until it listens and until the host matches.
func (w *world) start() (listens, matches time.Duration) {
	w.tb.Helper()
	tb := w.tb
	ctx, cancel := context.WithCancel(context.Background())
	log := logrus.New()
	logFile, err := os.OpenFile(filepath.Join(w.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	log.SetOutput(logFile)
	sockets, checked := w.await("plugin: after opening the sockets"), w.await("plugin: after the first check")
	done := make(chan error, 1)
	begun := time.Now()
	go func() {
		done <- plugin.Run(ctx, plugin.Config{
			Version: "attach", Name: "mybr", Firewall: w.firewall, SysctlRoot: "/proc/sys", Log: log,
			PluginDir: filepath.Join(w.dir, "plugins"), StateDir: filepath.Join(w.dir, "state"), RunDir: filepath.Join(w.dir, "run"),
			ResyncInterval: w.resync,
		})
	}()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("mybr ended with %v", err)
		}
		logFile.Close()
		w.stop = nil
		w.mybr.Close()
	}
	select {
	case at := <-checked:
		return (<-sockets).Sub(begun), at.Sub(begun)
	case err := <-done:
		w.stop = nil
		tb.Fatalf("mybr ended with %v", err)
	case <-time.After(time.Minute):
		tb.Fatal("the first check is not over")
	}
	return 0, 0
}

// firewallBackend is the one that MYBR_TEST_FIREWALL names; without it iptables.
func firewallBackend() string { return cmp.Or(os.Getenv("MYBR_TEST_FIREWALL"), "iptables") }

// await tells when a point is passed next.
func (w *world) await(point string) <-chan time.Time {
	passed := make(chan time.Time, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awaited[point] = passed
	return passed
}

// pass counts a point.
func (w *world) pass(point string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[point]++
	if passed := w.awaited[point]; passed != nil {
		passed <- time.Now()
		delete(w.awaited, point)
	}
	return nil
}

// counts are those of the costly effects since the last call, before answers.
type counts struct {
	commits, passes, links, programs, settings int
}

func (w *world) counts() (c counts) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer clear(w.seen)
	for point, n := range w.seen {
		switch {
		case point == "store: after the commit":
			c.commits += n
		case point == "reconcile: after the pass":
			c.passes += n
		case point == "link: after deleting a link": // behind the answer
		case strings.HasPrefix(point, "link: after "):
			c.links += n
		case strings.HasPrefix(point, "iptables: after "):
			c.programs += n
		case strings.HasPrefix(point, "sysctl: after "):
			c.settings += n
		}
	}
	return c
}

func (w *world) id() string {
	w.nth++
	sum := sha256.Sum256(fmt.Append(nil, "attach", w.nth))
	return hex.EncodeToString(sum[:])
}

// fill records networks with endpoints, before mybr starts.
func (w *world) fill(networks, endpoints int) (ids []string) {
	w.tb.Helper()
	s, err := store.Open(filepath.Join(w.dir, "state", "mybr.db"))
	if err != nil {
		w.tb.Fatal(err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err == nil {
		_, err = s.Boot(strings.TrimSpace(string(boot)))
	}
	if err == nil {
		_, err = s.Update(func(tx *store.Tx) error {
			for i := range networks {
				n := model.Network{ID: w.id(), Owned: true, ICC: true}
				n.Bridge = "br-" + n.ID[:12]
				n.BridgeMAC = model.MAC{2, 0x42, 0xff, byte(i >> 8), byte(i), 1}
				n.V4 = model.Subnet{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16), Masquerade: true}
				n.V4.Gateway = netip.AddrFrom4([4]byte{10, byte(i), 0, 1})
				n.V4.Address = netip.PrefixFrom(n.V4.Gateway, 16)
				ids = append(ids, n.ID)
				if err := tx.PutNetwork(n); err != nil {
					return err
				}
				for j := range endpoints / networks {
					if err := tx.PutEndpoint(w.endpoint(n, i, j)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		w.tb.Fatal(err)
	}
	return ids
}

// endpoint is the jth endpoint of the ith network.
func (w *world) endpoint(n model.Network, i, j int) model.Endpoint {
	a := netip.AddrFrom4([4]byte{10, byte(i), byte(10 + j/250), byte(1 + j%250)})
	return model.Endpoint{ID: w.id(), NetworkID: n.ID, MAC: model.MAC{2, 0x42, byte(i), 0, byte(j >> 8), byte(j)}, MACGiven: true, V4: netip.PrefixFrom(a, 16)}
}

// address is the next one of the first network, as Docker's IPAM gives them out in turn.
func (w *world) address() string { return fmt.Sprintf("10.0.200.%d/16", 1+w.nth%250) }

// track has the kernel track UDP flows between addresses of documentation (RFC 5737), for longer
// than a benchmark takes.
func (w *world) track(count int) {
	w.tb.Helper()
	to := net.IPv4(203, 0, 113, 1)
	for n := range count {
		from, port := net.IPv4(198, 51, 100, byte(n>>16)), uint16(n)
		if err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, &netlink.ConntrackFlow{
			FamilyType: unix.AF_INET, TimeOut: 7200,
			Forward: netlink.IPTuple{SrcIP: from, DstIP: to, SrcPort: port, DstPort: 53, Protocol: unix.IPPROTO_UDP},
			Reverse: netlink.IPTuple{SrcIP: to, DstIP: from, SrcPort: 53, DstPort: port, Protocol: unix.IPPROTO_UDP},
		}); err != nil {
			w.tb.Fatal(err)
		}
	}
}

// attachment is a container's.
type attachment struct{ network, id string }

func (a attachment) body() object { return object{"NetworkID": a.network, "EndpointID": a.id} }

// ports are what a container publishes: each at a host port of its own number.
type ports struct {
	proto       model.Proto
	first, step int
	count       int
}

// port is one TCP port that is published; 0: none.
func port(n int) ports { return ports{proto: model.TCP, first: n, step: 1, count: min(n, 1)} }

// options are the ports as Docker sends them, in no order (up to Docker 28, that of a map).
func (p ports) options() object {
	published, exposed := make([]object, 0, p.count), make([]object, 0, p.count)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(p.count) {
		n := p.first + i*p.step
		published = append(published, object{"Proto": p.proto, "IP": "", "Port": n, "HostIP": "", "HostPort": n, "HostPortEnd": n})
		exposed = append(exposed, object{"Proto": p.proto, "Port": n})
	}
	return object{"com.docker.network.portmap": published, "com.docker.network.endpoint.exposedports": exposed}
}

// call is one call of Docker's.
func (w *world) call(name string, body object, took func(call string, d time.Duration)) {
	w.tb.Helper()
	text, err := json.Marshal(body) // it takes Docker that, not mybr
	if err != nil {
		w.tb.Fatal(err)
	}
	begun := time.Now()
	if err := w.mybr.Call(w.tb.Context(), name, json.RawMessage(text), nil); err != nil {
		w.tb.Fatal(err)
	}
	took(name, time.Since(begun))
}

// attach is what Docker asks for a container that starts.
func (w *world) attach(network, address string, published ports, took func(call string, d time.Duration)) attachment {
	w.tb.Helper()
	a := attachment{network, w.id()}
	mac := [6]byte{2, 0x42, 0xfe, byte(w.nth >> 16), byte(w.nth >> 8), byte(w.nth)}
	create := a.body()
	create["Interface"] = object{"Address": address, "AddressIPv6": "", "MacAddress": net.HardwareAddr(mac[:]).String()}
	create["Options"] = published.options()
	create["Options"].(object)["com.docker.network.endpoint.macaddress"] = base64.StdEncoding.EncodeToString(mac[:])
	w.call("NetworkDriver.CreateEndpoint", create, took)
	join := a.body()
	join["SandboxKey"], join["Options"] = "/var/run/docker/netns/"+a.id[:12], published.options()
	w.call("NetworkDriver.Join", join, took)
	publish := a.body()
	publish["Options"] = published.options()
	w.call("NetworkDriver.ProgramExternalConnectivity", publish, took)
	w.call("NetworkDriver.EndpointOperInfo", a.body(), took)
	w.call("NetworkDriver.EndpointOperInfo", a.body(), took)
	return a
}

// detach is what Docker asks when the container ends.
func (w *world) detach(a attachment, took func(call string, d time.Duration)) {
	w.tb.Helper()
	for _, name := range []string{"NetworkDriver.RevokeExternalConnectivity", "NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint"} {
		w.call(name, a.body(), took)
	}
}
