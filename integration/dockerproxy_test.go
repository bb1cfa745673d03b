package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// shownContainer is a container on networks, with more arguments of docker create.
type shownContainer struct {
	name, networks, args string
	full                 bool // only make test-full has it
}

// shownContainers are containers whose ports docker ps and its kin show.
var shownContainers = []shownContainer{
	{name: "exposed", networks: "n0", args: "--expose 80 --expose 53/udp --expose 9"},
	{name: "fixed", networks: "n0", args: "-p 8080:80"},
	{name: "protos", networks: "n0", args: "-p 8081:80 -p 8081:80/udp -p 8053:53/udp --expose 81"},
	{name: "several", networks: "n0", args: "-p 8089:80 -p 8087:80 -p 192.0.2.2:8088:80 -p 127.0.0.1:8085:80 -p [2001:db8::2]:8086:80"},
	{name: "range", networks: "n6", args: "-p 8100-8109:80-89"},
	{name: "all", networks: "n0", args: "-P --expose 80 --expose 81/udp"},
	{name: "mixed", networks: "n0", args: "-p 127.0.0.1::81 -p 80 -p 8120:80"},
	{name: "created", networks: "n0", args: "-p 8190:80"},

	{name: "plain", networks: "n0", full: true},
	{name: "loopback", networks: "n0", args: "-p 127.0.0.1:8082:80 -p [::1]:8082:80", full: true},
	{name: "explicit", networks: "n0", args: "-p [::]:8083:80 -p 0.0.0.0:8084:80", full: true},
	{name: "udps", networks: "n0", args: "-p 8201:53/udp -p 8203:53/udp -p 8202:53/udp", full: true},
	{name: "first", networks: "n0", args: "-p 8110-8119:80 -p 8112:80", full: true},
	{name: "dual", networks: "n6", args: "-p 8130:80 -p [2001:db8::2]:8131:81 -p 192.0.2.2:8131:81", full: true},
	{name: "internal", networks: "in", args: "-p 8140:80 --expose 81", full: true},
	{name: "bound", networks: "nb", args: "-p 8150:80 -p 127.0.0.1:8151:80", full: true},
	{name: "two", networks: "n0 n6", args: "-p 8160:80", full: true},
	{name: "both", networks: "n0 in", args: "-p 8161:80 --expose 7", full: true},
	{name: "shared", networks: "container:fixed", full: true},
	{name: "stopped", networks: "n0", args: "-p 8170:80", full: true},
	{name: "paused", networks: "n0", args: "-p 8180:80", full: true},
}

// routedContainers are more of them, for engines whose own driver has routed networks: from
// 27.0 on.
var routedContainers = []shownContainer{
	{name: "routed", networks: "nr", args: "-p 8210:80 -p 81 -p 127.0.0.1:8211:82/udp --expose 83"},
	{name: "half", networks: "nm", args: "-p 8212-8214:80-82 -p [2001:db8::2]:8215:83"},
	{name: "beside", networks: "n0 nr", args: "-p 8216:80 -P --expose 84"},
}

// TestDockerProxyShows compares what Docker's clients print of the same containers on
// Docker's own driver, and on mybr through mybr docker-proxy.
func TestDockerProxyShows(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about the mybr driver")
	}
	t.Parallel()
	for _, engine := range []string{world.OwnEngine, "26.1", "28.5"} {
		t.Run(engine, func(t *testing.T) {
			if engine != world.OwnEngine {
				world.Full(t)
			}
			t.Parallel()
			var builtin, mybr []printed
			t.Run("drivers", func(t *testing.T) {
				t.Run("bridge", func(t *testing.T) { t.Parallel(); builtin = shows(t, engine, "bridge") })
				t.Run("mybr", func(t *testing.T) { t.Parallel(); mybr = shows(t, engine, "mybr") })
			})
			if t.Failed() {
				return
			}
			for i, want := range builtin {
				if have := mybr[i]; have.text != want.text {
					t.Errorf("%s:\nmybr has\n%s\nDocker's own driver has\n%s\nfirst difference: %s",
						want.what, have.text, want.text, firstDifference(have.text, want.text))
				}
			}
		})
	}
}

// printed is what one command prints.
type printed struct{ what, text string }

