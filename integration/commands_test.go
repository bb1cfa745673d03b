package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// TestCommands asks mybr of a real engine what it has, with Docker's names, while containers
// come, are connected to and go. Nothing is watched, so that sync has something to mend.
func TestCommands(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	w := world.New(t, world.Config{MybrArgs: []string{"--resync-interval", "0"}})
	client := plugin.Client{RunDir: w.Path("/run/mybr")}
	events := follow(t, client)
	w.Docker("network", "create", "-d", "mybr", "--ipam-driver", "mybr", "-o", bridgeName+"mybr0", "-o", "com.docker.network.driver.mtu=1450", "--subnet", "172.18.0.0/16", "front")
	w.Docker("network", "create", "-d", "mybr", "--internal", "-o", bridgeName+"mybr1", "back")
	w.Serve("web", []string{"--net", "front", "-p", "8080:80", "-p", "127.0.0.1:8081:81", "-p", "5353:53/udp"}, "tcp:80", "tcp:81", "udp:53")
	w.Docker("network", "connect", "back", "web")
	for range 3 {
		answered(t, "the port", w.LAN.Get("tcp", world.HostAddr+":8080"))
	}
	answered(t, "the other port", w.LAN.Get("udp", world.HostAddr+":5353"))
	answered(t, "the local port", w.Host.Get("tcp", "127.0.0.1:8081"))

	lists(t, w)
	v := seen(t, w)
	want := map[string]string{"tcp 0.0.0.0:8080": "nat 3", "tcp [::]:8080": "process -", "tcp 127.0.0.1:8081": "process -", "udp 0.0.0.0:5353": "nat 1", "udp [::]:5353": "process -"}
	for _, p := range v.Ports {
		have := p.Carried + " -"
		if p.Traffic != nil {
			have = fmt.Sprint(p.Carried, " ", p.Traffic.Connections)
		}
		if key := p.Proto + " " + p.Host.String(); p.Name != "web" || have != want[key] {
			t.Errorf("%s: %s of %q, want %s of web", key, have, p.Name, want[key])
		}
	}
	if len(v.Ports) != len(want) {
		t.Errorf("ports: %+v", v.Ports)
	}

	if r := w.Host.Try("mybr", "sync"); r.Code != 0 || r.Out != "the host matches the records: nothing was to be mended\n" {
		t.Errorf("sync: %+v", r)
	}
	w.Host.Run("ip", "link", "set", "mybr0", "mtu", "1400")
	says := unpublish(w)
	r := w.Host.Try("mybr", "sync")
	for _, want := range []string{`(?m)^link mybr0: MTU 1400 -> 1450$`, "(?m)^" + says("8080"), "(?m)^" + says("5353")} {
		if r.Code != 0 || !regexp.MustCompile(want).MatchString(r.Out) {
			t.Errorf("sync: %+v has no %s", r, want)
		}
	}
	answered(t, "the port after a sync", w.LAN.Get("tcp", world.HostAddr+":8080"))
	if r := w.Host.Try("mybr", "status", "--diff"); r.Code != 0 || r.Out != "" {
		t.Errorf("status --diff: %+v", r)
	}

	w.Docker("rm", "-f", "web")
	w.Docker("network", "rm", "front", "back")
	events.want(t, "network-created mybr0", "endpoint-created mybr0", "port-published mybr0", "network-created mybr1", "endpoint-created mybr1", "healed links", "healed firewall",
		"port-withdrawn mybr0", "endpoint-removed mybr0", "network-removed mybr0", "network-removed mybr1")
	w.StopMybr()
	if err := <-events.ended; err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("the events end with %v", err)
	}
	if r := w.Host.Try("mybr", "ports"); r.Code != 1 || r.Err != "mybr: mybr is not running: no process listens on /run/mybr/mybr.sock (mybr doctor says how to start it)\n" {
		t.Errorf("without mybr: %+v", r)
	}
}

