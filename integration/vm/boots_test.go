package vm

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
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

	ids := map[string]bool{boot: true}
	again := func(when string, id string) {
		t.Helper()
		if ids[id] {
			t.Errorf("%s: the boot ID %s is one from before", when, id)
		}
		ids[id] = true
		m.settle(t)
		m.check(t, when)
		m.eventually("sh", "-c", `[ "$(`+statusScript+`)" = "$1" ]`, "-", status) // what a cut has left half made goes behind the first pass
	}
	reliability.Try(t, "a machine with mybr's package is rebooted", func() time.Duration {
		again("rebooted", m.reboot())
		return 0
	})

	// What Docker was told is kept, though nothing was synced since.
	reliability.Try(t, "a machine's power is cut", func() time.Duration {
		m.run("docker", "network", "create", "-d", "mybr", "--subnet", "172.30.3.0/24", "cut")
		status = m.status()
		m.cut()
		again("power cut", m.start())
		if have := m.run("docker", "run", "--rm", "--net", "cut", "guest", "addr"); !strings.Contains(have, "172.30.3.2/24") {
			t.Errorf("a container of the network that was made before the power cut has %s", have)
		}
		return 0
	})

	reliability.Try(t, "a machine's power is cut while networks and containers come and go", func() time.Duration {
		m.cutAmidChanges(t, again)
		return 0
	})
}

// cutAmidChanges cuts the power while networks and containers come and go. What Docker knows
// of them can be removed afterwards.
func (m *machine) cutAmidChanges(t *testing.T, again func(when, boot string)) {
	t.Helper()
	for i := range 4 {
		m.send(nil, "sh", "-c", fmt.Sprintf("while docker network create -d mybr churn%d && docker run --rm --net churn%d -p 9%d:80 guest addr; do docker network rm churn%d; done", i, i, i, i))
	}
	m.eventually("sh", "-c", `[ "$(mybr status | sed -n 's/^endpoints: *//p')" -gt 3 ]`) // web has two, db one
	m.cut()
	boot := m.start()
	m.settle(t)
	m.check(t, "power cut in the midst of changes")
	m.sh(`for n in $(docker network ls -q -f name=churn); do
  for c in $(docker ps -a -q -f network=$n); do docker rm -f $c; done
  docker network rm $n
done`)
	again("power cut in the midst of changes, cleared", boot)
}

// settle waits for the end of the boot, which must not have failed in any part, and plugs
// the LAN in.
func (m *machine) settle(t *testing.T) {
	t.Helper()
	if o := m.try("systemctl", "is-system-running", "--wait"); o.Code != 0 {
		t.Fatalf("systemd is %s: %s", o.Output, m.run("systemctl", "--failed", "--no-pager"))
	}
	m.sh(`test ! -e /run/netns/lan || exit 0
ip netns add lan
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
	return m.sh(statusScript)
}

const statusScript = "mybr status | grep -v -E '^(pid|since|healed):'"
