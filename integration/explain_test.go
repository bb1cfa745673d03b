package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/explain/host"
)

// TestExplainCommand asks mybr explain about a host: what it says, its exit code, that
// what it sends fares so, and that nothing is left of that.
func TestExplainCommand(t *testing.T) {
	t.Parallel()
	w := world.New(t, world.Config{Driver: "mybr"})
	w.Docker("network", "create", "-d", "mybr", "-o", "com.docker.network.bridge.name=mybr0", "--subnet", "172.18.0.0/16", "n0")
	w.Serve("web", []string{"--net", "n0", "--ip", "172.18.0.9", "-p", "8080:80"}, "tcp:80", "udp:80")
	w.Idle("ben", "--net", "n0", "--ip", "172.18.0.8")
	w.Docker("network", "create", "-d", "mybr", "--internal", "--subnet", "172.19.0.0/16", "n1")
	w.Idle("eve", "--net", "n1")

	// What docs/troubleshooting.md shows. Names of links and IDs are Docker's choice.
	for name, args := range map[string]string{"in": "lan host:8080", "closed": "lan 172.18.0.9:80"} {
		r := w.Host.Try(append([]string{"mybr", "explain"}, strings.Fields(args)...)...)
		golden(t, filepath.Join("testdata", "explain", name+either(w, "", "-nftables")+".txt"), regexp.MustCompile(`veth[0-9a-f]{10}`).ReplaceAllString(r.Out, "veth4f2a91c07b"))
	}
	documented(t, "in", "closed", "closed-nftables")

	for _, c := range []struct {
		args  string
		code  int
		wants []string
	}{
		{"ben web:80", 0, []string{"tcp 172.18.0.8 → 172.18.0.9:80: delivered", "bridge mybr0 passes it on to port", "the reply"}},
		{"ben web:81", 1, []string{": refused", "nobody in web listens on tcp port 81"}},
		{"web 192.0.2.9", 0, []string{"icmp 172.18.0.9 → 192.0.2.9: leaves", "becomes icmp 192.0.2.2 → 192.0.2.9", "takes an address of the host"}},
		{"lan host:8080", 0, []string{"→ 192.0.2.2:8080: delivered", "becomes tcp 192.0.2.1 → 172.18.0.9:80", "The published port leads to the container."}},
		{"lan 172.18.0.9:80", 1, []string{": dropped", either(w, "why: it is dropped by iptables -t filter, chain MYBR-TO", "why: it is dropped by nft, table ip mybr, chain to-protected, rule 3: drop"),
			either(w, "mybr has that rule for this: Into the network come only replies", "mybr has that rule for this: Nothing else: nothing from other networks")}},
		{"host 127.0.0.1:8080", 0, []string{"mybr holds tcp [::]:8080", "carries it on to 172.18.0.9:80"}},
		{"eve 192.0.2.9", 1, []string{": no route", "eve has no route to 192.0.2.9"}},
		{"nobody web", 1, nil},
		{"ben web:http", 2, nil},
		{"ben web:80 --send", 0, []string{"sent: delivered (connected), as predicted"}},
		{"ben web:81 --send", 1, []string{"sent: refused (connection refused), as predicted"}},
		{"ben 172.18.0.9:80/udp --send", 0, []string{"sent: delivered (answered), as predicted"}},
		{"host web --send", 0, []string{"sent: delivered (answered), as predicted"}},
		{"eve web:80 --send", 1, []string{", as predicted"}},
		{"ben 192.0.2.9 --send", 0, []string{"sent: delivered (answered), as predicted",
			either(w, "nat POSTROUTING: -A POSTROUTING -j MYBR-POSTROUTING", "ip mybr postrouting: ip saddr vmap @leaving (goto to-host-address)"),
			either(w, "nat MYBR-POSTROUTING: -A MYBR-POSTROUTING -s 172.18.0.0/16", "ip mybr to-host-address: masquerade (accept)")}},
	} {
		r := w.Host.Try(append([]string{"mybr", "explain"}, strings.Fields(c.args)...)...)
		if r.Code != c.code {
			t.Errorf("explain %s: exit code %d, want %d\n%s%s", c.args, r.Code, c.code, r.Out, r.Err)
		}
		for _, want := range c.wants {
			if !strings.Contains(r.Out, want) {
				t.Errorf("explain %s: no %q in\n%s%s", c.args, want, r.Out, r.Err)
			}
		}
	}
	if tables := w.Host.Run("nft", "list", "tables"); strings.Contains(tables, "mybr-explain") {
		t.Errorf("left: %s", tables)
	}

	counted(t, w)

	var e struct {
		explain.Result
		Sent *host.Sent
	}
	explained := func(args ...string) {
		t.Helper()
		e.Result, e.Sent = explain.Result{}, nil
		r := w.Host.Try(append([]string{"mybr", "explain", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(r.Out), &e); err != nil {
			t.Fatalf("%v: %v\n%s%s", args, err, r.Out, r.Err)
		}
	}
	w.Host.Run("iptables", "-I", "DOCKER-USER", "-s", "172.18.0.8", "-j", "DROP")
	explained("--send", "ben", "192.0.2.9")
	if e.Version != explain.Version || e.Verdict != explain.Dropped || e.Rule == nil || e.Rule.Chain != "DOCKER-USER" || e.Rule.Number != 1 || e.Rule.Why != "" ||
		e.Sent == nil || !e.Sent.Agrees || len(e.Sent.Trace) != 1 || !slices.Contains(e.Sent.Trace[0].Rules, either(w, "filter DOCKER-USER: -A DOCKER-USER -s 172.18.0.8/32 -j DROP", "ip filter DOCKER-USER: ip saddr 172.18.0.8 counter drop (drop)")) {
		t.Errorf("a rule of the administrator's: %+v, sent %+v", e.Result, e.Sent)
	}
	w.Host.Run("iptables", "-R", "DOCKER-USER", "1", "-s", "172.18.0.8", "-m", "recent", "--name", "seen", "--rcheck", "-j", "DROP")
	explained("ben", "192.0.2.9")
	if e.Verdict != explain.Unknown || e.Rule == nil || e.Rule.Chain != "DOCKER-USER" {
		t.Errorf("a match that can't be told: %+v", e.Result)
	}
}

// counted has mybr rules say what the rules and elements have seen.
func counted(t *testing.T, w *world.World) {
	t.Helper()
	seenAs(t, "the port", w.LAN.Get("tcp", world.HostAddr+":8080"), world.LANAddr)
	out := w.Host.Run("mybr", "rules", "--counters")
	for _, rule := range []string{
		either(w, `-A MYBR-PORTS .*--dport 8080 -j DNAT --to-destination 172\.18\.0\.9:80`, `element ip mybr published \{ tcp \. 8080 : 172\.18\.0\.9 \. 80 \}`),
		either(w, `-A FORWARD -j MYBR-FORWARD`, `-A MYBR-FORWARD -m mark .*`),
	} {
		if !regexp.MustCompile(rule + `\n    [1-9][0-9]* packets, [1-9][0-9]* bytes\n`).MatchString(out) {
			t.Errorf("nothing is counted for %s:\n%s", rule, out)
		}
	}
}

// documented fails the test unless the troubleshooting page shows what was printed.
func documented(t *testing.T, names ...string) {
	t.Helper()
	page, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("testdata", "explain", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```text\n"+string(text)+"```") {
			t.Errorf("docs/troubleshooting.md does not show testdata/explain/%s.txt", name)
		}
	}
}