func shows(t *testing.T, engine, driver string) (views []printed) {
	w := world.New(t, world.Config{Engine: engine, Driver: driver})
	w.StartDockerProxy()
	w.Docker("network", "create", "-d", driver, "--subnet", "172.18.0.0/16", "n0")
	w.Docker("network", "create", "-d", driver, "--subnet", "172.19.0.0/16", "--ipv6", "--subnet", "fd00:19::/64", "n6")
	w.Docker("network", "create", "-d", driver, "--subnet", "172.20.0.0/16", "--internal", "in")
	w.Docker("network", "create", "-d", driver, "--subnet", "172.21.0.0/16", "-o", "com.docker.network.bridge.host_binding_ipv4=192.0.2.2", "nb")
	containers := slices.Clone(shownContainers)
	if engine == "28.5" {
		const mode = "com.docker.network.bridge.gateway_mode_"
		w.Docker("network", "create", "-d", driver, "--subnet", "172.22.0.0/16", "--ipv6", "--subnet", "fd00:22::/64", "-o", mode+"ipv4=routed", "-o", mode+"ipv6=routed", "nr")
		w.Docker("network", "create", "-d", driver, "--subnet", "172.23.0.0/16", "--ipv6", "--subnet", "fd00:23::/64", "-o", mode+"ipv6=routed", "nm")
		containers = append(containers, routedContainers...)
	}
	if world.Short() {
		containers = slices.DeleteFunc(containers, func(c shownContainer) bool { return c.full })
	}
	start := []string{"start"}
	for _, c := range containers {
		networks := strings.Fields(c.networks)
		args := []string{"create", "--name", c.name, "--net", networks[0]}
		if !strings.HasPrefix(c.networks, "container:") {
			args = append(args, "--hostname", c.name)
		}
		w.Docker(append(append(args, strings.Fields(c.args)...), world.Image, "sleep")...)
		for _, more := range networks[1:] {
			w.Docker("network", "connect", more, c.name)
		}
		if c.name != "created" {
			start = append(start, c.name)
		}
	}
	w.Docker(start...)
	if !world.Short() {
		w.Docker("stop", "-t", "0", "stopped")
		w.Docker("pause", "paused")
		defer w.DockerTry("unpause", "paused") // a world could not end: what is frozen takes no signal
	}

	note := func(text string, what ...string) {
		views = append(views, printed{strings.Join(what, " "), normal(text)})
	}
	run := func(args ...string) {
		note(w.Proxied(args...), append([]string{"docker"}, args...)...)
	}
	run("ps", "-a", "--format", "table {{.Names}}\t{{.Ports}}")
	run("ps", "-a", "--format", "{{json .}}")
	for _, filter := range []string{"publish=8080", "expose=9", "publish=nothing"} {
		r := w.Host.Try("docker", "-H", "unix://"+world.ProxySocket, "ps", "-a", "--filter", filter, "--format", "{{.Names}} {{.Ports}}")
		note(fmt.Sprint(r.Code, " ", r.Out, r.Err), "docker ps --filter", filter)
	}
	for _, query := range []string{
		`{"publish":{"8081/udp":true}}`, `{"publish":["8100-8200"]}`, `{"publish":{"80":true}}`, `{"expose":{"80":true}}`, `{"expose":{"53/udp":true}}`,
		`{"publish":{"8085-8087":true,"8203/udp":true}}`, `{"publish":{"8085,":true}}`, `{"expose":{"80":true},"name":{"i":true},"publish":{"8089":true}}`,
	} {
		note(listedNames(t, w, "/containers/json?all=1&filters="+url.QueryEscape(query)), query)
		note(listedNames(t, w, "/containers/json?limit=2&filters="+url.QueryEscape(query)), query, "limit=2")
	}
	var names []string
	for _, c := range containers {
		names = append(names, c.name)
		if len(c.args) == 0 {
			continue
		}
		lines := strings.Split(w.Proxied("port", c.name), "\n")
		if engine == world.OwnEngine { // its client prints them in a map's order
			slices.Sort(lines)
		}
		note(strings.Join(lines, "\n"), "docker port", c.name)
		if strings.HasSuffix(c.args, ":80") && c.name != "stopped" && c.name != "created" {
			run("port", c.name, "80/tcp")
		}
	}
	run(append([]string{"inspect"}, names...)...)
	run("system", "df", "-v", "--format", "{{json .Containers}}")
	if !world.Short() {
		clientLibrary(t, w, note)
		composePorts(t, w, driver, note)
	}
	for _, path := range []string{"/containers/fixed/json", "/v1.24/containers/several/json", "/v1.40/containers/mixed/json?size=1"} {
		note(raw(t, w, world.ProxySocket, path), path)
	}
	one := "?filters=" + url.QueryEscape(`{"name":["^/fixed$"]}`)
	for _, path := range []string{"/containers/json", "/v1.24/containers/json", "/v1.30/containers/json"} {
		note(raw(t, w, world.ProxySocket, path+one), path)
	}
	return views
}

