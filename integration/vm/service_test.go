package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/unit"
	"github.com/mybr/mybr/integration/world"
)

// TestService looks at what the unit makes of the process: its sandbox, and what becomes of
// the networks when it is killed, when the clock is set back, and when the package is
// upgraded and removed.
func TestService(t *testing.T) {
	world.Full(t)
	m := newMachine(t)
	m.start()
	m.settle(t)
	m.populate()
	m.check(t, "booted")
	t.Run("sandbox", func(t *testing.T) { m.sandbox(t) })
	t.Run("docker-proxy", func(t *testing.T) { m.proxies(t) })
	t.Run("killed", func(t *testing.T) { m.kills(t) })
	t.Run("clock", func(t *testing.T) { m.turnsBack(t) })
	t.Run("package", func(t *testing.T) { m.upgrades(t) })
}

// pid is mybr's process.
func (m *machine) pid() string {
	m.t.Helper()
	return m.run("systemctl", "show", "-P", "MainPID", "mybr")
}

// sandbox reads what the kernel keeps mybr from: no more and no less than the unit says.
func (m *machine) sandbox(t *testing.T) {
	t.Helper()
	u, err := unit.Read(filepath.Join(checkout(t), "contrib", "systemd", "mybr.service"))
	if err != nil {
		t.Fatal(err)
	}
	caps, err := u.Capabilities()
	if err != nil {
		t.Fatal(err)
	}
	mask := uint64(0)
	for _, c := range caps {
		mask |= 1 << c
	}
	pid := m.pid()
	have := m.run("cat", "/proc/"+pid+"/status")
	for name, want := range map[string]string{
		"CapBnd": fmt.Sprintf("%016x", mask), "CapEff": fmt.Sprintf("%016x", mask), "CapPrm": fmt.Sprintf("%016x", mask),
		"CapAmb": fmt.Sprintf("%016x", 0), "CapInh": fmt.Sprintf("%016x", 0), "NoNewPrivs": "1", "Seccomp": "2",
	} {
		if got := regexp.MustCompile(`(?m)^` + name + `:\s+(\S+)$`).FindStringSubmatch(have); got == nil || got[1] != want {
			t.Errorf("%s of mybr: %q, want %s", name, got, want)
		}
	}
	inside := func(script string) int {
		return m.try("nsenter", "-m", "-t", pid, "sh", "-ec", script).Code
	}
	for what, script := range map[string]string{
		"write a setting of the network": "v=$(cat /proc/sys/net/ipv4/ip_forward); echo $v >/proc/sys/net/ipv4/ip_forward",
		"write its records":              "touch /var/lib/mybr/x && rm /var/lib/mybr/x",
		"write its sockets":              "touch /run/mybr/x && rm /run/mybr/x",
		"reach D-Bus":                    "test -S /run/dbus/system_bus_socket",
	} {
		if inside(script) != 0 {
			t.Errorf("mybr can't %s", what)
		}
	}
	for what, script := range map[string]string{
		"write another setting":         "v=$(cat /proc/sys/kernel/sysrq); echo $v >/proc/sys/kernel/sysrq",
		"reach Docker's socket":         "test -e /run/docker.sock",
		"reach systemd's socket":        "test -e /run/systemd/private",
		"write to /etc":                 "touch /etc/x",
		"write to /run":                 "touch /run/x",
		"read root's files":             "ls /root/*",
		"run what it has written":       "trap 'rm -f /var/lib/mybr/x' EXIT; cp /bin/true /var/lib/mybr/x; /var/lib/mybr/x",
		"run what it has written below": "trap 'rm -f /run/mybr/x' EXIT; cp /bin/true /run/mybr/x; /run/mybr/x",
	} {
		if inside(script) == 0 {
			t.Errorf("mybr can %s", what)
		}
	}
}

