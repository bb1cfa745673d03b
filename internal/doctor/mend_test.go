package doctor_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/doctor"
	"github.com/mybr/mybr/internal/nettest"
)

// row is one fault: how it is brought about, what the check says of it, and that the very
// commands which it prints mend it.
type row struct {
	check string
	fault func(s *stage, env *doctor.Env)
	want  doctor.Verdict
	seen  string // a pattern of what was seen
	// between is what happens by itself before the commands are run, such as that the program in
	// the way ends; after puts back what is none of the check's business.
	between, after func(s *stage)
	sick           bool   // the check is not ok to begin with
	noted          string // what puts back a thing that is noted without a command: it may be meant
}

// TestMend brings about every fault that the checks know, in one stage after another, and has
// the printed commands mend it.
func TestMend(t *testing.T) {
	all := slices.Concat(processRows(), filterRows(), settingRows(), networkRows(), stateRows(), versionRows(), publishedRows())
	for _, name := range doctor.Names() {
		if !slices.ContainsFunc(all, func(r row) bool { return r.check == name }) {
			t.Errorf("no row brings about what %s looks for", name)
		}
	}
	s := newStage(t)
	for _, r := range all {
		begun := time.Now()
		r.play(s)
		t.Logf("%-18s %s", r.check, time.Since(begun).Round(time.Millisecond))
	}
}

func (r row) play(s *stage) {
	s.Helper()
	env := s.env
	if before := s.check(r.check, env); !r.sick && before.Verdict != doctor.OK {
		s.Errorf("%s, before anything was done: %+v", r.check, before)
		return
	}
	r.fault(s, &env)
	var found doctor.Result
	deadline := time.Now().Add(10 * time.Second)
	for found = s.check(r.check, env); found.Verdict != r.want && time.Now().Before(deadline); found = s.check(r.check, env) {
	}
	if found.Verdict != r.want || !regexp.MustCompile(r.seen).MatchString(strings.Join(found.Seen, "\n")) || (len(found.Mend) == 0) != (r.noted != "") {
		s.Errorf("%s: want %s that matches %q, and a command; have %+v", r.check, r.want, r.seen, found)
		return
	}
	if r.between != nil {
		r.between(s)
	}
	if r.noted != "" {
		found.Mend = []string{r.noted}
	}
	for _, command := range found.Mend {
		if out, err := s.try(command); err != nil {
			s.Errorf("%s: %s: %v: %s", r.check, command, err, out)
			return
		}
	}
	var now doctor.Result
	deadline = time.Now().Add(15 * time.Second)
	for now = s.check(r.check, env); now.Verdict != doctor.OK && time.Now().Before(deadline); now = s.check(r.check, env) {
	}
	if now.Verdict != doctor.OK {
		s.Errorf("%s: after %q: %+v", r.check, found.Mend, now)
	}
	if r.after != nil {
		r.after(s)
	}
}

// does is a fault that a command line brings about.
func does(lines ...string) func(*stage, *doctor.Env) {
	return func(s *stage, _ *doctor.Env) {
		s.Helper()
		for _, line := range lines {
			s.sh(line)
		}
	}
}

func then(lines ...string) func(*stage) {
	return func(s *stage) { s.Helper(); does(lines...)(s, nil) }
}

// unwatched restarts mybr so that it heals nothing by itself.
func unwatched(s *stage) { s.Helper(); s.restart("--resync-interval", "0") }

