package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/topology"
	"github.com/mybr/mybr/internal/topology/here"
	"github.com/mybr/mybr/internal/view"
)

// crowd is a network with more containers than are drawn, and one that has a name to be
// escaped.
func crowd() view.View {
	network := strings.Repeat("4f", 32)
	v := view.View{Version: view.Version, Networks: []view.Network{{ID: network, Name: strings.ToValidUTF8(nasty, "�"), Bridge: "mybr0", Owned: true, ICC: true,
		Subnets: []view.Subnet{{Family: "ipv4", Prefix: netip.MustParsePrefix("172.18.0.0/16"), Address: netip.MustParsePrefix("172.18.0.1/16"), Mode: "nat", Masquerade: true}}}}}
	for i := range 20 {
		id := strings.Repeat(string(rune('a'+i)), 64)
		v.Endpoints = append(v.Endpoints, view.Endpoint{ID: id, Container: "box" + id[:1], Network: network, Veth: "veth" + id[:7],
			IPv4: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 18, 0, byte(i + 2)}), 16)})
	}
	return v
}

// answering serves the document at /v1/view as mybr does, and returns its folder.
func answering(t *testing.T, v view.View) (dir string) {
	t.Helper()
	dir = t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, "mybr.sock"))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/view", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(v) // the client reads it
	})
	server := &http.Server{Handler: mux}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return dir
}

// TestTopology gives each flag, and gets what the package draws.
func TestTopology(t *testing.T) {
	t.Setenv("MYBR_DOCKER", noDocker) // the view has names
	nettest.New(t)
	for _, line := range []string{"link add eth0 type veth peer name lan", "link set eth0 up", "link set lan up",
		"addr add 192.0.2.2/24 dev eth0", "route add default via 192.0.2.1"} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", line, err, out)
		}
	}
	dir := answering(t, crowd())
	host, err := here.Read(crowd())
	if err != nil {
		t.Fatal(err)
	}
	if len(host.Uplinks) != 1 || host.Uplinks[0].Name != "eth0" {
		t.Fatalf("uplinks: %v", host.Uplinks)
	}
	usual, all := topology.Of(crowd(), host, topology.Usual), topology.Of(crowd(), host, topology.All)
	picture := filepath.Join(t.TempDir(), "picture.svg")
	for _, c := range []struct {
		args string
		want string
		file string
	}{
		{"", usual.Text(topology.Unicode), ""},
		{"--all", all.Text(topology.Unicode), ""},
		{"--ascii", usual.Text(topology.ASCII), ""},
		{"--ascii --all", all.Text(topology.ASCII), ""},
		{"--dot", string(usual.DOT()), ""},
		{"--dot --all", string(all.DOT()), ""},
		{"--svg -", string(usual.SVG()), ""},
		{"--svg " + picture, "", string(usual.SVG())},
		{"--all --svg " + picture, "", string(all.SVG())},
	} {
		var out, errs bytes.Buffer
		code := run(context.Background(), append(strings.Fields("topology "+c.args), "--run-dir", dir), &out, &errs)
		if code != 0 || out.String() != c.want || errs.Len() > 0 {
			t.Errorf("%s: exit %d, %s, prints\n%swant\n%s", c.args, code, errs.String(), out.String(), c.want)
		}
		if c.file != "" {
			if text, err := os.ReadFile(picture); err != nil || string(text) != c.file {
				t.Errorf("%s writes %q, %v", c.args, text, err)
			}
		}
		checkPrintable(t, c.args, out.String())
	}
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"--svg=", `invalid argument "" for "--svg" flag: want a file, or - for the standard output`, exitUsage},
		{"--svg x --dot", "--ascii, --dot and --svg are different forms: give one of them", exitUsage},
		{"--svg x --ascii", "--ascii, --dot and --svg are different forms: give one of them", exitUsage},
		{"--svg " + dir, "write the picture: open " + dir + ": is a directory", exitFailed},
	} {
		var out, errs bytes.Buffer
		code := run(context.Background(), append(strings.Fields("topology "+c.args), "--run-dir", dir), &out, &errs)
		if code != c.code || out.Len() > 0 || errs.String() != "mybr: "+c.want+"\n" {
			t.Errorf("%s: exit %d, %q, want %s", c.args, code, errs.String(), c.want)
		}
	}
}

// TestTopologyOfUnknownContainers: what can't be looked into is told, and the rest is drawn.
func TestTopologyOfUnknownContainers(t *testing.T) {
	t.Setenv("MYBR_DOCKER", noDocker)
	nettest.New(t)
	v := crowd()
	v.Endpoints[0].Sandbox = "/dev/null"
	var out, errs bytes.Buffer
	code := run(context.Background(), []string{"topology", "--run-dir", answering(t, v)}, &out, &errs)
	want := "mybr: not all of the host could be read: look into network namespaces: 1 failed, the first: /dev/null is not a namespace\n"
	if code != 0 || !strings.Contains(out.String(), "╔═ boxa ═") || errs.String() != want {
		t.Errorf("exit %d, %q, want %q, and\n%s", code, errs.String(), want, out.String())
	}
}
