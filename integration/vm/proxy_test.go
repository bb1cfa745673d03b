package vm

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/unit"
)

const proxyUnit = "mybr-docker-proxy.service"

// proxies has Docker's client connect to the socket of mybr docker-proxy, as the README says:
// systemd starts it, and starts it again.
func (m *machine) proxies(t *testing.T) {
	if state := m.run("systemctl", "show", "-P", "ActiveState", proxyUnit); state != "inactive" {
		t.Errorf("before the first client the proxy is %s", state)
	}
	if access := m.run("stat", "-c", "%U:%G %a", "/run/mybr-docker-proxy/docker.sock"); access != "root:docker 660" {
		t.Errorf("its socket is %s", access)
	}
	if shown := m.run("docker", "ps", "--format", "{{.Ports}}"); strings.Contains(shown, "8080") {
		t.Errorf("without the proxy there are %s", shown)
	}
	m.run("docker", "context", "create", "mybr", "--docker", "host=unix:///run/mybr-docker-proxy/docker.sock")
	m.shows(t, "first client")
	if state := m.run("systemctl", "show", "-P", "ActiveState", proxyUnit); state != "active" {
		t.Errorf("behind the first client the proxy is %s", state)
	}
	m.confined(t)
	if said := m.run("docker", "--context", "mybr", "exec", "web", "/guest", "addr"); !strings.Contains(said, "172.30.1.") {
		t.Errorf("executed by the proxy: %s", said)
	}

	m.run("systemctl", "kill", "-s", "KILL", proxyUnit)
	m.shows(t, "killed")
	m.run("systemctl", "stop", "mybr.service") // its admin socket goes with it
	m.shows(t, "without mybr")
	m.run("systemctl", "start", "mybr.service")
	m.shows(t, "with mybr again")

	m.sh("echo MYBR_LISTEN=unix:///run/elsewhere.sock >>/etc/default/mybr; systemctl restart " + proxyUnit + "; sed -i '/^MYBR_LISTEN=/d' /etc/default/mybr")
	m.shows(t, "told another place")
	said := m.run("journalctl", "-b", "-u", proxyUnit, "--no-pager", "-o", "cat")
	for _, want := range []string{
		"listen unix:///run/elsewhere.sock has no effect: the socket is systemd's, unix:///run/mybr-docker-proxy/docker.sock",
		"published ports are shown as mybr told them last until mybr can be asked: mybr is not running",
		"published ports are shown again",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("the proxy has not said %q: %s", want, said)
		}
	}
	m.run("systemctl", "restart", proxyUnit)
	m.healthy(t, "with the proxy")
}

// shows fails the test unless Docker's client shows the ports of web by the proxy.
func (m *machine) shows(t *testing.T, when string) {
	t.Helper()
	list := m.run("docker", "--context", "mybr", "ps", "--filter", "name=web", "--format", "{{.Names}} {{.Ports}}")
	for _, want := range []string{"web ", "0.0.0.0:8080->80/tcp", "0.0.0.0:8080->80/udp", "[::]:8080->80/tcp", "[::]:8080->80/udp"} {
		if !strings.Contains(strings.ReplaceAll(list, " :::", " [::]:"), want) { // which of the two hangs on the client's version
			t.Errorf("%s: docker ps shows %q, without %q", when, list, want)
		}
	}
	if ports := m.run("docker", "--context", "mybr", "port", "web", "80/udp"); ports != "0.0.0.0:8080\n[::]:8080" {
		t.Errorf("%s: docker port shows %q", when, ports)
	}
}

// confined reads what the kernel keeps the proxy from: what its unit says.
func (m *machine) confined(t *testing.T) {
	t.Helper()
	u, err := unit.Read(filepath.Join(checkout(t), "contrib", "systemd", proxyUnit))
	if err != nil {
		t.Fatal(err)
	}
	if caps, err := u.Capabilities(); err != nil || len(caps) > 0 {
		t.Fatalf("the unit gives capabilities: %v, %v", caps, err)
	}
	pid := m.run("systemctl", "show", "-P", "MainPID", proxyUnit)
	status := m.run("cat", "/proc/"+pid+"/status")
	none := strings.Repeat("0", 16)
	for name, want := range map[string]string{"CapBnd": none, "CapEff": none, "CapPrm": none, "CapAmb": none, "NoNewPrivs": "1", "Seccomp": "2"} {
		if have := regexp.MustCompile(`(?m)^` + name + `:\s+(\S+)$`).FindStringSubmatch(status); have == nil || have[1] != want {
			t.Errorf("%s of the proxy: %q, want %s", name, have, want)
		}
	}
	inside := func(script string) int {
		return m.try("nsenter", "-m", "-n", "-t", pid, "sh", "-ec", script).Code
	}
	if inside("test -S /run/docker.sock && test -S /run/mybr/mybr.sock") != 0 {
		t.Error("the proxy does not see the sockets of Docker and mybr")
	}
	for what, script := range map[string]string{
		"write to /run":      "touch /run/x",
		"write to /etc":      "touch /etc/x",
		"read root's files":  "ls /root/*",
		"see mybr's records": "ls /var/lib/mybr/*",
		"see a network":      "ip -o link | grep -v ' lo:'",
	} {
		if inside(script) == 0 {
			t.Errorf("the proxy can %s", what)
		}
	}
}