func processRows() []row {
	return []row{
		{check: "running", want: doctor.Fault, seen: `mybr is not running`, after: unwatched,
			fault: func(s *stage, _ *doctor.Env) { s.stop() }},
		{check: "second-mybr", want: doctor.Fault, seen: `pid \d+ \(.*serve.*\) runs in this network namespace`,
			fault: func(s *stage, _ *doctor.Env) {
				s.stop()
				s.must(os.Mkdir(s.path("run2"), 0o700))
				s.must(os.Mkdir(s.path("plugins2"), 0o700))
				s.sh("nohup mybr serve --plugin-dir " + s.path("plugins2") + " --state-dir " + s.path("state2") + " --run-dir " + s.path("run2") +
					" >>" + s.path("log") + " 2>&1 &")
			}, after: func(s *stage) { s.start("--resync-interval", "0") }},
		{check: "second-mybr", want: doctor.Warning, seen: `managed plugin mybr:latest enabled beside`,
			fault: func(s *stage, _ *doctor.Env) {
				s.says("/plugins", []m{{"Name": "mybr:latest", "Enabled": true}})
				s.fake("docker", `test "$*" = "plugin disable -f mybr:latest" && echo '[{"Name":"mybr:latest","Enabled":false}]' >`+s.path("api-plugins"))
			}},
		{check: "plugin-socket", want: doctor.Fault, seen: `no such file`,
			fault: func(s *stage, _ *doctor.Env) { s.must(os.Remove(s.path("plugins/mybr.sock"))) }},
		{check: "version", want: doctor.Warning, seen: `mybr ` + version + ` runs, and this is ` + upgrade,
			fault: func(s *stage, env *doctor.Env) {
				s.install(bytes.ReplaceAll(program(s), []byte(version), []byte(upgrade)))
				env.Version = upgrade
			}, after: func(s *stage) { s.install(program(s)); unwatched(s) }},
		{check: "last-pass", want: doctor.Fault, seen: `(?s)for \d+s: .*8080.*address already in use`,
			fault: func(s *stage, _ *doctor.Env) {
				s.stop()
				s.busy = s.listen("0.0.0.0:8080")
				s.start("--resync-interval", "0")
			}, between: func(s *stage) { s.busy() }},
		{check: "denials", want: doctor.Warning, seen: `(?s)pid \d+ .* listens to group 28002 of nfnetlink_log.*not heard of: .*another program listens to it`,
			fault: func(s *stage, env *doctor.Env) {
				s.busy = s.listen("nflog")
				s.sh("mybr network set mybr0 mybr.egress=0.0.0.0/0,::/0 --docker none --run-dir " + env.RunDir)
			}, after: func(s *stage) {
				s.busy()
				s.sh("mybr network set mybr0 mybr.egress= --docker none --run-dir " + s.env.RunDir)
			}},
		{check: "senders", want: doctor.Note, seen: `\d+ frames? of endpoint 222222222222 on mybr0 \(veth\w+\) refused`, noted: "nft delete table bridge mybr-spoof",
			fault: func(s *stage, _ *doctor.Env) {
				s.web.Address("eth0", "172.18.0.77/16")
				s.web.In(func() {
					c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(172, 18, 0, 77)}, &net.UDPAddr{IP: net.IPv4(172, 18, 0, 1), Port: 9})
					s.must(err)
					defer c.Close()
					_, err = c.Write([]byte("from an address that Docker did not give"))
					s.must(err)
				})
			}, after: func(s *stage) {
				s.web.Run("ip", "address", "delete", "172.18.0.77/16", "dev", "eth0")
				s.sh("mybr sync --run-dir " + s.env.RunDir) // nobody else puts the table back
			}},
		{check: "matches", want: doctor.Warning, seen: `the host differs in 1 place: iptables filter: -A MYBR-FORWARD`,
			fault: does("iptables -D MYBR-FORWARD -i mybr0 -j ACCEPT")},
		{check: "watching", want: doctor.Warning, seen: `turned off`, sick: true, after: unwatched,
			fault: func(s *stage, _ *doctor.Env) {}},
		{check: "fights", want: doctor.Warning, seen: `put right 12 times, and undone again by sleep \(pid \d+\)`, fault: fight},
		{check: "descriptors", want: doctor.Warning, seen: `\d+ of \d\d descriptors`, after: unwatched,
			fault: func(s *stage, env *doctor.Env) {
				var used int
				if _, err := fmt.Sscanf(s.check("descriptors", *env).Seen[0], "%d of", &used); err != nil {
					s.Fatal(err)
				}
				s.stop()
				// With a quarter kept for mybr's own work, 87 % are in use then: between the two thresholds.
				s.startBy(fmt.Sprintf("ulimit -n %d; ", used*100/62), "--resync-interval", "0")
			}},
	}
}

