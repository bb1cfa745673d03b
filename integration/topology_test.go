package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// TestTopology compares mybr topology with what the kernel says: each container's interfaces,
// with their names and addresses in the container, are drawn on a line with the veth that is
// the other end of their pair.
func TestTopology(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{Driver: "mybr"})
	w.Docker("network", "create", "-d", "mybr", "-o", "com.docker.network.bridge.name=mybr0", "--subnet", "172.18.0.0/16", "front")
	w.Docker("network", "create", "-d", "mybr", "-o", "com.docker.network.bridge.name=mybr1", "-o", "com.docker.network.container_iface_prefix=net",
		"--ipv6", "--subnet", "172.19.0.0/16", "--subnet", "fd00:19::/64", "--internal", "back")
	web := w.Serve("web", []string{"--net", "front", "-p", "8080:80", "-p", "9000-9009:9000-9009"}, "tcp:80")
	db := w.Idle("db", "--net", "back")
	w.Docker("network", "connect", "back", "web")
	mybr, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", w.MybrPID()))
	if err != nil {
		t.Fatal(err)
	}
	r := w.Host.Try(mybr, "topology")
	if r.Code != 0 || r.Err != "" {
		t.Fatalf("mybr topology: exit %d, %s", r.Code, r.Err)
	}
	for _, want := range []string{
		" eth0 " + world.HostAddr + "/", world.HostAddr6 + "/", "─ front · mybr0 ─", "─ back · mybr1 ─", "═ web ═", "═ db ═", "172.18.0.1/16  NAT", "internal: no way out",
		"*:8080/tcp      → web:80", "*:9000-9009/tcp → web:9000-9009",
	} {
		if strings.Count(r.Out, want) != 1 {
			t.Errorf("%q is there %d times, not once", want, strings.Count(r.Out, want))
		}
	}
	veths := make(map[int]string)
	for _, l := range w.Host.Links() {
		veths[l.Index] = l.Name
	}
	pairs := 0
	for _, place := range []*world.Place{web, db} {
		for _, l := range place.Links() {
			if l.Kind != "veth" {
				continue
			}
			pairs++
			shown := false
			for line := range strings.Lines(r.Out) {
				inside := strings.Contains(line, fmt.Sprintf(" %s %s ", l.Name, l.Addrs[0]))
				shown = shown || inside && (strings.Contains(line, veths[l.Peer]+" ├─╫─") || strings.Contains(line, " ┌─"))
			}
			if !shown || strings.Count(r.Out, veths[l.Peer]+" ├─╫─") != 1 {
				t.Errorf("%s of %s with %v, whose other end is %s, is not drawn so", l.Name, place.Name, l.Addrs, veths[l.Peer])
			}
			for _, a := range l.Addrs {
				if !a.Addr().IsLinkLocalUnicast() && strings.Count(r.Out, " "+a.String()+" ") != 1 {
					t.Errorf("%s of %s is not drawn once", a, place.Name)
				}
			}
		}
	}
	if pairs != 3 {
		t.Errorf("%d pairs, not 3", pairs)
	}
	if t.Failed() {
		t.Log(r.Out)
	}
}
