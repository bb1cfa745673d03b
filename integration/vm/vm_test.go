package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/unit"
	"github.com/mybr/mybr/integration/world"
)

// Addresses of the host on the LAN, which is a network namespace of the machine's, and of
// a host there (RFC 5737, RFC 3849).
const (
	hostAddr  = "192.0.2.2"
	hostAddr6 = "2001:db8::2"
)

// TestBoots takes a machine with mybr's package through its first boot, a reboot and power
// cuts, and looks at the networks, the ports, the service and the journal after each.
func TestBoots(t *testing.T) {
	world.Full(t)
	m := newMachine(t)
	boot := m.start()
	m.settle(t)
	m.populate()
	m.check(t, "first boot")
	status := m.status()
	m.sandbox(t)

	ids := map[string]bool{boot: true}
	again := func(when string, id string) {
		t.Helper()
		if ids[id] {
			t.Errorf("%s: the boot ID %s is one from before", when, id)
		}
		ids[id] = true
		m.settle(t)
		m.check(t, when)
		if have := m.status(); have != status {
			t.Errorf("%s: mybr status says\n%s\nand said\n%s", when, have, status)
		}
	}
	again("rebooted", m.reboot())

	// What Docker was told is kept, though nothing was synced since.
	m.run("docker", "network", "create", "-d", "mybr", "--subnet", "172.30.3.0/24", "cut")
	status = m.status()
	m.cut()
	again("power cut", m.start())
	if have := m.run("docker", "run", "--rm", "--net", "cut", "guest", "addr"); !strings.Contains(have, "172.30.3.2/24") {
		t.Errorf("a container of the network that was made before the power cut has %s", have)
	}

	// Cut while networks and containers come and go.
	for i := range 4 {
		m.send(nil, "sh", "-c", fmt.Sprintf("while docker network create -d mybr churn%d && docker run --rm --net churn%d -p 9%d:80 guest addr; do docker network rm churn%d; done", i, i, i, i))
	}
	m.eventually("sh", "-c", `mybr ports | grep -q ':9[0-3] '`)
	m.cut()
	boot = m.start()
	m.settle(t)
	m.check(t, "power cut in the midst of changes")
	m.sh("for n in $(docker network ls -q -f name=churn); do docker network rm $n; done")
	again("power cut in the midst of changes, cleared", boot)

	t.Run("killed", func(t *testing.T) { m.kills(t) })
	t.Run("clock", func(t *testing.T) { m.turnsBack(t) })
	t.Run("package", func(t *testing.T) { m.upgrades(t) })
}

// settle waits for the end of the boot, which must not have failed in any part, and plugs
// the LAN in.
func (m *machine) settle(t *testing.T) {
	t.Helper()
	if o := m.try("systemctl", "is-system-running", "--wait"); o.Code != 0 {
		t.Fatalf("systemd is %s: %s", o.Output, m.run("systemctl", "--failed", "--no-pager"))
	}
	m.sh(`ip netns add lan
ip link add lan0 type veth peer name eth0 netns lan
ip addr add ` + hostAddr + `/24 dev lan0
ip addr add ` + hostAddr6 + `/64 dev lan0 nodad
ip link set lan0 up
ip -n lan addr add 192.0.2.9/24 dev eth0
ip -n lan addr add 2001:db8::9/64 dev eth0 nodad
ip -n lan link set eth0 up`)
}

// populate makes a network with both families and one without a way out, and containers
// that Docker starts at each boot.
func (m *machine) populate() {
	m.sh(`tar -C /usr/local/bin -c guest | docker import --change 'ENTRYPOINT ["/guest"]' - guest
docker network create -d mybr --subnet 172.30.1.0/24 --ipv6 --subnet fd00:30:1::/64 dual
docker network create -d mybr --ipam-driver mybr --internal inner
docker run -d --restart always --name web --net dual -p 8080:80 -p 8080:80/udp guest serve tcp:80 udp:80
docker run -d --restart always --name db --net inner guest serve tcp:80
docker network connect inner web`)
}

// check asks the published ports from everywhere, and containers each other.
func (m *machine) check(t *testing.T, when string) {
	t.Helper()
	m.eventually("docker", "exec", "db", "/guest", "get", "tcp", "web:80") // Docker starts it behind the boot
	for _, network := range []string{"tcp", "udp"} {
		for _, to := range []string{hostAddr, "[" + hostAddr6 + "]"} {
			m.eventually("ip", "netns", "exec", "lan", "guest", "get", network, to+":8080")
		}
		for _, to := range []string{"127.0.0.1", "[::1]", hostAddr} {
			m.eventually("guest", "get", network, to+":8080")
		}
	}
	m.eventually("docker", "exec", "web", "/guest", "get", "tcp", "db:80")
	if o := m.try("docker", "exec", "db", "/guest", "ping", "192.0.2.9"); o.Code == 0 {
		t.Errorf("%s: a container of an internal network reaches the LAN", when)
	}
	m.healthy(t, when)
	t.Logf("%s: everything answers", when)
}

// healthy fails the test unless the service runs, the host is as recorded, and neither a
// system call nor a file was denied.
func (m *machine) healthy(t *testing.T, when string) {
	t.Helper()
	for _, name := range []string{"mybr.service", "mybr.socket", "docker.service"} {
		if state := m.run("systemctl", "show", "-P", "ActiveState", name); state != "active" {
			t.Errorf("%s: %s is %s", when, name, state)
		}
	}
	m.run("systemctl", "status", "--no-pager", "mybr")
	m.eventually("sh", "-c", "mybr status | grep -q '^host: *matches the records$'")
	if denied := m.try("sh", "-c", `journalctl -b --no-pager _TRANSPORT=kernel + _TRANSPORT=audit | grep -E 'type=1326|apparmor="DENIED"'`); denied.Code == 0 {
		t.Errorf("%s: denied was %s", when, denied.Output)
	}
	if said := m.run("journalctl", "-b", "-u", "mybr", "--no-pager", "-o", "cat"); regexp.MustCompile(`level=error|crashed|panic`).MatchString(said) {
		t.Errorf("%s: mybr says %s", when, said)
	}
}

// status is what mybr status says that is the same after a boot.
func (m *machine) status() string {
	m.t.Helper()
	return m.sh("mybr status | grep -v -E '^(pid|since):'")
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
	m.eventually("sh", "-c", "mybr status | grep -q '^host: *matches the records$'") // the check that is made now and then still is
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
	if now := m.run("docker", "inspect", "-f", "{{.State.StartedAt}}", "web", "db"); now != since {
		t.Errorf("containers were started at %s, before the upgrade at %s", now, since)
	}
	if now := m.run("sh", "-c", "iptables-save | grep -c MYBR-"); now != rules {
		t.Errorf("mybr has %s rules, before the upgrade %s", now, rules)
	}

	m.sh("docker rm -f web db; docker network rm dual inner cut; dpkg -r mybr")
	if o := m.try("systemctl", "is-active", "mybr.service", "mybr.socket"); strings.Contains(o.Output, "active\n") && !strings.Contains(o.Output, "inactive") {
		t.Errorf("after the removal the units are %s", o.Output)
	}
	m.run("test", "-e", "/var/lib/mybr/mybr.db")
	m.run("dpkg", "--purge", "mybr")
	m.sh("! test -e /var/lib/mybr; ! test -e /etc/default/mybr; ! ls /etc/systemd/system/*.wants/mybr.*")
}