// fight has a program that runs be the one that undoes things: that mybr knows it is a matter of
// its own tests.
func fight(s *stage, env *doctor.Env) {
	cmd := exec.Command("sleep", "60")
	s.must(cmd.Start())
	s.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it was killed already
	ask := env.Process
	env.Process = func(ctx context.Context) (doctor.Process, error) {
		p, err := ask(ctx)
		p.Healed = []doctor.Healing{{Aspect: "firewall", Times: 12, Last: time.Now(), Fights: true, By: fmt.Sprintf("sleep (pid %d)", cmd.Process.Pid)}}
		return p, err
	}
}

func filterRows() []row {
	return []row{
		{check: "ip-forward", want: doctor.Fault, seen: `net\.ipv4\.ip_forward is 0, and containers on mybr0 need it`,
			fault: does("sysctl -w net.ipv4.ip_forward=0")},
		{check: "ip-forward", want: doctor.Fault, seen: `net\.ipv4\.ip_forward is 0`, // without mybr
			fault: func(s *stage, _ *doctor.Env) { s.stop(); s.sh("sysctl -w net.ipv4.ip_forward=0") },
			after: func(s *stage) { s.start("--resync-interval", "0") }},
		{check: "ipv6-forward", want: doctor.Fault, seen: `net\.ipv6\.conf\.all\.forwarding is 0`,
			fault: does("sysctl -w net.ipv6.conf.all.forwarding=0")},
		{check: "forward-chain", want: doctor.Fault, seen: `iptables-nft FORWARD rule 1 \(-i mybr0 -j DROP\) drops what containers send from mybr0 to eth0`,
			fault: does("iptables -I FORWARD -i mybr0 -j DROP")},
		{check: "forward-chain", want: doctor.Fault, seen: `ip6tables-nft others rule 2 .* drops what comes from eth0 to published ports on mybr0`,
			fault: does("ip6tables -N others", "ip6tables -A others -p icmpv6 -j LOG", "ip6tables -I FORWARD -o 'my+' -j others",
				`ip6tables -A others ! -i lo -d fd00:18::/64 -m comment --comment 'it'"'"'s "$(touch /root/evil)"' -j REJECT`),
			after: then("ip6tables -F FORWARD", "ip6tables -F others", "ip6tables -X others", "ip6tables -A FORWARD -j MYBR-FORWARD", "test ! -e /root/evil")},
		{check: "forward-chain", want: doctor.Fault, seen: `iptables-legacy FORWARD: its policy drops`, after: then("iptables-legacy -F FORWARD"),
			fault: does("iptables-legacy -P FORWARD DROP", "iptables-legacy -A FORWARD -p tcp -i docker0 -j ACCEPT")},
		{check: "docker-user", want: doctor.Fault, seen: `DOCKER-USER rule 1 \(-i mybr0 -j REJECT`,
			fault: does("iptables -N DOCKER-USER", "iptables -I FORWARD -j DOCKER-USER", "iptables -A DOCKER-USER -i mybr0 -j REJECT"),
			after: then("iptables -D FORWARD -j DOCKER-USER", "iptables -X DOCKER-USER")},
		{check: "docker-user", want: doctor.Note, noted: "iptables -F DOCKER-USER", seen: `DOCKER-USER rule 2 \(-i eth0 -j DROP\) drops .* save what a rule before it lets pass`,
			fault: does("iptables -N DOCKER-USER", "iptables -I FORWARD -j DOCKER-USER", "iptables -A DOCKER-USER -i eth0 -s 192.0.2.0/28 -j RETURN",
				"iptables -A DOCKER-USER -i eth0 -j DROP"),
			after: then("iptables -D FORWARD -j DOCKER-USER", "iptables -F DOCKER-USER", "iptables -X DOCKER-USER")},
		{check: "nft-chains", want: doctor.Fault, seen: `nft inet other forwarded: its policy drops`, after: then("nft delete table inet other"),
			fault: does("nft add table inet other", "nft add chain inet other forwarded '{ type filter hook forward priority 10; policy drop; }'",
				"nft add rule inet other forwarded iifname lo accept")},
		{check: "nft-chains", want: doctor.Fault, seen: `nft ip other sub rule 1 \(handle \d+\) drops what containers send`, after: then("nft delete table ip other"),
			fault: does("nft add table ip other", "nft add chain ip other forwarded '{ type filter hook forward priority 10; policy accept; }'",
				"nft add chain ip other sub", "nft add rule ip other forwarded iifname '{ lo, mybr0 }' ct state new counter jump sub",
				"nft add rule ip other sub ip saddr 172.16.0.0/12 drop")},
		{check: "input-chain", want: doctor.Warning, seen: `ip6tables-nft INPUT: its policy drops what comes from eth0 to tcp \[::\]:8081, which mybr relays`,
			fault: func(s *stage, _ *doctor.Env) {
				s.call("NetworkDriver.CreateNetwork", m{"NetworkID": strings.Repeat("6", 64),
					"Options":  m{"com.docker.network.generic": m{"com.docker.network.bridge.name": "mybr6"}},
					"IPv4Data": []m{{"AddressSpace": "LocalDefault", "Pool": "172.21.0.0/16", "Gateway": "172.21.0.1/16"}}, "IPv6Data": []m{}})
				s.endpoint(strings.Repeat("6", 64), strings.Repeat("7", 64), "172.21.0.2/16", "")
				s.publish(strings.Repeat("6", 64), strings.Repeat("7", 64), "", 8081)
				s.sh("ip6tables -P INPUT DROP; ip6tables -A INPUT -p tcp --dport 8080 -j ACCEPT; ip6tables -A INPUT -i lo -j ACCEPT")
			}, after: func(s *stage) {
				s.sh("ip6tables -P INPUT ACCEPT; ip6tables -F INPUT")
				s.call("NetworkDriver.DeleteEndpoint", m{"NetworkID": strings.Repeat("6", 64), "EndpointID": strings.Repeat("7", 64)})
				s.call("NetworkDriver.DeleteNetwork", m{"NetworkID": strings.Repeat("6", 64)})
			}},
		{check: "iptables-variants", want: doctor.Warning, seen: `nft \d+, legacy 2`,
			fault: does("iptables-legacy -A FORWARD -p tcp -j ACCEPT", "iptables-legacy -t nat -N more", "iptables-legacy -t nat -A POSTROUTING -j more")},
		{check: "ufw", want: doctor.Note, seen: `drops what containers on mybr0 send to the host itself`,
			fault: func(s *stage, _ *doctor.Env) {
				s.sh("cp -a /etc/ufw " + s.path("ufw") + " && mount --bind " + s.path("ufw") + " /etc/ufw")
				s.sh("ufw --force enable")
			}, after: func(s *stage) { s.sh("ufw disable; umount /etc/ufw"); unwatched(s) }},
		{check: "firewalld", want: doctor.Fault, seen: `mybr0 is in firewalld's zone public`, fault: firewalldPublic,
			after: func(s *stage) {
				s.end()
				s.sh("umount /run/dbus /etc/firewalld")
				unwatched(s)
			}},
	}
}

