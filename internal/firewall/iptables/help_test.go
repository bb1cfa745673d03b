package iptables

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Each example makes a namespace and runs dozens of commands; most tests wait for
	// packets that must not come.
	for name, value := range map[string]string{"rapid.checks": "20", "rapid.nofailfile": "true", "test.parallel": "6"} {
		if !slices.ContainsFunc(os.Args, func(a string) bool { return strings.Contains(a, name) }) {
			if err := flag.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
	goleak.VerifyTestMain(m)
}

// kind is one variant of iptables, as what the commands `iptables` and `ip6tables` of a
// host are, and the family that a test is about. Policies are for both.
type kind struct {
	family
	name string // "nft" or "legacy"
	dir  string // a directory with the commands, and those that save and restore
}

// eachKind runs a test on a host of its own for each variant, in each family.
func eachKind(t *testing.T, test func(t *testing.T, h *nettest.Host, k kind)) {
	for _, name := range []string{"nft", "legacy"} {
		for _, fam := range []family{ipv4(), ipv6()} {
			t.Run(name+" "+fam.String(), func(t *testing.T) {
				t.Parallel()
				h := nettest.New(t)
				test(t, h, kindOf(t, name, fam))
			})
		}
	}
}

func kindOf(t *testing.T, name string, fam family) kind {
	t.Helper()
	k := kind{fam, name, t.TempDir()}
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			path, err := lookPath("", command+"-"+name+suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, filepath.Join(k.dir, command+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return k
}

// side is the backend's side in the family that the test is about.
func (k kind) side(b *Backend) *side {
	if k.Family == model.IPv4 {
		return b.v4
	}
	return b.v6
}

func (k kind) backend(t *testing.T) *Backend {
	t.Helper()
	b, err := New(firewall.Config{Dir: k.dir, Warn: func(f string, a ...any) { t.Errorf("warning: "+f, a...) }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// do runs iptables commands, one for each line. They go through one iptables-restore:
// a process for each command is most of the time that a test takes.
func (k kind) do(h *nettest.Host, lines string) {
	var input strings.Builder
	open := ""
	for line := range strings.Lines(k.in(lines)) {
		table, command := "filter", strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(command, "-t "); ok {
			table, command, _ = strings.Cut(rest, " ")
		}
		if command != "" && table != open {
			input.WriteString(commit(open) + "*" + table + "\n")
			open = table
		}
		input.WriteString(command + "\n")
	}
	input.WriteString(commit(open))
	h.Feed(input.String(), filepath.Join(k.dir, k.command+"-restore"), "--noflush")
}

// commit ends a table, if there is one.
func commit(table string) string {
	if table == "" {
		return ""
	}
	return "COMMIT\n"
}

// save is iptables-save of all tables without its comments.
func (k kind) save(h *nettest.Host) string {
	var out strings.Builder
	for line := range strings.Lines(h.Run(filepath.Join(k.dir, k.command+"-save"))) {
		if !strings.HasPrefix(line, "#") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// rules returns one chain as iptables -S prints it, without the -A CHAIN.
func (k kind) rules(h *nettest.Host, table, chain string) []string {
	s := parseSave(k.save(h))
	rules, _ := s.chain(table, chain)
	return rules
}

func apply(t *testing.T, b *Backend, have *firewall.Policy, want firewall.Policy) {
	t.Helper()
	if err := b.Apply(context.Background(), have, want); err != nil {
		t.Fatal(err)
	}
}

// foreign is what iptables-save printed but for mybr's chains and jumps.
func foreign(save string) string {
	var out strings.Builder
	for line := range strings.Lines(save) {
		if !strings.Contains(line, ownPrefix) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// normal is what iptables-save printed with the rules that commute in one order, and
// without the empty built-in chains that the nf_tables variant makes and leaves.
func normal(save string) string {
	s := parseSave(save)
	var out strings.Builder
	for _, t := range s.tables {
		slices.SortFunc(t.chains, func(a, b savedChain) int { return strings.Compare(a.name, b.name) })
		for _, c := range t.chains {
			if len(c.rules) > 0 || strings.Contains(c.name, "-") {
				fmt.Fprintf(&out, "%s %s\n", t.name, c.name)
			}
			name, _, _ := strings.Cut(c.name, "/")
			switch {
			case name == chainForward: // networks commute, the rules of one don't
				sortOrdered(c.rules[min(1, len(c.rules)):])
			case name == chainDirect: // what is left is dropped last
				slices.Sort(c.rules[:max(0, len(c.rules)-1)])
			case slices.Contains([]string{chainIsolate, chainReplyIn, chainReplyOut, chainEgressNAT}, name):
			case strings.HasPrefix(name, chainPass), strings.HasPrefix(name, chainReplies),
				slices.Contains([]string{chainNoExit, chainNoEntry, chainFrom, chainTo, chainInput}, name):
				sortOrdered(c.rules)
			case strings.HasPrefix(name, ownPrefix):
				slices.Sort(c.rules)
			}
			for _, r := range c.rules {
				fmt.Fprintf(&out, "-A %s %s\n", c.name, r)
			}
		}
	}
	return out.String()
}

// sortOrdered sorts rules by link, and those of none by their texts.
func sortOrdered(rules []string) {
	slices.SortStableFunc(rules, func(a, b string) int {
		if linkOf(a) == "" && linkOf(b) == "" {
			return strings.Compare(a, b)
		}
		return strings.Compare(linkOf(a), linkOf(b))
	})
}

// network is an ordinary network: bridge, subnet, everything as Docker has it by default.
func network(bridge, subnet string) firewall.Network {
	return firewall.Network{ID: "id-" + bridge, Bridge: bridge, ICC: true,
		V4: firewall.Family{Prefix: netip.MustParsePrefix(subnet), Masquerade: true, Hairpin: true}}
}

// port is a binding of count ports, as "tcp 0.0.0.0:8080 172.18.0.2:80".
func port(n firewall.Network, spec string, count uint16) firewall.Port {
	var proto, host, to string
	if _, err := fmt.Sscan(spec, &proto, &host, &to); err != nil {
		panic(err)
	}
	protos := map[string]model.Proto{"tcp": model.TCP, "udp": model.UDP, "sctp": model.SCTP}
	return firewall.Port{Bridge: n.Bridge, ICC: n.ICC, PortBinding: model.PortBinding{
		Proto: protos[proto], Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(to), Count: count}}
}

// opening is one to count ports from the first on, as "tcp 172.18.0.2"; br0 has
// 172.18.0.0/16, br1 172.19.0.0/16 and so on.
func opening(spec string, first, count uint16, from string) firewall.Opening {
	proto, addr, _ := strings.Cut(spec, " ")
	a := netip.MustParseAddr(addr)
	p := map[string]model.Proto{"tcp": model.TCP, "udp": model.UDP, "sctp": model.SCTP}[proto]
	return firewall.Opening{Bridge: fmt.Sprintf("br%d", a.As4()[1]-18), Addr: a, From: from,
		PortSpan: model.PortSpan{Proto: p, First: first, Count: count}}
}

// docker2010 makes the chains and rules that Docker 20.10 has for its default bridge
// with one container that publishes host port 8017 as 172.17.0.2:80.
func (k kind) docker2010(h *nettest.Host) {
	k.do(h, `
		-P FORWARD DROP
		-N DOCKER
		-N DOCKER-ISOLATION-STAGE-1
		-N DOCKER-ISOLATION-STAGE-2
		-N DOCKER-USER
		-A FORWARD -j DOCKER-USER
		-A FORWARD -j DOCKER-ISOLATION-STAGE-1
		-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		-A FORWARD -o docker0 -j DOCKER
		-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
		-A FORWARD -i docker0 -o docker0 -j ACCEPT
		-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
		-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
		-A DOCKER-ISOLATION-STAGE-1 -j RETURN
		-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
		-A DOCKER-ISOLATION-STAGE-2 -j RETURN
		-A DOCKER-USER -j RETURN
		-t nat -N DOCKER
		-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
		-t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
		-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
		-t nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
		-t nat -A DOCKER -i docker0 -j RETURN
		-t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8017 -j DNAT --to-destination 172.17.0.2:80
	`)
}

// docker285 is docker2010 as Docker 28.5 has it.
func (k kind) docker285(h *nettest.Host) {
	k.do(h, `
		-P FORWARD DROP
		-N DOCKER
		-N DOCKER-BRIDGE
		-N DOCKER-CT
		-N DOCKER-FORWARD
		-N DOCKER-ISOLATION-STAGE-1
		-N DOCKER-ISOLATION-STAGE-2
		-N DOCKER-USER
		-A FORWARD -j DOCKER-USER
		-A FORWARD -j DOCKER-FORWARD
		-A DOCKER-FORWARD -j DOCKER-CT
		-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
		-A DOCKER-FORWARD -j DOCKER-BRIDGE
		-A DOCKER-FORWARD -i docker0 -j ACCEPT
		-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		-A DOCKER-BRIDGE -o docker0 -j DOCKER
		-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
		-A DOCKER ! -i docker0 -o docker0 -j DROP
		-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
		-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
		-t raw -A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
		-t nat -N DOCKER
		-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
		-t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
		-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
		-t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8017 -j DNAT --to-destination 172.17.0.2:80
	`)
}

// docker29 is docker2010 as Docker 29 has it: without a list of its bridges.
func (k kind) docker29(h *nettest.Host) {
	k.docker285(h)
	k.do(h, `
		-D DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
		-F DOCKER-ISOLATION-STAGE-1
		-F DOCKER-ISOLATION-STAGE-2
		-X DOCKER-ISOLATION-STAGE-1
		-X DOCKER-ISOLATION-STAGE-2
		-N DOCKER-INTERNAL
		-I DOCKER-FORWARD 2 -j DOCKER-INTERNAL
	`)
}

// dockers are the layouts of Docker's chains: that of 20.10, which has no DOCKER-USER
// for IPv6, that of 28.5, and that of 29.
func (k kind) dockers() map[string]func(*nettest.Host) {
	return map[string]func(*nettest.Host){
		"20.10": k.docker2010,
		"20.10, no DOCKER-USER": func(h *nettest.Host) {
			k.docker2010(h)
			k.do(h, "-D FORWARD -j DOCKER-USER\n-F DOCKER-USER\n-X DOCKER-USER")
		},
		"28.5": k.docker285,
		"28.5, no DOCKER-USER": func(h *nettest.Host) {
			k.docker285(h)
			k.do(h, "-D FORWARD -j DOCKER-USER\n-X DOCKER-USER")
		},
		"29": k.docker29,
		"29, no DOCKER-USER": func(h *nettest.Host) {
			k.docker29(h)
			k.do(h, "-D FORWARD -j DOCKER-USER\n-X DOCKER-USER")
		},
	}
}
