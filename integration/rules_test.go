package integration

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/iptables"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/store"
)

var update = flag.Bool("update", false, "rewrite golden files and generated documents")

// scenario is one row of the rule book: what is asked of Docker, and, in the golden
// file of its name, what the kernel then has of mybr's.
type scenario struct {
	name, title string
	about       string // one sentence or two for the rule book
	docker      []string
}

const create = "network create -d mybr --subnet 172.18.0.0/16 -o com.docker.network.bridge.name=mybr0 "

// scenarios are the rule book. Each command is a docker command line without the word
// docker; "guest" is an image that waits.
var scenarios = []scenario{
	{"network", "A network",
		"What every network has.",
		[]string{create + "net"}},
	{"published", "Published ports",
		"One rule for each port. A port on 127.0.0.1 has none: the process carries it.",
		[]string{create + "net",
			"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 -p 8053:53/udp -p 192.0.2.2:8443:443 -p 127.0.0.1:9090:90 guest sleep"}},
	{"ranges", "Ranges of published ports",
		"One rule for each range, whether the numbers are the same on both sides or shifted.",
		[]string{create + "net",
			"run -d --name many --net net --ip 172.18.0.2 -p 7000-7999:7000-7999 -p 8000-8999:80-1079 -p 6000-6009:6000-6009/udp guest sleep"}},
	{"sctp", "SCTP",
		"Translated like TCP and UDP; conntrack knows it.",
		[]string{create + "net",
			"run -d --name sig --net net --ip 172.18.0.2 -p 3868:3868/sctp guest sleep"}},
	{"icc-off", "A network whose containers are kept apart",
		"`enable_icc=false`: the bridge's ports are isolated from each other; what goes by way of the host is dropped here. Published ports stay reachable, from the network itself through the process.",
		[]string{create + "-o com.docker.network.bridge.enable_icc=false net",
			"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 -p 8443:443 guest sleep"}},
	{"internal", "An internal network",
		"`--internal`: nothing in, nothing out, no translation.",
		[]string{create + "--internal net",
			"run -d --name db --net net --ip 172.18.0.2 guest sleep"}},
	{"masquerade-off", "A network that keeps its addresses",
		"`enable_ip_masquerade=false`: containers are seen with their own addresses. Published ports work all the same.",
		[]string{create + "-o com.docker.network.bridge.enable_ip_masquerade=false net",
			"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep"}},
	{"snat", "A fixed source address",
		"`host_ipv4`: what leaves the network takes this address of the host.",
		[]string{create + "-o com.docker.network.host_ipv4=192.0.2.2 net",
			"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep"}},
	{"inhibit", "A bridge without an address",
		"`inhibit_ipv4`: somebody else is the gateway; nothing can turn back by way of the host.",
		[]string{create + "-o com.docker.network.bridge.inhibit_ipv4=true net",
			"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep"}},
	{"host-binding", "A default address for published ports",
		"`host_binding_ipv4`: ports that name no address are published there.",
		[]string{create + "-o com.docker.network.bridge.host_binding_ipv4=192.0.2.2 net",
			"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep"}},
	{"two-networks", "Two networks",
		"Rules of different networks commute: those of a network that comes later follow.",
		[]string{create + "net",
			"network create -d mybr --subnet 172.19.0.0/16 -o com.docker.network.bridge.name=mybr1 other",
			"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep",
			"run -d --name api --net other --ip 172.19.0.2 -p 8081:80 guest sleep"}},
}