func settingRows() []row {
	return []row{
		{check: "rp-filter", want: doctor.Warning, seen: `eth0 filters strictly, and the default routes leave by eth0 and eth9`,
			fault: does("sysctl -w net.ipv4.conf.all.rp_filter=1", "ip link add eth9 type bridge", "ip addr add 198.51.100.2/24 dev eth9", "ip link set eth9 up",
				"ip route add default via 198.51.100.1 dev eth9 metric 200"),
			after: then("ip link delete eth9")},
		{check: "accept-local", want: doctor.Warning, seen: `net\.ipv4\.conf\.mybr0\.accept_local is 1`,
			fault: does("sysctl -w net.ipv4.conf.mybr0.accept_local=1")},
		{check: "route-localnet", want: doctor.Warning, seen: `net\.ipv4\.conf\.all\.route_localnet is 1`,
			fault: does("sysctl -w net.ipv4.conf.all.route_localnet=1")},
		{check: "bridge-nf-call", want: doctor.Fault, seen: `bridge-nf-call-iptables is 1, and iptables-nft FORWARD rule 1 .* drops what containers on mybr0 send each other`,
			fault: does("sysctl -w net.bridge.bridge-nf-call-iptables=1", "iptables -I FORWARD -i mybr0 -o mybr0 -j DROP"),
			after: then("iptables -D FORWARD -i mybr0 -o mybr0 -j DROP")},
		{check: "ipv6-off", want: doctor.Fault, seen: `net\.ipv6\.conf\.mybr0\.disable_ipv6 is 1`, after: unwatched,
			fault: does("sysctl -w net.ipv6.conf.mybr0.disable_ipv6=1")},
		{check: "accept-ra", want: doctor.Warning, seen: `eth0 has IPv6 from a router, forwards, and has accept_ra 1`,
			fault: does("sysctl -w net.ipv6.conf.eth0.accept_ra=1", "ip -6 addr add 2001:db8:9::2/64 dev eth0 valid_lft 600 preferred_lft 300"),
			after: then("ip -6 addr del 2001:db8:9::2/64 dev eth0")},
		{check: "conntrack-loose", want: doctor.Note, seen: `nf_conntrack_tcp_loose is 0`,
			fault: does("sysctl -w net.netfilter.nf_conntrack_tcp_loose=0")},
	}
}

