package doctor_test

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/doctor"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/view"
)

// inWeb runs a command in the container.
const inWeb = "nsenter --net=/run/docker/netns/222222222222 "

// publishedRows are ways to keep a published port from answering, with what is said of each.
func publishedRows() []row {
	port := func(seen string, lines ...string) row {
		return row{check: "published-ports", want: doctor.Fault, seen: seen, fault: does(lines...), between: lost, after: reached}
	}
	return []row{
		port(`^net\.ipv4\.conf\.eth0\.forwarding is 0: lost is what comes from eth0 to endpoint 222222222222's tcp port 8080 \(network mybr0\)$`,
			"sysctl -w net.ipv4.conf.eth0.forwarding=0"),
		port(`^net\.ipv4\.conf\.mybr0\.forwarding is 0: lost is what comes from eth0`, "sysctl -w net.ipv4.conf.mybr0.forwarding=0"),
		port(`^iptables-nft -t raw PREROUTING rule 1 .* lost is .*what comes from eth0`, "iptables -t raw -A PREROUTING -p tcp --dport 8080 -j DROP"),
		port(`^iptables-nft -t mangle FORWARD rule 1 .* lost is what comes from eth0`, "iptables -t mangle -A FORWARD -p tcp --dport 80 -m comment --comment \"it's one\" -j DROP"),
		port(`^iptables-nft -t nat PREROUTING rule 1 .* lost is what comes from eth0`,
			"iptables -t nat -I PREROUTING -i eth0 -p tcp --dport 8080 -j REDIRECT --to-ports 9"),
		port(`^iptables-nft FORWARD rule 1 \(-p tcp -m tcp --dport 80 -j DROP\): lost is what comes from eth0`, "iptables -I FORWARD -p tcp --dport 80 -j DROP"),
		port(`^iptables-nft OUTPUT rule 1 .*: lost is what the host itself sends to [^,]*$`, "iptables -A OUTPUT -o mybr0 -j DROP"),
		port(`^iptables-legacy -t mangle PREROUTING: its policy: lost is`, "iptables-legacy -t mangle -P PREROUTING DROP"),
		port(`^the route blackhole 172\.18\.0\.2/32: lost is`, "ip route add blackhole 172.18.0.2"),
		port(`^the route 192\.0\.2\.1/32 by docker9: lost is what comes from eth0`, "ip link add docker9 type bridge", "ip addr add 172.31.0.1/16 dev docker9",
			"ip link set docker9 up", "ip route add 192.0.2.1/32 dev docker9"),
		port(`(?m)^ip rule 60 \(from 172\.18\.0\.0/16 lookup 77\): lost is what comes from eth0`, "ip link add tun9 type bridge", "ip link set tun9 up",
			"ip route add default dev tun9 table 77", "ip rule add priority 60 from 172.18.0.0/16 lookup 77"),
		port(`^endpoint 222222222222 has no default route: lost is what comes from eth0`, inWeb+"ip route delete default"),
		port(`(?m)^the link eth0 of endpoint 222222222222 is down, and .* has no default route`, inWeb+"ip link set eth0 down"),
		port(`^iptables-nft INPUT rule 1 \(-p tcp -j DROP\) of endpoint 222222222222: lost is`, inWeb+"iptables -A INPUT -p tcp -j DROP"),
		port(`^ip rule 50 \(to 172\.18\.0\.2/32 prohibit\): lost is`, "ip rule add priority 50 to 172.18.0.2 prohibit"),
		port(`^nft ip early first rule 2 \(handle \d+\): lost is .*what comes from eth0`, "nft add table ip early",
			"nft add chain ip early first '{ type filter hook prerouting priority -310; }'", "nft add rule ip early first counter", "nft add rule ip early first tcp dport 8080 drop"),
		port(`permanent entry for the neighbour 172\.18\.0\.2 on mybr0, 02:00:00:00:00:99`,
			"ip neigh replace 172.18.0.2 lladdr 02:00:00:00:00:99 dev mybr0 nud permanent"),
		{check: "published-ports", want: doctor.Warning, seen: `^nothing carries endpoint 222222222222's sctp port 5000 \(network mybr0\): with mybr\.publish\.policy=host`,
			fault: closedSCTP, after: func(s *stage) {
				s.call("NetworkDriver.RevokeExternalConnectivity", m{"NetworkID": networkID, "EndpointID": endpointID})
				s.publish(networkID, endpointID, "0.0.0.0", 8080)
				s.sh("mybr endpoint set " + endpointID + " mybr.publish.policy= --docker none --run-dir " + s.env.RunDir)
				unwatched(s)
				reached(s)
			}},
	}
}