// clientLibrary notes what a program sees that uses Docker's client library.
func clientLibrary(t *testing.T, w *world.World, note func(text string, what ...string)) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "client")
	build := exec.Command("go", "build", "-C", "testdata/client", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	note(w.Host.Run(program, "unix://"+world.ProxySocket), "the client library")
}

// portsFile is a project of two services, of which one has three containers.
const portsFile = `
services:
  web:
    image: guest
    command: sleep
    ports: ["9088:80", "9088:80/udp", "127.0.0.1:9089:81", "9100-9109:90-99"]
  many:
    image: guest
    command: sleep
    ports: ["9200-9202:80"]
    expose: ["7"]
networks:
  default:
    driver: DRIVER
`

var blanks = regexp.MustCompile(` {2,}`)

// composePorts notes what Compose shows of the ports of a project.
func composePorts(t *testing.T, w *world.World, driver string, note func(text string, what ...string)) {
	t.Helper()
	const program = "/usr/bin/docker-compose"
	if w.Host.Try("test", "-x", program).Code != 0 {
		t.Skip("docker-compose is not installed (Debian's package docker-compose)")
	}
	file := filepath.Join(t.TempDir(), "ports.yaml")
	write(t, file, strings.ReplaceAll(portsFile, "DRIVER", driver))
	compose := func(args ...string) string {
		return w.Host.Run(append([]string{"env", "DOCKER_HOST=unix://" + world.ProxySocket, program, "-p", "shop", "-f", file}, args...)...)
	}
	compose("up", "-d", "--scale", "many=3")
	defer compose("down", "-t", "0")
	for _, args := range [][]string{
		{"ps", "web"}, {"port", "web", "80"}, {"port", "--protocol", "udp", "web", "80"}, {"port", "web", "81"}, {"port", "web", "95"},
	} {
		text := blanks.ReplaceAllString(compose(args...), " ") // columns are as wide as times are long
		note(text, append([]string{"docker-compose"}, args...)...)
	}
	var hosts []string // which of the three has which is a matter of chance
	for i := range 3 {
		hosts = append(hosts, compose("port", "--index", fmt.Sprint(i+1), "many", "80"))
	}
	slices.Sort(hosts)
	note(strings.Join(hosts, "\n"), "docker-compose port many 80")
}

// listedNames is which containers a list has, in its order, or the error that it is.
func listedNames(t *testing.T, w *world.World, path string) string {
	text := raw(t, w, world.ProxySocket, path)
	_, list, _ := strings.Cut(text, " ")
	var containers []struct{ Names []string }
	if json.Unmarshal([]byte(list), &containers) != nil {
		return text
	}
	return fmt.Sprint(containers)
}

// raw is the body of an answer of Docker's API.
func raw(t *testing.T, w *world.World, socket, path string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.Path(socket))
	}}}
	resp, err := client.Get("http://docker" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(body))
}

// varying are what differs from run to run, or between the drivers for known reasons.
var varying = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`), "MAC"}, // mybr's are random on every engine
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ][0-9:.]+(Z| [+-]\d{4} [A-Z]+)`), "TIME"},
	{regexp.MustCompile(`(Up |Exited \(\d+\) )?(About an?|\d+|Less than a) (second|minute)s?( ago)?`), "WHILE"},
	{regexp.MustCompile(`"Created": ?\d+`), `"Created":TIME`},
	{regexp.MustCompile(`"Pid": ?\d+`), `"Pid":PID`},
	{regexp.MustCompile(`mybr-test-[0-9.-]+(/world-\d+)?`), "WORLD"},
	{regexp.MustCompile(`\b(3[2-9]|4\d|5\d|6[0-5])\d{3}\b`), "ANY"}, // which port is free (ip_local_port_range)
	{regexp.MustCompile(`\bn6,n0\b`), "n0,n6"},                      // the client prints them in a map's order
	{regexp.MustCompile(`\bin,n0\b`), "n0,in"},
	{regexp.MustCompile(`\bnr,n0\b`), "n0,nr"},
	// Engines before 28 give containers of internal networks a gateway that leads nowhere.
	{regexp.MustCompile(`"Gateway": ?"172\.20\.0\.1"`), `"Gateway": ""`},
}

func normal(text string) string {
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.with)
	}
	return text
}

func firstDifference(have, want string) string {
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range h {
		if i >= len(w) || h[i] != w[i] {
			other := "nothing"
			if i < len(w) {
				other = w[i]
			}
			return fmt.Sprintf("%q, want %q", h[i], other)
		}
	}
	return "fewer lines"
}