func networkRows() []row {
	return []row{
		{check: "bridges", want: doctor.Fault, seen: `mybr0, the bridge of network 111111111111, is a link of another program \(veth\)`,
			fault: func(s *stage, _ *doctor.Env) {
				s.stop()
				s.sh("ip link delete mybr0; ip link add mybr0 type veth peer name other")
				s.start("--resync-interval", "0")
			}, after: func(s *stage) { unwatched(s); s.sh("ip -o link show mybr0 | grep -q 'alias mybr network'") }},
		{check: "mtu", want: doctor.Warning, seen: `mybr0 has MTU 1500, and the uplink eth0 1420\. If that should have 1500, too: ip link set eth0 mtu 1500`, fault: does("ip link set eth0 mtu 1420"),
			after: then("ip link set eth0 mtu 1500", "iptables -t mangle -F FORWARD", "ip6tables -t mangle -F FORWARD")},
		{check: "routes", want: doctor.Warning, seen: `the route 172\.18\.64\.0/18 by tun9 leads to addresses of the subnet 172\.18\.0\.0/16 of mybr0`,
			fault: does("ip link add tun9 type bridge", "ip link set tun9 up", "ip route add 172.18.64.0/18 dev tun9", "ip -6 route add fd00:18::8:0/112 dev tun9",
				"ip route add 172.18.4.0/24 dev tun9 table 77"),
			after: then("ip link delete tun9")},
		{check: "dns", want: doctor.Fault, seen: `the name server 172\.18\.0\.53 is in the subnet 172\.18\.0\.0/16 of mybr0`,
			fault: func(s *stage, _ *doctor.Env) {
				s.over("/etc/resolv.conf", "# the VPN's\nnameserver 172.18.0.53\nnameserver 127.0.0.53\n")
			}, after: func(s *stage) {
				if now := s.check("routes", s.env); now.Verdict != doctor.OK {
					s.Errorf("the route to the name server is taken for one of others: %+v", now)
				}
				s.sh("umount /etc/resolv.conf; ip route delete 172.18.0.53/32")
			}},
		{check: "host-ports", want: doctor.Fault, seen: `tcp 0\.0\.0\.0:8080 is published by endpoint 222222222222, and pid \d+ .* listens on 0\.0\.0\.0:8080`,
			fault: func(s *stage, _ *doctor.Env) {
				s.stop()
				s.listen("0.0.0.0:8080")
				s.start("--resync-interval", "0")
			}, after: func(s *stage) { // mybr tries again, at most 30 s later
				nettest.Eventually(s, 40*time.Second, func() error {
					if now := s.check("matches", s.env); now.Verdict != doctor.OK {
						return fmt.Errorf("%+v", now)
					}
					return nil
				})
			}},
		{check: "bridge-ports", want: doctor.Warning, seen: `mybr0 has 921 of 1023 ports`, fault: crowd,
			after: then("ip link delete group 9")},
		{check: "conntrack-table", want: doctor.Warning, seen: `\d+ of 10 flows are tracked`,
			fault: func(s *stage, _ *doctor.Env) {
				s.sh("conntrack -F")
				for port := range 8 {
					s.sh(fmt.Sprintf("conntrack -I -p udp -s 192.0.2.9 -d 192.0.2.2 --sport %d --dport 9999 --timeout 300", 4000+port))
				}
				// Only the host's first namespace may write it.
				s.over("/proc/sys/net/netfilter/nf_conntrack_max", "10\n")
			}, after: then("umount /proc/sys/net/netfilter/nf_conntrack_max", "conntrack -F")},
		{check: "neighbours", want: doctor.Fault, seen: `4 neighbours are known, and net\.ipv4\.neigh\.default\.gc_thresh3 is 4`,
			fault: func(s *stage, _ *doctor.Env) {
				// Only the host's first namespace has it.
				s.must(os.MkdirAll(s.path("neigh/default"), 0o755))
				s.must(os.WriteFile(s.path("neigh/default/gc_thresh3"), []byte("4\n"), 0o644))
				s.must(unix.Mount(s.path("neigh"), "/proc/sys/net/ipv4/neigh", "", unix.MS_BIND, ""))
				s.sh("ip neigh flush all")
				for n := range 4 {
					s.sh(fmt.Sprintf("ip neigh add 192.0.2.%d lladdr 02:00:00:00:00:0%d dev eth0 nud stale", 20+n, n))
				}
			}, after: then("umount /proc/sys/net/ipv4/neigh")},
	}
}

