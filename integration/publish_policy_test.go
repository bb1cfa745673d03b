package integration

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestPublishPolicy is about published ports of which the host's firewall decides who reaches them.
func TestPublishPolicy(t *testing.T) {
	withEachBackend(t, []string{secondLAN}, publishPolicy)
}

const optionPolicy = "mybr.publish.policy"

// hostDecides is a port of two protocols, with the clients that may reach it.
type hostDecides struct {
	w                   *world.World
	neighbour, stranger *world.Place
}

// publishByHost makes a network whose published ports are the host's firewall's to decide about, with
// a server on port 8080 of the host, and another network.
func publishByHost(w *world.World) hostDecides {
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0", "-o", optionPolicy+"=host",
		"--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "n0")
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr1", "--subnet", "172.19.0.0/16", "n1")
	w.Serve("web", []string{"--net", "n0", "-p", "8080:80", "-p", "8080:80/udp"}, "tcp:80", "udp:80")
	w.Serve("plain", []string{"--net", "n1", "-p", "8090:80"}, "tcp:80")
	return hostDecides{w, w.Idle("neighbour", "--net", "n0"), w.Idle("stranger", "--net", "n1")}
}

func (p hostDecides) clients(network string) map[string]func() world.Outcome {
	v4, v6 := world.HostAddr+":8080", "["+world.HostAddr6+"]:8080"
	get := func(from *world.Place, to string) func() world.Outcome {
		return func() world.Outcome { return from.Get(network, to, soon) }
	}
	return map[string]func() world.Outcome{
		"first": get(p.w.LANs[0], v4), "first6": get(p.w.LANs[0], v6), "second": get(p.w.LANs[1], v4), "second6": get(p.w.LANs[1], v6),
		"host": get(p.w.Host, v4), "host6": get(p.w.Host, v6), "loopback": get(p.w.Host, "127.0.0.1:8080"), "loopback6": get(p.w.Host, "[::1]:8080"),
		"neighbour": get(p.neighbour, v4), "stranger": get(p.stranger, v4),
	}
}

// byLoopback are the clients that rules for what comes by lo let in; outside are the others.
const (
	byLoopback = " host host6 loopback loopback6 "
	outside    = " first first6 second second6 neighbour stranger "
)

// closeInput has the host take nothing but answers, what it sends to itself, and ICMP.
func closeInput(w *world.World) {
	w.Host.Run("sh", "-ec", `for c in iptables ip6tables; do
		$c -A INPUT -i lo -j ACCEPT
		$c -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		$c -P INPUT DROP
	done
	iptables -A INPUT -p icmp -j ACCEPT
	ip6tables -A INPUT -p ipv6-icmp -j ACCEPT`)
}

// input runs a command of both iptables on INPUT.
func input(w *world.World, rule string) {
	w.Host.Run("sh", "-ec", "iptables "+rule+"\nip6tables "+rule)
}

func publishPolicy(t *testing.T, w *world.World) {
	p := publishByHost(w)
	reaches(t, "with INPUT open, tcp", p.clients("tcp"), outside+byLoopback)
	reaches(t, "with INPUT open, udp", p.clients("udp"), outside+byLoopback)
	if o := w.LANs[0].Get("tcp", world.HostAddr+":8080", soon); o.Answer.Client.Addr() != netip.MustParseAddr("172.18.0.1") {
		t.Errorf("the server sees %v, want the gateway", o.Answer.Client)
	}
	matches(t, w)

	closeInput(w)
	reaches(t, "with INPUT closed, tcp", p.clients("tcp"), byLoopback)
	reaches(t, "with INPUT closed, udp", p.clients("udp"), byLoopback)
	answered(t, "a port of a network without the option", w.LANs[0].Get("tcp", world.HostAddr+":8090", soon))
	if said := w.Host.Try("mybr", "explain", world.LANAddr, world.HostAddr+":8080"); said.Code != 1 || !strings.Contains(said.Out, "INPUT") {
		t.Errorf("mybr explain does not say that INPUT drops it: %+v", said)
	}
	if said := w.Host.Try("mybr", "doctor"); !strings.Contains(said.Out, "the host's firewall, which decides about it (mybr.publish.policy=host), closes web's tcp port 8080") {
		t.Errorf("mybr doctor does not say who closes the port: %+v", said)
	}
	input(w, "-A INPUT -p tcp --dport 8080 -j ACCEPT")
	reaches(t, "with tcp let in", p.clients("tcp"), outside+byLoopback)
	reaches(t, "with tcp let in, udp", p.clients("udp"), byLoopback)
	if said := w.Host.Run("mybr", "explain", world.LANAddr, world.HostAddr+":8080"); !strings.Contains(said, "mybr holds") {
		t.Errorf("mybr explain does not say that the process carries it:\n%s", said)
	}
	input(w, "-A INPUT -p udp --dport 8080 -j ACCEPT")
	reaches(t, "with udp let in, too", p.clients("udp"), outside+byLoopback)

	// Who else may say whom they let in: both have to.
	w.Host.Run("mybr", "endpoint", "set", "web", "mybr.publish.from="+secondLAN+","+secondLAN6)
	reaches(t, "for clients, tcp", p.clients("tcp"), "second second6 neighbour"+byLoopback)
	reaches(t, "for clients, udp", p.clients("udp"), "second second6 neighbour"+byLoopback)
	w.Host.Run("mybr", "endpoint", "set", "web", "mybr.publish.from=", "mybr.publish.interface=eth1")
	reaches(t, "by another interface", p.clients("tcp"), "neighbour"+byLoopback)
	w.Host.Run("mybr", "endpoint", "set", "web", "mybr.publish.interface=")
	reaches(t, "for all again", p.clients("tcp"), outside+byLoopback)

	// While mybr is away nobody gets in past the host's firewall.
	input(w, "-D INPUT -p tcp --dport 8080 -j ACCEPT")
	input(w, "-D INPUT -p udp --dport 8080 -j ACCEPT")
	w.KillMybr()
	unanswered(t, "mybr is away", p.clients("tcp")["first"]())
	w.StartMybr()
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	reaches(t, "after a restart", p.clients("tcp"), byLoopback)

	publishPolicyLive(t, w, p)
	publishPolicyRefused(t, w)
	reaches(t, "after what was refused", p.clients("tcp"), byLoopback)
	matches(t, w)
}