// closedSCTP publishes a port of SCTP, which the next start's default closes: its log and mybr
// explain say so.
func closedSCTP(s *stage, _ *doctor.Env) {
	s.Helper()
	s.call("NetworkDriver.RevokeExternalConnectivity", m{"NetworkID": networkID, "EndpointID": endpointID})
	s.call("NetworkDriver.ProgramExternalConnectivity", m{"NetworkID": networkID, "EndpointID": endpointID, "Options": m{"com.docker.network.portmap": []m{
		{"Proto": 6, "IP": "", "Port": 80, "HostIP": "0.0.0.0", "HostPort": 8080, "HostPortEnd": 8080},
		{"Proto": 132, "IP": "", "Port": 5000, "HostIP": "0.0.0.0", "HostPort": 5000, "HostPortEnd": 5000},
	}}})
	s.restart("--resync-interval", "0", "--publish-policy", "host")
	text, err := os.ReadFile(s.path("log"))
	s.must(err)
	if n := strings.Count(string(text), "sctp port 5000 of endpoint 222222222222 is closed: with --publish-policy host"); n != 1 || !strings.Contains(string(text), "mybr endpoint set 222222222222") {
		s.Errorf("the log tells %d times of the port:\n%s", n, text)
	}
	said, err := s.try("mybr explain lan host:5000/sctp --docker none --run-dir " + s.env.RunDir)
	if err == nil || !strings.Contains(said, "mybr.publish.policy=host, and can't carry sctp") || !strings.Contains(said, "mybr endpoint set 222222222222") {
		s.Errorf("mybr explain does not say that the port is closed: %v: %s", err, said)
	}
}

// clients asks the published port from beyond the uplink, and from the host itself.
func clients(s *stage) error {
	_, err := s.lan.Ask("tcp", "192.0.2.2:8080", 300*time.Millisecond)
	_, err2 := s.host.Ask("tcp", "127.0.0.1:8080", 300*time.Millisecond)
	return errors.Join(err, err2)
}

// lost is what a check has to be right about: a client really gets no answer.
func lost(s *stage) {
	s.Helper()
	if clients(s) == nil {
		s.Errorf("all clients get answers")
	}
}

func reached(s *stage) {
	s.Helper()
	nettest.Eventually(s, 10*time.Second, func() error { return clients(s) })
}