// crowd has a bridge near the kernel's limit, and Docker name the containers.
func crowd(s *stage, _ *doctor.Env) {
	var batch strings.Builder
	for n := range 920 {
		fmt.Fprintf(&batch, "link add d%d group 9 master mybr0 type veth peer name e%d\n", n, n)
	}
	s.host.Feed(batch.String(), "ip", "-batch", "-")
	s.says("/networks/"+networkID, m{"Name": "front", "Driver": "mybr", "Containers": m{
		"a": m{"Name": "d1"}, "b": m{"Name": "d2"}, "c": m{"Name": "d3"},
	}})
	s.fake("docker", `case "$*" in
"network create -d mybr front-2") touch `+s.path("second")+`;;
"network connect front-2 "*) test -e `+s.path("second")+`;;
"network disconnect front "*) ip link set $4 nomaster;;
*) exit 1;; esac`)
}

func stateRows() []row {
	return []row{
		{check: "clock", want: doctor.Warning, seen: `the clock is 1h0m0s behind the last record|59m5`,
			fault: func(s *stage, env *doctor.Env) {
				s.fake("timedatectl", `test "$*" = "set-ntp true" && rm `+s.path("behind"))
				s.must(os.WriteFile(s.path("behind"), nil, 0o644))
				s.sh("touch " + s.path("state/mybr.db"))
				env.Now = func() time.Time {
					if _, err := os.Stat(s.path("behind")); err == nil {
						return time.Now().Add(-time.Hour)
					}
					return time.Now()
				}
			}},
		{check: "state-file", want: doctor.Fault, seen: `mybr\.db is gone, and mybr runs`,
			fault: func(s *stage, _ *doctor.Env) { s.must(os.Remove(s.path("state/mybr.db"))) },
			after: func(s *stage) {
				s.answers()
				if v, err := s.env.View(s.Context()); err != nil || len(v.Networks) != 1 || len(v.Ports) != 1 {
					s.Errorf("the records are not back: %+v, %v", v, err)
				}
			}},
		{check: "state-mode", want: doctor.Warning, seen: `(?s)state has mode 0755.*mybr\.db has mode 0644`,
			fault: func(s *stage, _ *doctor.Env) {
				s.must(os.Chmod(s.path("state"), 0o755))
				s.must(os.Chmod(s.path("state/mybr.db"), 0o644))
				s.must(os.Chown(s.path("state/mybr.db"), 65534, 65534))
			}},
		{check: "state-space", want: doctor.Warning, seen: `\d+ MiB and \d+ files are free`,
			fault: func(s *stage, _ *doctor.Env) {
				s.must(os.MkdirAll(s.path("state/journal"), 0o755))
				s.must(os.MkdirAll("/var/log/journal", 0o755))
				s.must(unix.Mount(s.path("state/journal"), "/var/log/journal", "", unix.MS_BIND, ""))
				s.must(os.WriteFile("/var/log/journal/old", make([]byte, 80<<20), 0o644))
				s.fake("journalctl", `test "$*" = "--vacuum-size=50M" && rm /var/log/journal/old`)
			}, after: then("umount /var/log/journal")},
		{check: "state-writable", want: doctor.Fault, seen: `mounted read-only at .*/state`,
			fault: func(s *stage, _ *doctor.Env) { s.stop(); s.sh("mount -o remount,ro " + s.path("state")) },
			after: func(s *stage) { s.start("--resync-interval", "0") }},
		{check: "state-copy", want: doctor.Warning, seen: `records\.db is gone`,
			fault: func(s *stage, _ *doctor.Env) { s.must(os.Remove(s.path("run/records.db"))) }},
		{check: "leftover-links", want: doctor.Warning, seen: `left0 has the alias "mybr network deadbeef"`,
			fault: does("ip link add left0 type bridge", "ip link set left0 alias 'mybr network deadbeef o=c-'")},
		{check: "leftover-chains", want: doctor.Warning, seen: `iptables-legacy has 1 chain of mybr's, which uses iptables \(nf_tables\)`,
			fault: does("iptables-legacy -N MYBR-OLD", "iptables-legacy -A FORWARD -j MYBR-OLD", "iptables-legacy -A MYBR-OLD -i mybr0 -j RETURN")},
		{check: "other-drivers", want: doctor.Note, seen: `(?s)1 chain of Weave Net.*the link weave is of Weave Net`,
			fault: does("ip link add weave type bridge", "iptables -N WEAVE-NPC", "iptables -A FORWARD -o weave -j WEAVE-NPC"),
			after: func(s *stage) {
				if now := s.check("matches", s.env); now.Verdict != doctor.OK {
					s.Errorf("mybr's own rules have changed: %+v", now)
				}
			}},
		{check: "docker-networks", want: doctor.Warning, seen: `mybr has the network 333333333333 \(mybr3\), and Docker does not know it`,
			fault: func(s *stage, _ *doctor.Env) {
				s.network(strings.Repeat("3", 64), "mybr3", "172.20", "fd00:20")
				s.says("/networks", []m{{"Id": networkID, "Name": "front", "Driver": "mybr", "Scope": "local"}, {"Id": "4444", "Driver": "bridge"}})
			}},
		{check: "docker-networks", want: doctor.Fault, seen: `Docker has the network lost \(555555555555\), and mybr does not know it`,
			fault: func(s *stage, _ *doctor.Env) {
				one := m{"Id": networkID, "Name": "front", "Driver": "mybr", "Scope": "local"}
				s.says("/networks", []m{one, {"Id": strings.Repeat("5", 64), "Name": "lost", "Driver": "mybr:latest", "Scope": "local"}})
				s.fake("docker", `test "$*" = "network rm lost" && echo '[{"Id":"`+networkID+`","Name":"front","Driver":"mybr"}]' >`+s.path("api-networks"))
			}},
	}
}

