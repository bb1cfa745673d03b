package integration

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// TestInstall looks at what make install makes, and that make uninstall leaves nothing.
func TestInstall(t *testing.T) {
	for name, c := range map[string]struct{ vars, binary, units string }{
		"usual":    {"", "usr/local/bin/mybr", "usr/local/lib/systemd/system/"},
		"packaged": {"PREFIX=/usr UNITDIR=/lib/systemd/system", "usr/bin/mybr", "lib/systemd/system/"},
	} {
		t.Run(name, func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "root")
			vars := append(strings.Fields(c.vars), "DESTDIR="+dest)
			makes(t, os.Getenv("PATH"), append(vars, "build", "install")...)
			want := map[string]fs.FileMode{c.binary: 0o755, c.units + "mybr.service": 0o644, c.units + "mybr.socket": 0o644,
				c.units + "mybr-docker-proxy.service": 0o644, c.units + "mybr-docker-proxy.socket": 0o644}
			have := map[string]fs.FileMode{}
			for _, path := range files(t, dest) {
				info, err := os.Stat(filepath.Join(dest, path))
				if err != nil {
					t.Fatal(err)
				}
				have[path] = info.Mode()
			}
			if fmt.Sprint(have) != fmt.Sprint(want) {
				t.Errorf("installed are %v, want %v", have, want)
			}
			for unit, command := range map[string]string{"mybr.service": "serve", "mybr-docker-proxy.service": "docker-proxy"} {
				text, err := os.ReadFile(filepath.Join(dest, c.units, unit))
				if err != nil {
					t.Fatal(err)
				}
				if m := regexp.MustCompile(`(?m)^ExecStart=/(\S+) ` + command + `$`).FindSubmatch(text); m == nil || string(m[1]) != c.binary {
					t.Errorf("%s starts %q, want /%s", unit, m, c.binary)
				}
			}
			output, err := exec.Command(filepath.Join(dest, c.binary), "version").CombinedOutput()
			form := regexp.MustCompile(`^version: \S+\ncommit: ([0-9a-f]{12}|unknown)\ngo: ` + regexp.QuoteMeta(runtime.Version()) + ` \S+\n$`)
			if err != nil || !form.Match(output) {
				t.Errorf("mybr version: %v, %q", err, output)
			}
			makes(t, os.Getenv("PATH"), append(vars, "uninstall")...)
			if left := files(t, dest); len(left) > 0 {
				t.Errorf("left are %v", left)
			}
		})
	}
}

