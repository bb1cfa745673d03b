package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// TestStatus changes one thing of each kind by hand, and mybr status tells of exactly
// those: a link, a rule, a setting of a link and one of the host, a socket and a tracked
// flow. Nothing is watched. Then the process is restarted, and the host matches again.
func TestStatus(t *testing.T) {
	w := world.New(t, world.Config{Driver: "mybr", MybrArgs: []string{"--resync-interval", "0"}})
	w.Docker("network", "create", "-d", "mybr", "-o", "com.docker.network.bridge.name=mybr0", "--subnet", "172.18.0.0/16", "n0")
	w.Docker("network", "create", "-d", "mybr", "-o", "com.docker.network.bridge.name=mybr1",
		"-o", "com.docker.network.driver.mtu=1450", "--subnet", "172.19.0.0/16", "n1")
	w.Serve("web", []string{"--net", "n0", "--ip", "172.18.0.9", "-p", "8080:80", "-p", "5353:53/udp"}, "tcp:80", "udp:53")
	w.Idle("other", "--net", "n1")
	if got := differences(t, w); len(got) > 0 {
		t.Fatalf("nothing was changed: %q", got)
	}
	if s, err := (plugin.Client{RunDir: w.Path("/run/mybr")}).Status(t.Context()); err != nil || s.NoticedLate != "turned off (--resync-interval 0)" {
		t.Errorf("status: %+v, %v; want that nothing is watched", s, err)
	}

	w.Host.Run("ip", "link", "set", "mybr1", "mtu", "1400")
	w.Host.Run("ip", "addr", "del", "172.19.0.1/16", "dev", "mybr1")
	w.Host.Sysctl("net/ipv6/conf/mybr0/accept_ra", "1")
	w.Host.Sysctl("net/ipv4/ip_forward", "0")
	w.Host.Run("sh", "-c", either(w, "iptables -t nat -D MYBR-POSTROUTING -s 172.18.0.0/16 ! -o mybr0 -j MASQUERADE",
		"nft 'delete element ip mybr leaving { 172.18.0.0/16 }; insert rule ip mybr to-host-address drop'"))
	w.Host.Run("iptables", "-I", "MYBR-ISOLATE", "-s", "172.18.0.9/32", "-j", "DROP")
	w.Host.Run("ss", "-K", "-t", "-l", "sport", "=", ":8080")
	w.Host.Run("conntrack", "-I", "-p", "udp", "-s", "192.0.2.9", "-d", world.HostAddr, "--sport", "4242", "--dport", "5353",
		"--timeout", "300", "-u", "SEEN_REPLY")
	want := []string{
		`^iptables filter: delete -A MYBR-ISOLATE -s 172\.18\.0\.9/32 -j DROP$`,
		`^link mybr1: MTU 1400 -> 1450$`,
		`^link mybr1: add address 172\.19\.0\.1/16$`,
		`^net/ipv6/conf/mybr0/accept_ra: 1 -> 0$`,
		`^net/ipv4/ip_forward: 0 -> 1$`,
		// mybr would turn it on now, and no others' packets are to be forwarded for that.
		`^iptables filter: -N MYBR-FORWARD-DROP$`,
		`^iptables filter: -A MYBR-FORWARD-DROP `,
		`^iptables filter: -A FORWARD -j MYBR-FORWARD-DROP$`,
		// Its links say so, too.
		`^link mybr0: alias .* fwd=4 `,
		`^link mybr1: alias .* fwd=4 `,
		`^conntrack: forget udp 192\.0\.2\.9:4242 -> 192\.0\.2\.2:5353`,
		`^host ports: .*tcp 0\.0\.0\.0:8080`,
		`^host ports: .*tcp \[::\]:8080`, // by the same socket
	}
	if w.Backend() == "nftables" {
		want = append(want, `^nft: add element ip mybr leaving \{ 172\.18\.0\.0/16 : goto to-host-address \}$`,
			`^nft: flush chain ip mybr to-host-address$`, `^nft: add rule ip mybr to-host-address masquerade$`)
	} else {
		want = append(want, `^iptables nat: -A MYBR-POSTROUTING -s 172\.18\.0\.0/16 ! -o mybr0 -j MASQUERADE$`)
	}
	got := differences(t, w)
	for _, pattern := range want {
		i := slices.IndexFunc(got, regexp.MustCompile(pattern).MatchString)
		if i < 0 {
			t.Errorf("nothing is told that matches %s", pattern)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	if len(got) > 0 {
		t.Errorf("also told: %q", got)
	}
	s, err := plugin.Client{RunDir: w.Path("/run/mybr")}.Status(t.Context())
	if err != nil || s.Differences != len(want) || s.Unknown != "" {
		t.Errorf("status: %+v, %v", s, err)
	}

	rulesDiffer(t, w)

	w.RestartMybr()
	w.Eventually(10*time.Second, func() error {
		if got := differences(t, w); len(got) > 0 {
			return fmt.Errorf("after a restart: %s", strings.Join(got, "; "))
		}
		return nil
	})
	seenAs(t, "the port", w.LAN.Get("tcp", world.HostAddr+":8080"), world.LANAddr)
}

// differences is what mybr status --diff prints.
func differences(t *testing.T, w *world.World) []string {
	t.Helper()
	all, err := askDifferences(t, w)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// askDifferences is differences, for a mybr that may just be starting: Docker's socket is
// there before the operator's is.
func askDifferences(t *testing.T, w *world.World) (all []string, err error) {
	t.Helper()
	list, err := plugin.Client{RunDir: w.Path("/run/mybr")}.Diff(t.Context())
	for _, d := range list {
		if d.Error != "" {
			t.Errorf("%s: %s", d.Aspect, d.Error)
		}
		all = append(all, d.Changes...)
	}
	return all, err
}

// rulesDiffer asks mybr rules about what TestStatus has changed of them.
func rulesDiffer(t *testing.T, w *world.World) {
	t.Helper()
	all, err := plugin.Client{RunDir: w.Path("/run/mybr")}.Rules(t.Context(), true)
	if err != nil || !all.Compared || all.Unknown != "" {
		t.Fatalf("%+v, %v", all, err)
	}
	var have []string
	for _, d := range all.Differences {
		if d.Why == "" && d.Rule != "" {
			t.Errorf("%+v has no reason", d)
		}
		have = append(have, strings.TrimSpace(d.Mend+" "+d.Command+" "+d.Table+" "+d.Chain+" "+d.Rule))
	}
	want := []string{
		"add iptables filter FORWARD -j MYBR-FORWARD-DROP",
		"add iptables filter MYBR-FORWARD-DROP",
		"add iptables filter MYBR-FORWARD-DROP -j DROP",
		"delete iptables filter MYBR-ISOLATE -s 172.18.0.9/32 -j DROP",
	}
	if w.Backend() == "nftables" {
		want = append(want, "add nft ip mybr leaving { 172.18.0.0/16 : goto to-host-address }", "delete nft ip mybr to-host-address", "add nft ip mybr to-host-address masquerade")
	} else {
		want = append(want, "add iptables nat MYBR-POSTROUTING -s 172.18.0.0/16 ! -o mybr0 -j MASQUERADE")
	}
	slices.Sort(want)
	if slices.Sort(have); !slices.Equal(have, want) {
		t.Errorf("have %q, want %q", have, want)
	}
	port := either(w, "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.9:80", "{ tcp . 8080 : 172.18.0.9 . 80 }")
	served := slices.IndexFunc(all.Rules, func(r view.Rule) bool {
		return r.Endpoint != "" && r.Network != "" && r.Bridge == "mybr0" && r.Rule == port
	})
	if served < 0 {
		t.Errorf("no rule serves the published port: %+v", all.Rules)
	}
}