func versionRows() []row {
	return []row{
		{check: "kernel", want: doctor.Note, seen: `kernel 5\.10\.0-28-amd64: connections end when others flush all rules`,
			fault: func(s *stage, _ *doctor.Env) {
				s.over("/proc/sys/kernel/osrelease", "5.10.0-28-amd64\n")
				s.over("/etc/os-release", "NAME=Debian\nID=debian\n")
				s.fake("apt-get", `case "$*" in "install -y linux-image-"*) touch `+s.path("installed")+`;; *) exit 1;; esac`)
				s.fake("reboot", `test -e `+s.path("installed")+` && umount /proc/sys/kernel/osrelease`)
			}, after: then("umount /etc/os-release")},
		{check: "engine", want: doctor.Warning, seen: `Docker Engine 19\.03\.15: mybr is tested with engines from 20\.10 on`,
			fault: func(s *stage, _ *doctor.Env) {
				s.says("/info", m{"ServerVersion": "19.03.15"})
				s.fake("apt-get", `case "$*" in update) ;; "install -y --only-upgrade docker.io"|"install -y --only-upgrade docker-ce") echo '{"ServerVersion":"28.5.2"}' >`+
					s.path("api-info")+`;; *) exit 1;; esac`)
			}, after: func(s *stage) { s.must(os.Remove(s.path("api-info"))) }},
		{check: "engine", want: doctor.Warning, seen: `its firewall is nftables`, sick: true,
			fault: func(s *stage, _ *doctor.Env) {
				s.must(os.WriteFile("/etc/docker/daemon.json", []byte(`{"firewall-backend":"nftables","mtu":1400}`), 0o644))
				s.says("/info", m{"ServerVersion": "28.5.2", "FirewallBackend": m{"Driver": "nftables"}})
				// As dockerd would: it takes what the file says.
				s.fake("systemctl", `test "$*" = "restart docker" && jq '{ServerVersion: "28.5.2", FirewallBackend: {Driver: ."firewall-backend"}}' /etc/docker/daemon.json >`+s.path("api-info"))
			}, after: func(s *stage) {
				s.sh(`test "$(jq .mtu /etc/docker/daemon.json)" = 1400`)
				s.must(os.Remove(s.path("api-info")))
			}},
	}
}