// TestInstallWithoutGo installs what was built before where Go is not to be found, as
// with sudo.
func TestInstallWithoutGo(t *testing.T) {
	dest := t.TempDir()
	makes(t, os.Getenv("PATH"), "build")
	dir := t.TempDir() // a PATH with what the recipes need, and no Go
	for _, name := range []string{"sh", "make", "install", "sed", "chmod", "find", "echo", "git"} {
		if path, err := exec.LookPath(name); err == nil {
			if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	makes(t, dir, "install", "DESTDIR="+dest)
	if got := files(t, dest); len(got) != 5 { // the binary, and two units each of the service and of the proxy
		t.Errorf("installed are %v", got)
	}
}

// makes runs make in the project's directory.
func makes(t *testing.T, path string, args ...string) {
	t.Helper()
	program, err := exec.LookPath("make")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = ".."
	for _, entry := range os.Environ() {
		// A make that runs the tests would hand its variables down.
		if name, _, _ := strings.Cut(entry, "="); name != "PATH" && !strings.HasPrefix(name, "MAKE") && name != "MFLAGS" {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, "PATH="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// files lists the files below dir.
func files(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestPluginInstall installs the managed plugin as make plugin-install does, and
// upgrades it under a running container.
func TestPluginInstall(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about the plugin")
	}
	dir := packPlugin(t)
	script, err := filepath.Abs("../scripts/plugin-install")
	if err != nil {
		t.Fatal(err)
	}
	w := world.New(t, world.Config{Driver: "bridge"}) // no process of mybr's on the host
	w.Driver = managed
	w.Host.Run("mount", "-t", "tmpfs", "tmpfs", "/var/lib") // the machine's own stays as it is
	w.Host.Run(script, managed, dir)
	w.Host.Run("touch", "/run/xtables.lock")
	w.Docker("plugin", "disable", managed)
	set := []string{"MYBR_LOG_LEVEL=debug", "MYBR_ADDRESS_POOL=base=10.64.0.0/10,size=24", "MYBR_ALLOW_DIRECT_ROUTING=true", "MYBR_ACCEPT_FWMARK=0x100/0xff00"}
	w.Docker(append([]string{"plugin", "set", managed, "xtables.source=/run/xtables.lock"}, set...)...)
	w.Docker("plugin", "enable", managed)
	w.Network("n0", "--ipam-driver", managed)
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	if got := w.Addr("web", "n0"); got != "10.64.0.2" {
		t.Errorf("web has %s: the setting has no effect", got)
	}
	stream := w.LAN.Start("guest", "stream", world.HostAddr+":8088")

	w.Host.Run(script, managed, dir)
	reached(w, 10*time.Second, w.Host, "127.0.0.1:8088")
	flowing(t, w, "upgraded", stream)
	settings := w.Docker("plugin", "inspect", "-f", "{{json .Settings}}", managed)
	for _, want := range append(set, `"Source":"/run/xtables.lock"`, `"Source":"/var/lib/mybr"`) {
		if !strings.Contains(settings, want) {
			t.Errorf("after the upgrade %s is not among the settings %s", want, settings)
		}
	}
	w.Docker("rm", "-f", "web")
	w.Docker("network", "rm", "n0")
	w.Docker("plugin", "disable", managed)
	w.Docker("plugin", "rm", managed)
	if _, err := os.Stat(w.Path("/var/lib/mybr/mybr.db")); err != nil {
		t.Errorf("the state has gone with the plugin: %v", err)
	}
}

// TestForgottenNetwork removes a network while mybr is down, so that Docker does not tell
// it, and then does what the README says.
func TestForgottenNetwork(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr's records")
	}
	t.Parallel() // Docker tries for 15 s to tell mybr
	w := world.New(t, world.Config{})
	before := footprint(w)
	id := w.Network("n0", "--subnet", "172.18.0.0/16", "-o", bridgeName+"mybr0")
	w.Network("n1", "--subnet", "172.20.0.0/16", "-o", bridgeName+"mybr1")
	w.StopMybr()
	together(
		func() { w.DockerTry("network", "rm", "n0") },
		func() { w.DockerTry("network", "rm", "n1") },
	)
	w.StartMybr()
	if left := w.Docker("network", "ls", "-q", "-f", "driver=mybr"); left != "" {
		t.Fatalf("Docker still has %s", left)
	}

	again := []string{"network", "create", "-d", "mybr", "--subnet", "172.19.0.0/16", "-o", bridgeName + "mybr0", "n0"}
	if r := w.DockerTry(again...); r.Code == 0 || !strings.Contains(r.Err, "networks have same bridge name") || !strings.Contains(r.Err, "conflicts with network "+id[:12]) {
		t.Errorf("the bridge is there: exit code %d, %s", r.Code, r.Err)
	}
	if link := w.Host.Run("ip", "-d", "link", "show", "mybr0"); !strings.Contains(link, "alias mybr network "+id) {
		t.Errorf("the bridge does not have the network's ID: %s", link)
	}
	w.Host.Run("mybr", "network", "forget", "mybr0")
	w.Docker(again...)
	// The same subnet again needs no help.
	w.Network("n1", "--subnet", "172.20.0.0/16", "-o", bridgeName+"mybr1")
	w.Docker("network", "rm", "n0", "n1")
	same(t, w, "removed", before)
}

// TestForgottenPool is about the addresses of such a network.
func TestForgottenPool(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr's records")
	}
	w := world.New(t, world.Config{})
	ipam := []string{"network", "create", "-d", "mybr", "--ipam-driver", "mybr"}
	w.Docker(append(ipam, "--subnet", "172.20.0.0/16", "other")...) // Docker has begun to use mybr
	must(t, w, "IpamDriver.RequestPool", `{"AddressSpace":"mybr-local","Pool":"172.18.0.0/16","V6":false}`)
	again := append(ipam, "--subnet", "172.18.0.0/16", "n0")
	if r := w.DockerTry(again...); r.Code == 0 || !strings.Contains(r.Err, "invalid pool request: Pool overlaps with other one on this address space: 172.18.0.0/16, which another network has in address space mybr-local") {
		t.Errorf("the subnet is there: exit code %d, %s", r.Code, r.Err)
	}
	w.Host.Run("mybr", "pool", "forget", "172.18.0.0/16")
	w.Docker(again...)
	w.Docker("network", "rm", "n0", "other")
	nothingRecorded(t, w)
}

// must makes a call of the plugin protocols, as the README does with curl.
func must(t *testing.T, w *world.World, method, body string) {
	t.Helper()
	if status, text := call(t, w, method, body); status != http.StatusOK {
		t.Fatalf("%s: status %d: %s", method, status, text)
	}
}
