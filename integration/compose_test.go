package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/store"
)

// shopFile is a project of several networks: one with mybr's addresses and options, one
// with Docker's, one without a way out.
const shopFile = `
services:
  web:
    image: guest
    command: serve tcp:80 udp:80
    hostname: web
    ports: ["8088:80", "8088:80/udp", "127.0.0.1:8089:80", "9000-9009:80-89"]
    networks:
      front: {ipv4_address: 172.30.0.10, aliases: [www]}
      back: {aliases: [stock]}
      vault: {}
  box:
    image: guest
    command: sleep
    hostname: box
    networks: {back: {ipv4_address: 172.31.0.20}, vault: {}}
networks:
  front:
    driver: DRIVER
    driver_opts:
      com.docker.network.bridge.name: mybr0
      com.docker.network.driver.mtu: "1450"
    ipam:
      IPAM
      config: [{subnet: 172.30.0.0/24, gateway: 172.30.0.1}]
  back:
    driver: DRIVER
    ipam: {config: [{subnet: 172.31.0.0/24}]}
  vault:
    driver: DRIVER
    internal: true
`

// TestCompose takes a project up, replaces its containers and takes it down: with Compose 1,
// and with Compose 2, which the release of the newer engine has.
func TestCompose(t *testing.T) {
	t.Parallel()
	for name, engine := range map[string]string{"usual": "", "28.5": "28.5"} {
		t.Run(name, func(t *testing.T) {
			if engine != "" {
				world.Full(t)
			}
			t.Parallel()
			composed(t, engine)
		})
	}
}

func composed(t *testing.T, engine string) {
	w, compose := composeWorld(t, engine)
	before := footprint(w)
	ipam := ""
	if w.Driver == "mybr" {
		ipam = "driver: mybr"
	}
	file := filepath.Join(t.TempDir(), "shop.yaml")
	write(t, file, strings.NewReplacer("DRIVER", w.Driver, "IPAM", ipam).Replace(shopFile))

	check := func(when string) {
		t.Helper()
		webID, boxID := service(w, "web"), service(w, "box")
		w.Ready(webID)
		web, box := w.Container(webID), w.Container(boxID)
		if got := w.Addr(webID, "shop_front"); got != "172.30.0.10" {
			t.Errorf("%s: web has %q in front", when, got)
		}
		if got := w.Addr(boxID, "shop_back"); got != "172.31.0.20" {
			t.Errorf("%s: box has %q in back", when, got)
		}
		if !slices.ContainsFunc(web.Links(), func(l report.Link) bool { return l.MTU == 1450 }) || mustLink(t, w.Host, "mybr0").MTU != 1450 {
			t.Errorf("%s: front has not the MTU of its options", when)
		}
		for _, name := range []string{"web", "stock"} {
			w.Docker("exec", boxID, "/guest", "ping", name)
		}
		if r := w.DockerTry("exec", boxID, "/guest", "get", "tcp", "www:80"); r.Code == 0 {
			t.Errorf("%s: box, which is not in front, knows its names", when)
		}
		for _, network := range []string{"tcp", "udp"} {
			seenAs(t, when+": "+network+" from the LAN", w.LAN.Get(network, world.HostAddr+":8088"), world.LANAddr)
			answered(t, when+": "+network+" from the host", w.Host.Get(network, "127.0.0.1:8088"))
			if !proxied(network, w.Driver) {
				answered(t, when+": "+network+" from box", box.Get(network, world.HostAddr+":8088"))
			}
		}
		answered(t, when+": the first of a range", w.LAN.Get("tcp", world.HostAddr+":9000"))
		answered(t, when+": on the host's 127.0.0.1", w.Host.Get("tcp", "127.0.0.1:8089"))
		unanswered(t, when+": 127.0.0.1's from the LAN", w.LAN.Get("tcp", world.HostAddr+":8089", soon))
	}

	compose("shop", file, "up", "-d")
	check("up")
	running := footprint(w)
	first := service(w, "web")
	compose("shop", file, "up", "-d")
	if again := service(w, "web"); again != first {
		t.Error("a second up has replaced web: Compose takes the networks for changed")
	}
	compose("shop", file, "up", "-d", "--force-recreate", "-t", "0")
	check("recreated")
	w.Eventually(10*time.Second, func() error {
		if n, was := count(footprint(w), "link veth"), count(running, "link veth"); n != was {
			return fmt.Errorf("%d veths after the recreation, %d before", n, was)
		}
		return nil
	})
	compose("shop", file, "restart", "-t", "0", "web")
	check("restarted")
	compose("shop", file, "down", "-t", "0")
	same(t, w, "after down", before)
	if w.Driver == "mybr" {
		nothingRecorded(t, w)
	}
}