// kills ends mybr with SIGKILL, which systemd mends; Docker's calls wait in the socket.
func (m *machine) kills(t *testing.T) {
	was, restarts := m.pid(), m.run("systemctl", "show", "-P", "NRestarts", "mybr")
	inode := m.run("stat", "-c", "%i", "/run/docker/plugins/mybr.sock")
	m.sh("kill -9 " + was + "; docker network create -d mybr killed; docker run --rm --net killed guest addr; docker network rm killed")
	m.healthy(t, "killed")
	if now := m.pid(); now == was {
		t.Errorf("mybr is %s, as before", now)
	}
	if now := m.run("stat", "-c", "%i", "/run/docker/plugins/mybr.sock"); now != inode {
		t.Errorf("the socket is %s, was %s", now, inode)
	}
	if now := m.run("systemctl", "show", "-P", "NRestarts", "mybr"); now == restarts {
		t.Errorf("systemd has restarted mybr %s times, as before", now)
	}
	m.check(t, "killed")
}

// turnsBack sets the clock back by a day: nothing waits for it to come again.
func (m *machine) turnsBack(t *testing.T) {
	was, err := time.Parse(time.DateOnly, m.run("date", "-u", "+%F"))
	if err != nil {
		t.Fatal(err)
	}
	m.run("date", "-s", "1 day ago")
	if now := m.run("date", "-u", "+%F"); now >= was.Format(time.DateOnly) {
		t.Fatalf("it is %s, was %s", now, was.Format(time.DateOnly))
	}
	use := "docker network create -d mybr --ipam-driver mybr past; docker run --rm --net past -p 8081:80 guest addr; docker network rm past"
	m.sh(use)
	m.run("systemctl", "restart", "mybr")
	m.check(t, "clock set back")
	m.sh(use)
	m.run("systemctl", "restart", "docker")
	m.check(t, "clock set back, Docker restarted")
	m.run("iptables", "-F", "MYBR-FORWARD")
	m.eventually("sh", "-c", "mybr status | grep -q '^host: *matches the records$'") // what watches the rules still does
}

// upgrades installs a newer package under running containers, and then removes it.
func (m *machine) upgrades(t *testing.T) {
	deb, err := os.ReadFile(makeDeb(t, "99"))
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{"sh", "-ec", "cat >/root/99.deb; exec dpkg -i /root/99.deb"}
	was, since := m.pid(), m.run("docker", "inspect", "-f", "{{.State.StartedAt}}", "web", "db")
	rules := m.run("sh", "-c", "iptables-save | grep -c MYBR-")
	if o := m.wait(m.send(deb, argv...), argv); o.Code != 0 {
		t.Fatalf("upgrade: %s%s", o.Output, o.Errors)
	}
	if now := m.pid(); now == was {
		t.Errorf("the old process %s is still there", now)
	}
	m.check(t, "upgraded")
	m.shows(t, "upgraded")
	if now := m.run("docker", "inspect", "-f", "{{.State.StartedAt}}", "web", "db"); now != since {
		t.Errorf("containers were started at %s, before the upgrade at %s", now, since)
	}
	if now := m.run("sh", "-c", "iptables-save | grep -c MYBR-"); now != rules {
		t.Errorf("mybr has %s rules, before the upgrade %s", now, rules)
	}

	m.sh("docker rm -f web db; docker network rm dual inner; dpkg -r mybr")
	units := []string{"mybr.service", "mybr.socket", "mybr-docker-proxy.service", "mybr-docker-proxy.socket"}
	if o := m.try(append([]string{"systemctl", "is-active"}, units...)...); o.Code == 0 { // one of them is
		t.Errorf("after the removal the units are %s", o.Output)
	}
	m.run("test", "-e", "/var/lib/mybr/mybr.db")
	m.run("dpkg", "--purge", "mybr")
	m.sh("[ ! -e /var/lib/mybr ] && [ ! -e /run/mybr ] && [ ! -e /run/mybr-docker-proxy ] && [ ! -e /etc/default/mybr ] && ! ls /etc/systemd/system/*.wants/mybr*")
}
