package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// TestRefusedRules lets every iptables-restore of mybr's fail for a while. Commands that
// add something fail and change nothing; those that take something away succeed, and
// the host follows once it can.
func TestRefusedRules(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	w := world.New(t, world.Config{Variant: "nft", Firewall: world.IPTables})
	article(w)
	empty := footprint(w)
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")

	restore := filepath.Join(filepath.Dir(w.StateDir()), "iptables", "iptables-restore")
	multi, err := os.Readlink(restore)
	if err != nil {
		t.Fatal(err)
	}
	swap := func(put func(path string) error) {
		if err := put(restore + ".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(restore+".new", restore); err != nil {
			t.Fatal(err)
		}
	}
	before := footprint(w)
	swap(func(path string) error {
		return os.WriteFile(path, []byte("#!/bin/sh\necho 'iptables-restore: line 2 failed' >&2\nexit 1\n"), 0o755)
	})
	for _, argv := range [][]string{
		{"network", "create", "-d", "mybr", "n1"},
		{"run", "--rm", "--name", "second", "--net", "n0", "-p", "8089:80", "-p", "8089:80/udp", world.Image, "sysctl", "kernel.hostname"},
		{"run", "--rm", "--name", "third", "--net", "n0", "-p", "80", world.Image, "sysctl", "kernel.hostname"},
	} {
		r := w.DockerTry(argv...)
		if r.Code == 0 || !strings.Contains(r.Err, "iptables-restore: line 2 failed") {
			t.Errorf("docker %s: exit code %d: %s%s", strings.Join(argv, " "), r.Code, r.Out, r.Err)
		}
		same(t, w, "after docker "+argv[0], before)
	}
	answered(t, "what was there", w.LAN.Get("tcp", world.HostAddr+":8088"))
	w.Docker("rm", "-f", "web")
	swap(func(path string) error { return os.Symlink(multi, path) })
	same(t, w, "after the container was removed", empty)
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	answered(t, "what is there", w.LAN.Get("tcp", world.HostAddr+":8088"))
}
