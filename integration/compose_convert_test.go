package integration

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// plainFile is a project that says nothing of drivers: it has a network of its own and the
// default one.
const plainFile = `# A shop.
services:
  web:
    image: guest
    command: serve tcp:80
    ports: ["8088:80"]
    networks: [front, default]
  box:
    image: guest
    command: sleep
networks:
  front:
    ipam: {config: [{subnet: 172.30.0.0/24}]}
`

// TestComposeConvert has a project on Docker's own driver, then on mybr, and back: mybr
// compose changes its file.
func TestComposeConvert(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about moving from one driver to the other")
	}
	world.Full(t)
	t.Parallel()
	w, compose := composeWorld(t, "")
	before := footprint(w)
	file := filepath.Join(t.TempDir(), "shop.yaml")
	write(t, file, plainFile)
	for _, driver := range []string{"bridge", "mybr", "bridge"} {
		convert := exec.Command(w.Mybr(), "compose", "--write", "--to", driver, file)
		convert.Env = []string{} // MYBR_TEST_… are no settings of mybr's
		if out, err := convert.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", driver, err, out)
		}
		compose("shop", file, "up", "-d")
		for _, network := range []string{"shop_front", "shop_default"} {
			if got := w.Docker("network", "inspect", "-f", "{{.Driver}}", network); got != driver {
				t.Errorf("%s has the driver %s, want %s", network, got, driver)
			}
		}
		web := service(w, "web")
		w.Ready(web)
		seenAs(t, driver+": from the LAN", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
		w.Docker("exec", service(w, "box"), "/guest", "ping", "web")
		compose("shop", file, "down", "-t", "0")
	}
	same(t, w, "after down", before)
	nothingRecorded(t, w)
}
