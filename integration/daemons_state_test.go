package integration

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/model"
)

// stateOfBefore starts mybr with a state file that the first released schema wrote, while the
// containers of then run: what they have goes on, and can be taken away.
//
// The file has what is left of these commands on a host that was booted as a world is:
//
//	docker network create -d mybr --subnet 172.18.0.0/16 -o com.docker.network.bridge.name=mybr0 n0
//	docker network create -d mybr --ipam-driver mybr --subnet 10.77.0.0/24 -o com.docker.network.bridge.name=mybr1 pool
//	docker run -d --net n0 --ip 172.18.0.2 -p 8088:80 -p 8088:80/udp …
//	docker run -d --net pool --ip 10.77.0.2 -p 8089:80 …
func stateOfBefore(t *testing.T, cfg world.Config) {
	w := world.New(t, cfg)
	w.StopMybr()
	putState(t, w, "testdata/state/schema-1.db.gz")
	snap := snapshot(t, w)
	if len(snap.Networks) != 2 || len(snap.Endpoints) != 2 {
		t.Fatalf("the file has %d networks and %d endpoints, want 2 and 2", len(snap.Networks), len(snap.Endpoints))
	}
	for _, e := range snap.Endpoints {
		imitate(w, snap, *e)
	}
	reliability.Try(t, "mybr is upgraded from the first schema of the state file", func() time.Duration {
		w.StartMybr()
		for _, port := range []string{"8088", "8089"} {
			reached(w, 10*time.Second, w.LAN, world.HostAddr+":"+port)
			reached(w, 10*time.Second, w.Host, "127.0.0.1:"+port)
		}
		if list := published(t, w); len(list) != 6 { // three ports, of both families
			t.Errorf("published are %+v, want three ports", list)
		}
		leased(t, w, "after the upgrade", "10.77.0.0/24", "10.77.0.1", "10.77.0.2")
		return 0
	})
	for _, e := range snap.Endpoints {
		must(t, w, "NetworkDriver.Leave", `{"NetworkID":"`+e.NetworkID+`","EndpointID":"`+e.ID+`"}`)
		must(t, w, "NetworkDriver.DeleteEndpoint", `{"NetworkID":"`+e.NetworkID+`","EndpointID":"`+e.ID+`"}`)
	}
	must(t, w, "IpamDriver.ReleasePool", `{"PoolID":"mybr-local/10.77.0.0/24"}`)
	for _, n := range snap.Networks {
		must(t, w, "NetworkDriver.DeleteNetwork", `{"NetworkID":"`+n.ID+`"}`)
	}
	nothingRecorded(t, w)
	cleared(t, w)
}

// putState replaces the state file of a mybr that does not run.
func putState(t *testing.T, w *world.World, golden string) {
	t.Helper()
	packed, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	unpack, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(unpack)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.StateDir(), "mybr.db"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// imitate makes what a container of an endpoint would have: a namespace with the one end of the
// pair, whose other end is on the host, and a server.
func imitate(w *world.World, snap model.Snapshot, e model.Endpoint) {
	name, gateway := "ns-"+e.ID[:6], ""
	for _, n := range snap.Networks {
		if n.ID == e.NetworkID {
			gateway = n.V4.Gateway.String()
		}
	}
	w.Host.Run("ip", "netns", "add", name)
	w.Host.Run("ip", "link", "add", e.HostIface(), "type", "veth", "peer", "name", "eth0", "address", e.MAC.String(), "netns", name)
	w.Host.Run("ip", "link", "set", e.HostIface(), "alias", model.AliasEndpoint+e.ID)
	for _, argv := range [][]string{
		{"addr", "add", e.V4.String(), "dev", "eth0"}, {"link", "set", "lo", "up"}, {"link", "set", "eth0", "up"},
		{"route", "add", "default", "via", gateway},
	} {
		w.Host.Run(append([]string{"ip", "-n", name}, argv...)...)
	}
	w.Host.Start("ip", "netns", "exec", name, w.Guest(), "serve", "tcp:80", "udp:80")
}