// firewalldPublic runs a real firewalld that has the bridge in a zone of the administrator's.
func firewalldPublic(s *stage, env *doctor.Env) {
	s.stop() // it would put the bridge right
	s.must(os.MkdirAll(s.path("dbus"), 0o755))
	s.must(os.MkdirAll("/run/dbus", 0o755))
	s.must(unix.Mount(s.path("dbus"), "/run/dbus", "", unix.MS_BIND, ""))
	s.sh("cp -a /etc/firewalld " + s.path("firewalld") + " && mount --bind " + s.path("firewalld") + " /etc/firewalld")
	bus := exec.Command("dbus-daemon", "--system", "--nofork", "--nopidfile")
	daemon := exec.Command("firewalld", "--nofork", "--nopid", "--log-file="+s.path("firewalld.log"))
	s.must(bus.Start())
	s.end = func() {
		for _, cmd := range []*exec.Cmd{daemon, bus} {
			_ = cmd.Process.Signal(unix.SIGTERM) // it may have ended
			_ = cmd.Wait()
		}
	}
	nettest.Eventually(s, 10*time.Second, func() error { _, err := os.Stat("/run/dbus/system_bus_socket"); return err })
	s.must(daemon.Start())
	nettest.Eventually(s, 20*time.Second, func() error {
		out, err := s.try("firewall-cmd --state")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	s.start("--resync-interval", "0")
	s.sh("firewall-cmd --zone=public --change-interface=mybr0")
	env.Zones = s.zones("unix:path=" + s.path("dbus/system_bus_socket"))
}