// lists compares what the commands print to people.
func lists(t *testing.T, w *world.World) {
	t.Helper()
	for args, want := range map[string]string{
		"network ls":          `(?m)^[0-9a-f]{12}  front  mybr0   172\.18\.0\.0/16 +nat +1 +-$`,
		"endpoint ls back":    `(?m)^[0-9a-f]{12}  web +back +\S+ +veth[0-9a-f]{10}  yes$`,
		"pool ls":             `(?m)^172\.18\.0\.0/16  - +mybr-local  \S+ +65534  2 +0 +0 +65532  172\.18\.0\.3$`,
		"ports web":           `(?m)^tcp +0\.0\.0\.0:8080 +web +172\.18\.0\.2:80 +front +nat +3$`,
		"network inspect fro": ``,
		"topology --ascii":    `web`,
	} {
		r := w.Host.Try(append([]string{"mybr"}, strings.Fields(args)...)...)
		if want == "" {
			if r.Code != 1 || !strings.Contains(r.Err, `network "fro" is unknown`) {
				t.Errorf("%s: %+v", args, r)
			}
		} else if r.Code != 0 || r.Err != "" || !regexp.MustCompile(want).MatchString(r.Out) {
			t.Errorf("%s: %+v, want %s", args, r, want)
		}
	}
	id := w.Docker("network", "inspect", "-f", "{{.Id}}", "front")
	for _, word := range []string{"front", "mybr0", id, id[:10]} {
		if out := w.Host.Run("mybr", "network", "inspect", word); !strings.Contains(out, "id:         "+id) || !strings.Contains(out, "172.18.0.2:80") {
			t.Errorf("network inspect %s:\n%s", word, out)
		}
	}
}

// seen is what mybr ports and mybr network ls print to programs.
func seen(t *testing.T, w *world.World) (v view.View) {
	t.Helper()
	for _, args := range []string{"ports", "network ls", "endpoint ls", "pool ls"} {
		out := w.Host.Run(append([]string{"mybr", "-o", "json"}, strings.Fields(args)...)...)
		if err := json.Unmarshal([]byte(out), &v); err != nil || v.Version != 1 {
			t.Errorf("%s: version %d, %v", args, v.Version, err)
		}
	}
	if len(v.Networks) != 2 || len(v.Endpoints) != 2 || len(v.Pools) != 1 || v.Pools[0].Next != netip.MustParseAddr("172.18.0.3") {
		t.Errorf("%+v", v)
	}
	for _, e := range v.Endpoints {
		if e.Container != "web" || e.Sandbox == "" {
			t.Errorf("%+v", e)
		}
	}
	return v
}

// following is what mybr tells of what happens.
type following struct {
	events chan event.Event
	ended  chan error
}

func follow(t *testing.T, c plugin.Client) following {
	f := following{make(chan event.Event, event.Kept), make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	begun := make(chan struct{})
	go func() {
		once := false
		f.ended <- c.Events(ctx, 1, func(e event.Event) error {
			if !once {
				once = true
				close(begun)
			}
			f.events <- e
			return nil
		})
	}()
	t.Cleanup(cancel)
	select {
	case <-begun: // that of the first pass
	case <-time.After(healWithin):
		t.Fatal("there is not even an event of the start")
	}
	return f
}

// want waits until all have been told of, in any order.
func (f following) want(t *testing.T, all ...string) {
	t.Helper()
	deadline := time.After(healWithin)
	var have []string
	for len(all) > 0 {
		select {
		case e := <-f.events:
			subject := e.Bridge
			if e.Aspect != "" {
				subject = e.Aspect
			}
			have = append(have, e.Kind+" "+subject)
			all = slices.DeleteFunc(all, func(w string) bool { return w == e.Kind+" "+subject })
		case <-deadline:
			t.Fatalf("nothing was told of %q; of %q it was", all, have)
		}
	}
}