// TestRuleBook runs every scenario under both variants of iptables. What the kernel
// then has of mybr's must equal the scenario's golden file, must be just what the
// records render to, and docs/rules-iptables.md must tell of it.
func TestRuleBook(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr's own rules")
	}
	var book string
	t.Run("variants", func(t *testing.T) {
		for _, variant := range []string{"nft", "legacy"} {
			t.Run(variant, func(t *testing.T) {
				t.Parallel()
				w := world.New(t, world.Config{Variant: variant})
				sections := make([]string, len(scenarios))
				for i, s := range scenarios {
					t.Run(s.name, func(t *testing.T) { sections[i] = s.observe(t, w, i == 0) })
				}
				if variant == "nft" {
					book = bookHead + strings.Join(sections, "")
					for _, s := range renderedScenarios {
						book += s.section(reconcile.Render(s.snapshot(), s.options).Firewall, false)
					}
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	golden(t, filepath.Join("..", "docs", "rules-iptables.md"), book)
}

const bookHead = `# The rule book: iptables

Generated by the tests; do not edit. ` + "`go test ./integration -run TestRuleBook -update`" + ` writes it anew.
Scenarios up to "Two networks" show what the kernel had after the commands; the others show what mybr makes of the records that the commands lead to, which the tests of the packet filter compare with the kernel and try with packets.

The host has the address 192.0.2.2 and runs Docker Engine 20.10. Rules are the same with the nf_tables and the legacy variant of iptables.
Every chain of mybr's begins with ` + "`MYBR-`" + `. The jumps in chains of others that every network needs are shown with the first scenario only; they are there as long as there is a network.
Each network has rules in both families: those that close it to IPv6, where it has none, are shown with the first scenario only.
`

// observe runs a scenario, compares, cleans up and returns its part of the rule book.
func (s scenario) observe(t *testing.T, w *world.World, withJumps bool) string {
	t.Helper()
	before := rules(w)
	for _, c := range s.docker {
		w.Docker(strings.Fields(c)...)
	}
	have := ownRules(w)
	golden(t, filepath.Join("testdata", "rules", s.name+".rules"), strings.Join(have, "\n")+"\n")

	policy := reconcile.Render(snapshot(t, w), reconcile.Options{}).Firewall
	var want []string
	for _, e := range iptables.Explain(policy, engine2010) {
		want = append(want, e.Command+" *"+e.Table+" -A "+e.Chain+" "+e.Rule)
	}
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(tabled(have))); !slices.Equal(got, want) {
		t.Errorf("the kernel has\n%s\nbut the records render to\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	if ids := w.Docker("ps", "-aq"); ids != "" {
		w.Docker(append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
	}
	for _, n := range strings.Fields(w.Docker("network", "ls", "-q", "--filter", "driver=mybr")) {
		w.Docker("network", "rm", n)
	}
	if after := rules(w); !slices.Equal(after, before) {
		t.Errorf("after removal the rules are\n%s\nbut were\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	return s.section(policy, withJumps)
}

// engine2010 has chains for IPv4 only, unless it is told otherwise.
var engine2010 = iptables.Docker{V4: true}

// section is a scenario's part of the rule book.
func (s scenario) section(policy firewall.Policy, withJumps bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```sh\n", s.title, s.about)
	for _, c := range s.docker {
		if !strings.HasPrefix(c, "mybr ") {
			c = "docker " + c
		}
		b.WriteString(c + "\n")
	}
	b.WriteString("```\n\n```\n")
	six := slices.ContainsFunc(policy.Networks, func(n firewall.Network) bool { return n.V6.Prefix.IsValid() })
	table := ""
	for _, e := range iptables.Explain(policy, engine2010) {
		foreign := !strings.HasPrefix(e.Chain, "MYBR-")
		if !withJumps && (foreign && e.Chain != "DOCKER-ISOLATION-STAGE-2" || e.Command == "ip6tables" && !six) {
			continue
		}
		if t := e.Command + " *" + e.Table; t != table {
			table = t
			b.WriteString(t + "\n")
		}
		fmt.Fprintf(&b, "# %s\n-A %s %s\n", e.Why, e.Chain, e.Rule)
	}
	b.WriteString("```\n")
	return b.String()
}

// ownRules is what iptables-save says of mybr's chains and of the jumps to them, with
// the tables' names and in the order of the tables' names.
func ownRules(w *world.World) []string {
	var out []string
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, table := range []string{"filter", "nat"} {
			out = append(out, command+" *"+table)
			for line := range strings.Lines(w.Host.Run(command+"-save", "-t", table)) {
				line, _, _ = strings.Cut(strings.TrimSpace(line), " [")
				if strings.Contains(line, "MYBR-") && !strings.HasPrefix(line, "#") {
					out = append(out, line)
				}
			}
		}
	}
	return out
}

// tabled puts the command and the table before every rule and leaves out the rest.
func tabled(lines []string) (out []string) {
	table := ""
	for _, l := range lines {
		switch l[0] {
		case 'i':
			table = l
		case '-':
			out = append(out, table+" "+l)
		}
	}
	return out
}

// snapshot reads the records of a running mybr from a copy of its file: nothing is
// being written between two commands of a test.
func snapshot(t *testing.T, w *world.World) model.Snapshot {
	t.Helper()
	s := records(t, w)
	defer s.Close()
	return s.Snapshot()
}

func records(t *testing.T, w *world.World) *store.Store {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.StateDir(), "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// golden compares text with a file, or rewrites it.
func golden(t *testing.T, path, have string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("%s does not say what was observed (-update rewrites it):\nhave\n%s\nwant\n%s", path, have, want)
	}
}