// publishPolicyLive changes the policy while connections are open: those that came past the host's
// firewall end, and those that rules for lo let in go on.
func publishPolicyLive(t *testing.T, w *world.World, p hostDecides) {
	stay := w.Traffic(w.Host.Flow(report.Stream, "127.0.0.1:8080"))
	w.Host.Run("mybr", "network", "set", "n0", optionPolicy+"=open")
	reaches(t, "open, tcp", p.clients("tcp"), outside+byLoopback)
	reaches(t, "open, udp", p.clients("udp"), outside+byLoopback)
	if ports := w.Host.Run("mybr", "ports", "web"); !strings.Contains(ports, "nat") {
		t.Errorf("mybr ports:\n%s", ports)
	}
	matches(t, w)
	end := w.Traffic(w.LANs[0].Flow(report.Stream, world.HostAddr+":8080"), w.LANs[0].Flow(report.UDP, world.HostAddr+":8080"),
		w.LANs[0].Flow(report.Stream, "["+world.HostAddr6+"]:8080"))
	w.Host.Run("mybr", "network", "set", "n0", optionPolicy+"=")
	reaches(t, "the host's again, tcp", p.clients("tcp"), byLoopback)
	reaches(t, "the host's again, udp", p.clients("udp"), byLoopback)
	if seen := end.Stop(); seen.Unsettled() != len(seen) {
		t.Errorf("what came past the host's firewall still does:\n%v", seen)
	}
	if seen := stay.Stop(); seen.Broken() > 0 || seen.Unsettled() > 0 {
		t.Errorf("what the host sends to itself was interrupted:\n%v", seen)
	}
	w.Host.Run("mybr", "endpoint", "set", "web", optionPolicy+"=open")
	reaches(t, "an endpoint", p.clients("tcp"), outside+byLoopback)
	shown := w.Host.Run("mybr", "network", "inspect", "n0")
	for _, line := range []string{optionPolicy + "=host", "web " + optionPolicy + "=open (created without)"} {
		if !strings.Contains(shown, line) {
			t.Errorf("mybr network inspect does not print %q:\n%s", line, shown)
		}
	}
	w.Host.Run("mybr", "endpoint", "set", "web", optionPolicy+"=")
	if ports := w.Host.Run("mybr", "ports", "web"); !strings.Contains(ports, "process") || strings.Contains(ports, "nat") {
		t.Errorf("mybr ports does not say that the process carries them:\n%s", ports)
	}
}