// TestComposeReadme takes up the README's example as it stands there.
func TestComposeReadme(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about the mybr driver")
	}
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(readme), "```yaml\n")
	example, _, found := strings.Cut(example, "```")
	if !found {
		t.Fatal("the README has no example in yaml")
	}
	w, compose := composeWorld(t, "")
	before := footprint(w)
	w.Docker("create", "--name", "proto", world.Image)
	w.Docker("commit", "--change", `CMD ["serve","tcp:80"]`, "proto", "nginx")
	w.Docker("rm", "proto")
	file := filepath.Join(t.TempDir(), "compose.yaml")
	write(t, file, example)

	compose("readme", file, "up", "-d")
	web := service(w, "web")
	w.Ready(web)
	seenAs(t, "from the LAN", w.LAN.Get("tcp", world.HostAddr+":8080"), world.LANAddr)
	if got := w.Addr(web, "readme_front"); !strings.HasPrefix(got, "172.30.0.") {
		t.Errorf("web has %s", got)
	}
	if l := mustLink(t, w.Container(web), "eth0"); l.MTU != 1450 {
		t.Errorf("eth0 has an MTU of %d", l.MTU)
	}
	compose("readme", file, "down", "-t", "0")
	same(t, w, "after down", before)
	nothingRecorded(t, w)
}

// composeWorld is a world of an engine, and docker-compose in it: it takes the project's
// name, its file, and the command. The test is skipped where docker-compose isn't installed.
func composeWorld(t *testing.T, engine string) (*world.World, func(project, file string, args ...string)) {
	t.Helper()
	w := world.New(t, world.Config{Engine: engine})
	return w, composeIn(t, w)
}

// composeIn is docker-compose in a world, as of composeWorld.
func composeIn(t *testing.T, w *world.World) func(project, file string, args ...string) {
	t.Helper()
	const program = "/usr/bin/docker-compose"
	if w.Host.Try("test", "-x", program).Code != 0 {
		t.Skip("docker-compose is not installed (Debian's package docker-compose)")
	}
	return func(project, file string, args ...string) {
		t.Helper()
		w.Host.Run(append([]string{"env", "DOCKER_HOST=unix://" + w.DockerSocket(), program, "-p", project, "-f", file}, args...)...)
	}
}

// service is the ID of a service's only container: Compose 1 and 2 name it differently.
func service(w *world.World, name string) string {
	return w.Docker("ps", "-q", "-f", "label=com.docker.compose.service="+name)
}

// nothingRecorded looks for what the records still have.
func nothingRecorded(t *testing.T, w *world.World) {
	t.Helper()
	s := records(t, w)
	defer s.Close()
	err := s.View(func(tx *store.Tx) error {
		if len(tx.Networks())+len(tx.Endpoints())+len(tx.Pools()) > 0 {
			return fmt.Errorf("left are networks %+v, endpoints %+v, pools %+v", tx.Networks(), tx.Endpoints(), tx.Pools())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// count is how many of the facts begin with prefix.
func count(facts []string, prefix string) (n int) {
	for _, f := range facts {
		if strings.HasPrefix(f, prefix) {
			n++
		}
	}
	return n
}
