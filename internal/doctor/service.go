package doctor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/view"
)

// service is mybr's unit.
const service = "mybr.service"

// bySystemd reports whether the host's systemd is to start mybr: it runs, and has the unit.
func (e Env) bySystemd() bool {
	if _, err := e.stat("/run/systemd/system"); err != nil {
		return false
	}
	for _, dir := range []string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		if _, err := e.stat(filepath.Join(dir, service)); err == nil {
			return true
		}
	}
	return false
}

// pluginRoot is where Docker puts the folders of managed plugins.
const pluginRoot = "/run/docker/plugins/"

// managed reports whether mybr is Docker's managed plugin: its folders are below Docker's.
func (e Env) managed() bool { return strings.HasPrefix(e.RunDir, pluginRoot) }

// pluginName is the name of a managed plugin, as networks have it for their driver, without
// registry and tag: "mybr" of "registry:5000/someone/mybr:latest".
func pluginName(reference string) string {
	name, _, _ := strings.Cut(reference[strings.LastIndexByte(reference, '/')+1:], ":")
	return name
}

// start is the command that starts mybr.
func (l *look) start() []string {
	switch {
	case l.managed():
		return command("docker", "plugin", "enable", l.Name+":latest")
	case l.bySystemd():
		return command("systemctl", "start", "mybr.socket", service)
	}
	return background([]string{"mybr", "serve", "--name", l.Name, "--plugin-dir", l.PluginDir, "--state-dir", l.StateDir, "--run-dir", l.RunDir})
}

// background is a command line that goes on when its shell has ended.
func background(words []string) []string {
	return []string{"nohup " + command(words...)[0] + " >>/var/log/mybr.log 2>&1 &"}
}

// defaultRunDir is where the commands look for mybr.
const defaultRunDir = "/run/mybr"

// sync is the command that has mybr make the host match its records.
func (l *look) sync() []string {
	return command(append([]string{"mybr", "sync"}, l.reach()...)...)
}

// open is the command that has the ports of one container reached past the host's firewall, and of no
// other on its network.
func (l *look) open(endpoint string) []string {
	return command(append(append([]string{"mybr", "endpoint", "set"}, l.reach()...), endpoint, "mybr.publish.policy=open")...)
}

// forget is the command that has mybr forget a network, if the Docker that was asked has it not.
func (l *look) forget(n view.Network) []string {
	words := append([]string{"mybr", "network", "forget"}, l.reach()...)
	if l.DockerHost != "" {
		words = append(words, "--docker", l.DockerHost)
	}
	return command(append(words, n.ID)...)
}

// reach are the flags by which a command finds the mybr that is looked at.
func (l *look) reach() []string {
	if l.RunDir == defaultRunDir {
		return nil
	}
	return []string{"--run-dir", l.RunDir}
}

// restart is the command that ends mybr and starts it as it was started.
func (l *look) restart(p Process) []string { return l.restartWithout(p, "", "") }

// restartWithout is restart; the process then has no setting of that name, and before is done
// in between.
func (l *look) restartWithout(p Process, setting, before string) []string {
	pid := l.pid(p)
	words := l.command(pid)
	switch {
	case l.managed():
		disable := "docker plugin disable -f " + quote(l.Name+":latest")
		if setting != "" {
			return []string{disable + " && docker plugin set " + quote(l.Name+":latest") + " " + variable(setting) + "= && " + l.start()[0]}
		}
		return []string{disable + " && " + l.start()[0]}
	case l.unit(pid) == service || words == nil && l.bySystemd():
		if setting != "" {
			return []string{"sed -i /^" + variable(setting) + "=/d /etc/default/mybr && systemctl restart " + service}
		}
		return command("systemctl", "restart", service)
	case words == nil:
		return l.start()
	}
	end := fmt.Sprintf("kill %d; while readlink /proc/%d/exe >/dev/null; do sleep 0.1; done; ", pid, pid)
	words = without(words, setting)
	if env := slices.DeleteFunc(l.settings(pid), func(v string) bool { return strings.HasPrefix(v, variable(setting)+"=") }); len(env) > 0 {
		words = append(append([]string{"env"}, env...), words...)
	}
	return []string{end + before + background(words)[0]}
}

// variable is the environment's name of a setting.
func variable(setting string) string {
	return "MYBR_" + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// without is a command line without a flag and its value.
func without(words []string, flag string) (kept []string) {
	for i := 0; i < len(words); i++ {
		switch {
		case flag != "" && words[i] == "--"+flag:
			i++
		case flag != "" && strings.HasPrefix(words[i], "--"+flag+"="):
		default:
			kept = append(kept, words[i])
		}
	}
	return kept
}

// pid is the running mybr's number here: its own view of that may be of another PID namespace.
// A process of another user that has the lock is not it, and its command line must not get into
// a command for root's shell.
func (l *look) pid(p Process) int {
	if h, err := l.lockHolder(); err == nil && h.Root && h.PID != 0 {
		return h.PID
	}
	return p.PID
}