// What keeps published ports from answering is found, and what restricts or does not concern them
// is told from that.
func TestPublishedPorts(t *testing.T) {
	s := newStage(t)
	env := s.env
	env.View = func(ctx context.Context) (view.View, error) { // as the command has it, which asks Docker
		v, err := s.env.View(ctx)
		v.Name(map[string]string{endpointID: "web"}, map[string]string{networkID: "front"})
		return v, err
	}
	look := func(want doctor.Verdict, check, seen string) doctor.Result {
		t.Helper()
		report, err := doctor.Run(s.Context(), env)
		s.must(err)
		for _, r := range report.Results {
			if r.Check != check {
				continue
			}
			if r.Verdict != want || !regexp.MustCompile(seen).MatchString(strings.Join(r.Seen, "\n")) {
				t.Errorf("%s: want %s that matches %q, have %+v", check, want, seen, r)
			}
			return r
		}
		return doctor.Result{}
	}
	const answers = `each of 1 published port answers`
	look(doctor.OK, "published-ports", answers)

	// A rule that drops for everybody is a fault, with the names that Docker has.
	const forPort = "iptables -A DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 8080 --ctdir ORIGINAL "
	s.sh("iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER")
	s.sh(forPort + "-j DROP")
	look(doctor.Note, "docker-user", `^iptables-nft DOCKER-USER rule 1 \(.*\) drops a part of what comes from eth0 to published ports on front \(mybr0\)$`)
	r := look(doctor.Fault, "published-ports", `^iptables-nft DOCKER-USER rule 1 \(.*\): lost is what comes from eth0 to web's tcp port 8080 \(network front \(mybr0\)\)$`)
	if len(r.Mend) != 1 || !strings.HasPrefix(r.Mend[0], "iptables-nft -w -D DOCKER-USER") {
		t.Errorf("%q", r.Mend)
	}
	s.sh("iptables -F DOCKER-USER; iptables -A DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 8082 --ctdir ORIGINAL -j DROP")
	look(doctor.OK, "docker-user", "nothing drops") // no network has that port
	// One that lets some through, or all who are near, is the administrator's choice.
	s.sh("iptables -F DOCKER-USER")
	s.sh(forPort + "! -s 203.0.113.7 -j DROP")
	if r := look(doctor.Note, "published-ports", `lost is what comes from eth0 to web's .*; what comes from 203\.0\.113\.7 gets there`); len(r.Mend) > 0 {
		t.Errorf("%q", r.Mend)
	}
	s.sh("iptables -F DOCKER-USER")
	s.sh(forPort + "! -s 192.0.2.0/24 -j DROP")
	look(doctor.OK, "published-ports", answers)
	s.sh("iptables -D FORWARD -j DOCKER-USER; iptables -F DOCKER-USER; iptables -X DOCKER-USER")

	// Both see the rule that drops all, and one has the command.
	s.sh("iptables -I FORWARD -j REJECT; sysctl -w net.bridge.bridge-nf-call-iptables=1")
	look(doctor.Fault, "forward-chain", `^iptables-nft FORWARD rule 1 \(-j REJECT`)
	if r := look(doctor.Note, "bridge-nf-call", `drops what containers on mybr0 send each other, too: that goes with forward-chain`); len(r.Mend) > 0 {
		t.Errorf("%q", r.Mend)
	}
	s.sh("iptables -D FORWARD -j REJECT; sysctl -w net.bridge.bridge-nf-call-iptables=0")

	// What another check has a command for is its fault alone.
	for check, fault := range map[string][2]string{
		"forward-chain": {"iptables -I FORWARD -o mybr0 -j DROP", "iptables -D FORWARD -o mybr0 -j DROP"},
		"ip-forward":    {"sysctl -w net.ipv4.ip_forward=0", "sysctl -w net.ipv4.ip_forward=1"},
		"routes":        {"ip link add tun9 type bridge; ip link set tun9 up; ip route add 172.18.0.0/18 dev tun9", "ip link delete tun9"},
		"matches":       {"iptables -P FORWARD DROP; iptables -D MYBR-FORWARD -o mybr0 -d 172.18.0.2/32 -p tcp --dport 80 -j ACCEPT || iptables -D FORWARD -j MYBR-FORWARD", "iptables -P FORWARD ACCEPT; mybr sync --run-dir " + s.path("run")},
	} {
		s.sh(fault[0])
		if r := look(doctor.Note, "published-ports", `see `+check); len(r.Mend) > 0 {
			t.Errorf("%q", r.Mend)
		}
		s.sh(fault[1])
	}
	look(doctor.OK, "published-ports", answers)

	// A thousand ports are all looked at, or it is said how many were not.
	s.call("NetworkDriver.RevokeExternalConnectivity", m{"NetworkID": networkID, "EndpointID": endpointID})
	var many []m
	for port := range 1000 {
		many = append(many, m{"Proto": 6, "IP": "", "Port": 80, "HostIP": "0.0.0.0", "HostPort": 20000 + port*2, "HostPortEnd": 20000 + port*2})
	}
	s.call("NetworkDriver.ProgramExternalConnectivity", m{"NetworkID": networkID, "EndpointID": endpointID, "Options": m{"com.docker.network.portmap": many}})
	begun := time.Now()
	report, err := doctor.Run(s.Context(), env, "published-ports")
	s.must(err)
	took := time.Since(begun)
	t.Logf("1,000 ports: %s, %+v", took, report.Results[0])
	if r := report.Results[0]; !regexp.MustCompile(`^each of 1000 published ports answers|^\d+ packets to published ports were left out`).MatchString(strings.Join(r.Seen, "\n")) {
		t.Errorf("%+v", r)
	}

	// Who does not listen is named, and where else it does.
	s.call("NetworkDriver.RevokeExternalConnectivity", m{"NetworkID": networkID, "EndpointID": endpointID})
	s.call("NetworkDriver.ProgramExternalConnectivity", m{"NetworkID": networkID, "EndpointID": endpointID, "Options": m{
		"com.docker.network.portmap": []m{{"Proto": 6, "IP": "", "Port": 81, "HostIP": "0.0.0.0", "HostPort": 8081, "HostPortEnd": 8081}},
	}})
	look(doctor.Note, "published-ports", `^nothing in web listens on tcp 172\.18\.0\.2:81$`)
	s.web.Listen("tcp", "127.0.0.1:81")
	look(doctor.Warning, "published-ports", `^nothing in web listens on tcp 172\.18\.0\.2:81, only on 127\.0\.0\.1$`)
}
