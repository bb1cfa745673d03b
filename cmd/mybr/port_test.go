package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/docker"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// The container's endpoint that publishes its ports is asked, and what has changed is printed.
func TestPort(t *testing.T) {
	f := newFake(t)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(f.dir, "docker.sock"))
	ap := netip.MustParseAddrPort
	var asked []plugin.Ports
	refused := ""
	f.ports = func(what plugin.Ports) ([]plugin.Binding, string) {
		asked = append(asked, what)
		return []plugin.Binding{
			{Proto: "tcp", Host: ap("0.0.0.0:8081"), Container: ap("172.18.0.2:81"), Count: 1},
			{Proto: "udp", Host: ap("[2001:db8::7]:9000"), Container: ap("[fd00:18::2]:90"), Count: 10},
			{Proto: "tcp", Container: ap("10.9.0.2:81"), Count: 1},
		}, refused
	}
	try := func(name, args string, want ...plugin.Ports) {
		t.Helper()
		asked = nil
		code, stdout, stderr := f.run(args)
		golden(t, name+".txt", args, code, stdout, stderr)
		if !reflect.DeepEqual(asked, want) {
			t.Errorf("%s asks for %+v, want %+v", args, asked, want)
		}
	}
	try("port-add", "port add web 8081:81 [2001:db8::7]:9000-9009:90-99/udp",
		plugin.Ports{Network: front, Endpoint: web, Ports: []string{"8081:81", "[2001:db8::7]:9000-9009:90-99/udp"}})
	try("port-add-network", "port add web 81 --network back", plugin.Ports{Network: back, Endpoint: webBack, Ports: []string{"81"}})
	try("port-add-id", "port add d00 81", plugin.Ports{Network: old, Endpoint: db, Ports: []string{"81"}})
	try("port-rm", "port rm web 80", plugin.Ports{Network: front, Endpoint: web, Ports: []string{"80"}, Remove: true})
	refused = "publish ports of endpoint e0000001e000: Bind for 0.0.0.0:8081 failed: port is already allocated"
	try("port-add-refused", "port add web 8081:81", plugin.Ports{Network: front, Endpoint: web, Ports: []string{"8081:81"}})
	try("port-add-unknown", "port add cache 8081:81")
	try("port-add-nothing", "port add web")
	try("port-add-unnamed", "port add web 8081:81 --docker none")
}

func TestFindPublisher(t *testing.T) {
	v := view.View{Networks: []view.Network{{ID: "a", Name: "front"}, {ID: "b", Name: "back"}},
		Endpoints: []view.Endpoint{{ID: "1", Network: "a", Container: "web"}, {ID: "2", Network: "b", Container: "web"}, {ID: "3", Network: "b", Container: "db"}}}
	for _, c := range []struct{ gateways, word, network, want string }{
		{"1=1/front 2=1/front", "web", "", "1"},
		{"1=2/back 2=2/back", "web", "", "2"},
		{"1=2/back 2=2/back", "web", "front", "1"},
		{"1=2/back 2=2/back", "1", "", "1"},
		{"1=9/lan 2=9/lan", "web", "", `the default route of container "web" is network "lan", which is not mybr's, and publishes its ports: --network says which of mybr's is to publish some all the same`},
		{"1=9/lan 2=9/lan", "web", "back", "2"},
		{"", "web", "", `container "web" is on front, back: say which is meant with --network`},
		{"", "db", "", "3"},
		{"", "db", "front", `endpoint "db" is unknown: mybr endpoint ls lists what there is`},
	} {
		e, err := findPublisher(v, parseGateways(c.gateways), c.word, c.network)
		have := e.ID
		if err != nil {
			have = fmt.Sprint(err)
		}
		if have != c.want {
			t.Errorf("%+v: have %s", c, have)
		}
	}
}

// Added and removed ports are shown.
func TestChangedPorts(t *testing.T) {
	f := newFake(t)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(f.dir, "docker.sock"))
	for i := range f.view.Ports {
		switch p := &f.view.Ports[i]; p.Proto {
		case "udp":
			p.Added = 4
		case "tcp":
			p.Added = int(p.Host.Port() / 8080)
		}
	}
	for i := range f.view.Endpoints {
		if e := &f.view.Endpoints[i]; e.ID == web {
			e.Removed = []string{"tcp 0.0.0.0:9000-9009 -> 172.18.0.2:90-99"}
		}
	}
	for name, args := range map[string]string{"ports-changed": "ports", "ports-changed-some": "ports d00", "ports-changed-endpoints": "endpoint ls -o json"} {
		code, stdout, stderr := f.run(args)
		golden(t, name+".txt", args, code, stdout, stderr)
	}
}

func parseGateways(text string) map[string]docker.Gateway {
	all := map[string]docker.Gateway{}
	for word := range strings.FieldsSeq(text) {
		id, rest, _ := strings.Cut(word, "=")
		endpoint, network, _ := strings.Cut(rest, "/")
		all[id] = docker.Gateway{Endpoint: endpoint, Network: network}
	}
	return all
}