// publishPolicyRefused is about where the policy can't be had.
func publishPolicyRefused(t *testing.T, w *world.World) {
	for _, c := range []struct{ args, says string }{
		{"network create -d mybr -o " + optionPolicy + "=closed n2", "option " + optionPolicy + ": closed: want open or host"},
		{"network create -d mybr -o " + optionPolicy + "=host --internal n2", "option " + optionPolicy + ": an internal network publishes nothing: leave it out"},
		{"network create -d mybr -o " + optionPolicy + "=host -o com.docker.network.bridge.gateway_mode_ipv4=routed n2", "option " + optionPolicy + ": host: with gateway mode routed "},
		{"network create -d mybr -o " + optionPolicy + "=host -o com.docker.network.bridge.trusted_host_interfaces=eth0 n2", "option " + optionPolicy + ": host: from the interfaces of "},
		{"run --rm --net n0 -p 3868:3868/sctp guest true", "port 3868/sctp: with " + optionPolicy + "=host the process carries published ports, which it can't do with SCTP: "},
		{"run --rm --network name=n1,driver-opt=" + optionPolicy + "=x guest true", "option " + optionPolicy + ": x: want open or host"},
	} {
		if r := w.DockerTry(strings.Fields(c.args)...); r.Code == 0 || !strings.Contains(r.Err, c.says) {
			t.Errorf("docker %s: %+v, want %q", c.args, r, c.says)
		}
	}
	w.Docker("run", "-d", "--name", "sctp", "--net", "n1", "-p", "3868:3868/sctp", "guest", "sleep")
	for _, args := range []string{"network set n1 " + optionPolicy + "=host", "endpoint set sctp " + optionPolicy + "=host"} {
		if r := w.Host.Try(append([]string{"mybr"}, strings.Fields(args)...)...); r.Code != 1 || !strings.Contains(r.Err, "port 3868/sctp: with "+optionPolicy+"=host the process carries") {
			t.Errorf("mybr %s: %+v", args, r)
		}
	}
	answered(t, "a port of the network that was not changed", w.LANs[0].Get("tcp", world.HostAddr+":8090", soon))
	w.Docker("rm", "-f", "sctp")
}

// TestPublishPolicyRestart is about what a container has begun from its published port, which goes on when
// mybr starts again; what came in there past the host's firewall does not.
func TestPublishPolicyRestart(t *testing.T) {
	withBackend(t, world.NFTables, nil, func(t *testing.T, w *world.World) {
		publishByHost(w)
		w.KillMybr()
		track := func(from, to, back, sport, dport string) { // answered, to another address where it was translated
			w.Host.Run("conntrack", "-I", "-p", "udp", "-s", from, "-d", to, "--sport", sport, "--dport", dport,
				"-r", to, "-q", back, "--reply-port-src", dport, "--reply-port-dst", sport, "-u", "SEEN_REPLY", "--timeout", "300")
		}
		track("172.18.0.2", world.LANAddr, world.HostAddr, "80", "9999")
		track(world.LANAddr, "172.18.0.2", world.LANAddr, "9998", "80")
		w.StartMybr()
		w.Eventually(healWithin, func() error { return mismatch(t, w) })
		flows := w.Host.Run("conntrack", "-L", "-p", "udp")
		if !strings.Contains(flows, "sport=80 dport=9999") || strings.Contains(flows, "sport=9998") {
			t.Errorf("want what the container began alone, have\n%s", flows)
		}
	})
}

// TestPublishPolicyFirewalls has ufw and firewalld open and close published ports, as they do for
// services of the host, by the names that they have.
func TestPublishPolicyFirewalls(t *testing.T) {
	for name, firewall := range map[string]struct {
		start       func(w *world.World)
		allow, deny []string
	}{
		"ufw": {func(w *world.World) {
			w.Host.Run("ufw", "default", "deny", "incoming")
			w.Host.Run("ufw", "--force", "enable")
		}, []string{"ufw", "allow", "8080/tcp"}, []string{"ufw", "delete", "allow", "8080/tcp"}},
		"firewalld": {func(w *world.World) {
			startFirewalld(w)
			w.RestartDocker() // Docker looks for firewalld when it starts
		}, []string{"firewall-cmd", "--add-port=8080/tcp"}, []string{"firewall-cmd", "--remove-port=8080/tcp"}},
	} {
		t.Run(name, func(t *testing.T) {
			if world.Driver() != "mybr" {
				t.Skip("is about the mybr driver")
			}
			t.Parallel()
			w := world.New(t, world.Config{Variant: "nft", LANs: []string{secondLAN}, MybrArgs: []string{"--publish-policy", "host"}})
			firewall.start(w)
			w.Network("n0", "--subnet", "172.18.0.0/16")
			w.Serve("web", []string{"--net", "n0", "-p", "8080:80"}, "tcp:80")
			clients := map[string]func() world.Outcome{
				"first": func() world.Outcome { return w.LAN.Get("tcp", world.HostAddr+":8080", soon) },
				"six":   func() world.Outcome { return w.LAN.Get("tcp", "["+world.HostAddr6+"]:8080", soon) },
				"host":  func() world.Outcome { return w.Host.Get("tcp", "127.0.0.1:8080", soon) },
			}
			for range 2 {
				reaches(t, "closed", clients, "host")
				w.Host.Run(firewall.allow...)
				reaches(t, "allowed", clients, "first six host")
				w.Host.Run(firewall.deny...)
			}
			reaches(t, "closed again", clients, "host")
			w.Host.Run("mybr", "network", "set", "n0", optionPolicy+"=open")
			reaches(t, "open", clients, "first host") // IPv6 is carried to this container with IPv4 alone, as without the option
		})
	}
}
