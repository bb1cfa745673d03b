// Package scripts tests what the scripts do that a machine's Docker need not be asked for.
package scripts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The tests run as docker, too: as a command of that name in the script's PATH.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "docker" {
		if err := docker(os.Getenv("FAKE_DOCKER"), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "Error response from daemon:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// engine is a Docker with at most one plugin.
type engine struct {
	t    *testing.T
	home string // of docker
	path string
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a /var/lib of its own")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "docker")); err != nil {
		t.Fatal(err)
	}
	return &engine{t: t, home: t.TempDir(), path: bin + ":" + os.Getenv("PATH")}
}

// install runs plugin-install with a /var/lib of its own and with a plugin that has a
// manifest, and nothing else if it has none.
func (e *engine) install(manifest string) (stderr string, err error) {
	e.t.Helper()
	dir := e.t.TempDir()
	if manifest != "" {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(manifest), 0o644); err != nil {
			e.t.Fatal(err)
		}
	}
	const private = `mount -t tmpfs none /var/lib && exec "$@"`
	cmd := exec.Command("unshare", "-m", "sh", "-c", private, "sh", "./plugin-install", "mybr:latest", dir)
	// The race detector waits for a second at each exit otherwise.
	cmd.Env = []string{"PATH=" + e.path, "FAKE_DOCKER=" + e.home, "GORACE=atexit_sleep_ms=0"}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	err = cmd.Run()
	return errs.String(), err
}

// must installs a plugin and returns what it has then.
func (e *engine) must(manifest string) (p plugin, stderr string) {
	e.t.Helper()
	stderr, err := e.install(manifest)
	if err != nil {
		e.t.Fatalf("plugin-install: %v\n%s", err, stderr)
	}
	if p, err = load(e.home); err != nil {
		e.t.Fatal(err)
	}
	if !p.Enabled {
		e.t.Error("the plugin is not enabled")
	}
	return p, stderr
}

// set changes settings, as an administrator does.
func (e *engine) set(settings ...string) {
	e.t.Helper()
	for _, args := range [][]string{{"disable", "-f", "mybr:latest"}, append([]string{"set", "mybr:latest"}, settings...), {"enable", "mybr:latest"}} {
		if err := docker(e.home, append([]string{"plugin"}, args...)); err != nil {
			e.t.Fatalf("docker plugin %q: %v", args, err)
		}
	}
}

// manifest makes a config.json of parts.
func manifest(env, mounts, devices, args string) string {
	return fmt.Sprintf(`{"env":[%s],"mounts":[%s],"linux":{"devices":[%s]},"args":%s}`, env, mounts, devices, args)
}

// Whatever mybr's own plugin lets one set outlives an upgrade.
func TestUpgradeKeepsEverySetting(t *testing.T) {
	text, err := os.ReadFile("../plugin/config.json")
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t)
	p, _ := e.must(string(text))
	want := map[string]string{}
	for _, env := range p.Config.Env {
		if len(env.Settable) > 0 {
			want[env.Name] = "value of " + env.Name + "\nand more\n"
		}
	}
	for _, m := range p.Config.Mounts {
		if len(m.Settable) > 0 {
			want[m.Name+".source"] = "/source of/" + m.Name
		}
	}
	if len(want) < 8 {
		t.Fatalf("there are the settings %q only", want)
	}
	var settings []string
	for name, value := range want {
		settings = append(settings, name+"="+value)
	}
	e.set(settings...)
	p, stderr := e.must(string(text))
	have := p.values()
	maps.DeleteFunc(have, func(name, _ string) bool { _, set := want[name]; return !set })
	if !maps.Equal(have, want) || stderr != "" {
		t.Errorf("have %q\nwant %q\nstderr %s", have, want, stderr)
	}
}

// What has changed between the manifests decides: see the names.
func TestUpgradeToAnotherManifest(t *testing.T) {
	e := newEngine(t)
	e.must(manifest(
		`{"name":"KEPT","settable":["value"]}, {"name":"GONE","settable":["value"]}, {"name":"NOW_FIXED","value":"1","settable":["value"]},
		 {"name":"NOT_SET","settable":["value"]}, {"name":"FIXED","value":"old"}`,
		`{"name":"state","source":"/a","settable":["source"]}, {"name":"gone","source":"/g","settable":["source"]}, {"name":"fixed","source":"/old"}`,
		`{"name":"tun","path":"/dev/old","settable":["path"]}`,
		`{"name":"args","value":[],"settable":["value"]}`))
	e.set("KEPT=a=b c", "GONE=1", "NOW_FIXED=2", "state.source=/b", "gone.source=/h", "tun.path=/dev/tun", "args=x -y")
	p, stderr := e.must(manifest(
		`{"name":"KEPT","value":"default","settable":["value"]}, {"name":"NOW_FIXED","value":"3"},
		 {"name":"NOT_SET","value":"default","settable":["value"]}, {"name":"FIXED","value":"new"}, {"name":"NEW","value":"n","settable":["value"]}`,
		`{"name":"state","source":"/z","settable":["source"]}, {"name":"fixed","source":"/new"}`,
		`{"name":"tun","path":"/dev/new","settable":["path"]}`,
		`{"name":"args","value":[],"settable":["value"]}`))
	want := map[string]string{
		"KEPT": "a=b c", "NOW_FIXED": "3", "NOT_SET": "default", "FIXED": "new", "NEW": "n",
		"state.source": "/b", "fixed.source": "/new", "tun.path": "/dev/tun", "args": "x -y",
	}
	if have := p.values(); !maps.Equal(have, want) {
		t.Errorf("have %q\nwant %q", have, want)
	}
	const said = "plugin-install: not kept, since the new plugin has no such setting: "
	lines := slices.Sorted(strings.Lines(stderr))
	if want := []string{said + "GONE=1\n", said + "NOW_FIXED=2\n", said + "gone.source=/h\n"}; !slices.Equal(lines, want) {
		t.Errorf("stderr\n%q\nwant\n%q", lines, want)
	}
}

// An upgrade that fails when the old plugin has gone tells its settings.
func TestFailedUpgradeTellsTheSettings(t *testing.T) {
	e := newEngine(t)
	e.must(manifest(`{"name":"A","settable":["value"]}`, "", "", "{}"))
	e.set("A=x y")
	stderr, err := e.install("")
	if want := "plugin-install: not finished; the settings were: 'A=x y'\n"; err == nil || !strings.HasSuffix(stderr, want) {
		t.Errorf("%v, stderr %q, want %q", err, stderr, want)
	}
}

func load(home string) (p plugin, err error) {
	text, err := os.ReadFile(filepath.Join(home, "plugin.json"))
	if err != nil {
		return p, fmt.Errorf("plugin not found: %w", err)
	}
	return p, json.Unmarshal(text, &p)
}
