package iptables

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
)

// probe is a packet as the rules see it.
type probe struct {
	in, out  string
	src, dst netip.Addr
	state    string // conntrack's
	dnat     bool   // its connection has been led elsewhere by a published port
	chosen   netip.Addr
	chosenTo uint64 // the port
	local    bool   // dst is an address of the host
	reply    bool   // it goes against the direction in which its connection has begun
	mark     uint64
	proto    string
	port     uint64
	from     uint64 // source port
}

// walk takes a packet through the chains of a table, and counts the rules that it meets.
type walk struct {
	chains map[string][]string
	probe
	met int
}

// ruleTable is the chains of a ruleset's table, with those of others. order may be nil.
func ruleTable(t table, others map[string][]string, order func(c chain) []string) map[string][]string {
	all := map[string][]string{}
	maps.Copy(all, others)
	for _, c := range t.chains {
		if all[c.name] = c.texts(); order != nil {
			all[c.name] = order(c)
		}
	}
	return all
}

// anyOrder is the rules of a chain in an order that differences may have left, which compare
// takes for none.
func anyOrder(r *rapid.T) func(c chain) []string {
	return func(c chain) []string {
		rules := c.texts()
		free := rules
		if c.first {
			free = free[1:]
		}
		if c.last && len(free) > 0 {
			free = free[:len(free)-1]
		}
		switch {
		case c.strict || len(free) < 2:
		case c.ordered:
			groups := byLinks(free)
			at := 0
			for _, bridge := range rapid.Permutation(slices.Sorted(maps.Keys(groups))).Draw(r, "bridges") {
				at += copy(free[at:], groups[bridge])
			}
		default:
			copy(free, rapid.Permutation(free).Draw(r, "order"))
		}
		if deleted, added, moved := c.compare(rules); len(deleted)+len(added)+len(moved) > 0 {
			r.Fatalf("%s: %q is no difference, but: %q %q %q", c.name, rules, deleted, added, moved)
		}
		return rules
	}
}

// through returns the verdict of a chain, with the options of its target; "" if it returns.
func (w *walk) through(name string) string {
	rules, ok := w.chains[name]
	if !ok {
		panic("no chain " + name)
	}
	for _, r := range rules {
		w.met++
		action, target, options := w.match(r)
		switch {
		case action == "" || target == "":
			continue
		case target == "RETURN":
			return ""
		case target == "NFLOG":
			continue
		case w.chains[target] == nil && !strings.HasPrefix(target, ownPrefix) && !strings.HasPrefix(target, dockerPrefix):
			return strings.TrimSpace(target + " " + options)
		case w.chains[target] == nil: // a chain without rules
			if _, ok := w.chains[target]; !ok {
				panic("no chain " + target)
			}
		}
		if verdict := w.through(target); verdict != "" || action == "-g" {
			return verdict
		}
	}
	return ""
}

// match is the action of a rule, "-j" or "-g", with its target, if the packet matches.
func (w *walk) match(rule string) (action, target, options string) {
	words := strings.Fields(rule)
	for i := 0; i < len(words); {
		want := true
		if words[i] == "!" {
			want, i = false, i+1
		}
		option, arg := words[i], words[i+1]
		i += 2
		switch option {
		case "-j", "-g":
			return option, arg, strings.Join(words[i:], " ")
		case "-m":
			if words[i] == "!" {
				want, i = false, i+1
			}
			if words[i][:2] != "--" { // such as -p tcp -m tcp -j …, which has no options
				continue
			}
			option, arg = words[i], words[i+1]
			i += 2
		}
		if w.is(option, arg) != want {
			return "", "", ""
		}
	}
	return "", "", ""
}

func (w *walk) is(option, arg string) bool {
	link := func(have string) bool {
		if prefix, ok := strings.CutSuffix(arg, "+"); ok {
			return strings.HasPrefix(have, prefix)
		}
		return have == arg
	}
	number := func(s string, base int) uint64 {
		n, err := strconv.ParseUint(s, base, 32)
		if err != nil {
			panic(err)
		}
		return n
	}
	switch option {
	case "-i":
		return link(w.in)
	case "-o":
		return link(w.out)
	case "-s":
		return netip.MustParsePrefix(arg).Contains(w.src)
	case "-d":
		return netip.MustParsePrefix(arg).Contains(w.dst)
	case "-p":
		return w.proto == arg
	case "--dport":
		first, last, ok := strings.Cut(arg, ":")
		if !ok {
			last = first
		}
		return number(first, 10) <= w.port && w.port <= number(last, 10)
	case "--sport":
		first, last, ok := strings.Cut(arg, ":")
		if !ok {
			last = first
		}
		return number(first, 10) <= w.from && w.from <= number(last, 10)
	case "--mark":
		value, mask, ok := strings.Cut(arg, "/")
		if !ok {
			mask = "0xffffffff"
		}
		return w.mark&number(mask, 0) == number(value, 0)
	case "--ctorigdst":
		if prefix, err := netip.ParsePrefix(arg); err == nil {
			return w.state != "INVALID" && prefix.Contains(w.chosen)
		}
		return w.state != "INVALID" && netip.MustParseAddr(arg) == w.chosen
	case "--ctorigdstport":
		first, last, ok := strings.Cut(arg, ":")
		if !ok {
			last = first
		}
		return w.state != "INVALID" && number(first, 10) <= w.chosenTo && w.chosenTo <= number(last, 10)
	case "--dst-type":
		return w.local == (arg == "LOCAL")
	case "--ctdir":
		return w.state != "INVALID" && w.reply == (arg == "REPLY")
	case "--limit", "--limit-burst":
		return true
	case "--icmpv6-type":
		return arg == fmt.Sprint(w.port)
	case "--ctstate":
		states := strings.Split(arg, ",")
		return slices.Contains(states, w.state) || w.dnat && slices.Contains(states, "DNAT")
	}
	panic("a condition that the test doesn't know: " + option)
}

// besides are the chains of Docker 20.10 that packets meet on their way through FORWARD.
func besides(need layout) map[string][]string {
	stage2 := []string{"-o docker0 -j DROP"}
	if need.guarded {
		stage2 = append([]string{unsolicited[1:] + " -j " + chainUnprotected}, stage2...)
	}
	return map[string][]string{
		"FORWARD": {"-j DOCKER-USER", "-j DOCKER-ISOLATION-STAGE-1", "-j MYBR-FORWARD",
			"-o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-i docker0 ! -o docker0 -j ACCEPT"},
		dockerUser:   {"-j MYBR-ISOLATE"},
		dockerStage1: {"-i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2"},
		dockerStage2: stage2,
	}
}

// many draws policies of up to a few dozen networks, whose bridges and subnets have longer
// and shorter beginnings in common.
func many() *rapid.Generator[firewall.Policy] {
	return rapid.Custom(func(t *rapid.T) firewall.Policy {
		var p firewall.Policy
		if rapid.IntRange(0, 3).Draw(t, "mark") == 0 {
			p.Accept = firewall.Mark{Value: 1, Mask: 1}
		}
		seen := map[string]bool{}
		free := map[model.Proto]int{model.TCP: 1, model.UDP: 1, model.SCTP: 1}
		for i := range rapid.SampledFrom([]int{1, 2, 4, 5, 8, 30}).Draw(t, "networks") {
			n := firewalltest.DrawNetwork(t, i)
			n.Bridge = rapid.SampledFrom([]string{"br-", "br-0", "web", "b"}).Draw(t, "name") + rapid.StringMatching(`[0-9a-c]{0,3}`).Draw(t, "rest")
			second, third := rapid.SampledFrom([]int{0, 16, 17, 168}).Draw(t, "net"), i*rapid.SampledFrom([]int{1, 8}).Draw(t, "step")
			v4, v6 := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(second), byte(third), 0}), rapid.SampledFrom([]int{24, 25, 29}).Draw(t, "bits")),
				netip.MustParsePrefix(fmt.Sprintf("fd00:%x:%x::/64", second, third))
			if seen[n.Bridge] || seen[v4.Addr().String()] || n.Bridge == "b" {
				continue
			}
			seen[n.Bridge], seen[v4.Addr().String()] = true, true
			if n.V4.Prefix.IsValid() {
				n.V4.Prefix = v4
			}
			if n.V6.Prefix.IsValid() {
				n.V6.Prefix = v6
			}
			p.Networks = append(p.Networks, n)
			for _, f := range []firewall.Family{n.V4, n.V6} {
				if n.Internal || !f.Prefix.IsValid() {
					continue
				}
				for range rapid.IntRange(0, 6).Draw(t, "ports") {
					p.Ports = append(p.Ports, firewalltest.DrawPort(t, n, f, free))
				}
				if f.Direct == firewall.DirectOpenings || f.Direct == firewall.DirectRouted {
					for range rapid.IntRange(0, 12).Draw(t, "openings") {
						o := firewalltest.DrawOpening(t, n, f)
						o.First = uint16(rapid.IntRange(1, 100).Draw(t, "port"))
						p.Openings = append(p.Openings, o)
					}
				}
			}
		}
		slices.SortFunc(p.Openings, func(a, b firewall.Opening) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		p.Openings = slices.Compact(p.Openings)
		firewalltest.DrawLimits(t, &p, 12, nil)
		firewalltest.DrawEgress(t, &p, 9, nil)
		return p
	})
}

// packets draws packets about a policy's networks, and others.
func packets(fam family, p firewall.Policy) *rapid.Generator[probe] {
	links, addrs := []string{"eth0", "docker0", "wg0", "br-", "br-zz"}, []netip.Addr{fam.address("192.0.2.7"), fam.address("172.17.0.2")}
	ports := []uint64{1, 80}
	for _, n := range p.Networks {
		links = append(links, n.Bridge)
		if prefix := n.Family(fam.Family).Prefix; prefix.IsValid() {
			addrs = append(addrs, prefix.Addr().Next().Next())
		}
	}
	for _, b := range p.Ports {
		ports = append(ports, uint64(b.Host.Port()), uint64(b.Host.Port()+b.Count-1), uint64(b.Host.Port()+b.Count))
	}
	for _, o := range p.Openings {
		ports = append(ports, uint64(o.First))
	}
	for _, l := range p.Limits {
		ports = append(ports, uint64(l.First), uint64(l.First), uint64(l.First+l.Count))
		for _, prefix := range l.From.Of(fam.Family) {
			addrs = append(addrs, prefix.Addr())
		}
	}
	ports = append(ports, 79, 81, 443, 135, 136, 134, 53, 22)
	if p.Process != (firewall.Process{}) {
		ports = append(ports, uint64(p.Process.DNS), uint64(p.Process.TCP), uint64(p.Process.TCP))
	}
	for _, g := range p.Grants {
		if fam.Has(g.To) {
			addrs = append(addrs, g.To, g.Addr)
		}
	}
	for _, n := range p.Networks {
		if n.Leads(fam.Family) {
			addrs = append(addrs, n.Family(fam.Family).Gateway)
		}
	}
	for _, e := range p.Egress {
		for _, s := range e.To.Services(fam.Family) {
			for _, prefix := range s.To {
				addrs = append(addrs, prefix.Addr())
			}
		}
		if fam.Has(e.Addr) {
			addrs = append(addrs, e.Addr)
		}
	}
	return rapid.Custom(func(t *rapid.T) probe {
		k := probe{
			in: rapid.SampledFrom(links).Draw(t, "in"), out: rapid.SampledFrom(links).Draw(t, "out"),
			src: rapid.SampledFrom(addrs).Draw(t, "src"), dst: rapid.SampledFrom(addrs).Draw(t, "dst"),
			state: rapid.SampledFrom([]string{"NEW", "ESTABLISHED", "RELATED", "INVALID"}).Draw(t, "state"),
			mark:  rapid.Uint64Range(0, 1).Draw(t, "mark"),
			proto: rapid.SampledFrom([]string{"tcp", "udp", "sctp", fam.icmp}).Draw(t, "proto"), port: rapid.SampledFrom(ports).Draw(t, "port"),
			from: rapid.SampledFrom(ports).Draw(t, "from"),
		}
		k.dnat = k.state != "INVALID" && rapid.Bool().Draw(t, "dnat")
		k.chosen, k.chosenTo = k.dst, k.port
		if k.dnat {
			k.chosen, k.chosenTo = rapid.SampledFrom(addrs).Draw(t, "chosen"), rapid.SampledFrom(ports).Draw(t, "chosen port")
		}
		k.local, k.reply = rapid.Bool().Draw(t, "local"), rapid.Bool().Draw(t, "reply")
		for _, n := range p.Networks { // most packets have the addresses of their networks
			if prefix := n.Family(fam.Family).Prefix; prefix.IsValid() && rapid.IntRange(0, 3).Draw(t, "honest") > 0 {
				if k.in == n.Bridge {
					k.src = prefix.Addr().Next().Next()
				}
				if k.out == n.Bridge {
					k.dst = prefix.Addr().Next().Next()
				}
			}
		}
		return k
	})
}

// address is an address of IPv4, or what stands for it in IPv6.
func (fam family) address(v4 string) netip.Addr {
	return netip.MustParseAddr(firewalltest.In(fam.Family, v4))
}

// Whatever the networks, and whatever the packet: the rules do what the plain lists do, in
// which every packet meets all of them.
func TestSameAsPlain(t *testing.T) {
	for _, fam := range []family{ipv4(), ipv6()} {
		t.Run(fam.String(), func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				p := many().Draw(r, "policy")
				if err := p.Validate(); err != nil {
					r.Fatal(err)
				}
				f := facts{user: true, stages: rapid.Bool().Draw(r, "stages")}
				if !f.stages {
					f.bridges = []string{"docker0"}
				} else if rapid.Bool().Draw(r, "lost") {
					f.unisolated = []string{"wg0"}
				}
				others := besides(fam.layout(p))
				is, plain := fam.render(p, f), fam.plain(p, f)
				if len(p.Networks) == 0 {
					return
				}
				for i, chains := range [][]string{{"FORWARD", chainForward}, {chainPorts, chainPostrouting}} {
					have, want := ruleTable(is[i], others, anyOrder(r)), ruleTable(plain[i], others, nil)
					for range 200 {
						k := packets(fam, p).Draw(r, "packet")
						for _, chain := range chains {
							a, b := walk{chains: have, probe: k}, walk{chains: want, probe: k}
							if got, want := a.through(chain), b.through(chain); got != want {
								r.Fatalf("%s: %+v: %q, plainly %q", chain, k, got, want)
							}
						}
						if i == 1 && fam.layout(p).names {
							a, b := walk{chains: have, probe: k}, walk{chains: want, probe: k}
							if got, want := a.through(chainLed), b.through(chainLed); got != want {
								r.Fatalf("%s: %+v: %q, plainly %q", chainLed, k, got, want)
							}
						}
						if i == 0 && fam.layout(p).input {
							k := k
							k.out, k.local = "", true // or it would not be there; a grant lets pass what goes on alone
							a, b := walk{chains: have, probe: k}, walk{chains: want, probe: k}
							if got, want := a.through(chainInput), b.through(chainInput); got != want {
								r.Fatalf("%s: %+v: %q, plainly %q", chainInput, k, got, want)
							}
						}
						if i == 0 {
							a, b := walk{chains: have, probe: k}, walk{chains: want, probe: k}
							if got, want := a.through(chainIsolate) == "DROP", b.through(chainIsolate) == "DROP"; got != want {
								r.Fatalf("%s: %+v: dropped: %v, plainly %v", chainIsolate, k, got, want)
							}
						}
					}
				}
			})
		})
	}
}

// big is a policy of many networks and ports, with bridges as Docker names them.
func big(networks, ports int) firewall.Policy {
	var p firewall.Policy
	random := rand.New(rand.NewPCG(1, 2))
	for i := range networks {
		n := firewalltest.Network(fmt.Sprintf("br-%012x", random.Uint64()>>16), fmt.Sprintf("10.%d.%d.0/24", 60+i/256, i%256))
		n.V6 = n.V4
		n.V6.Prefix = netip.MustParsePrefix(fmt.Sprintf("fd00:%x::/64", random.Uint64()>>48))
		p.Networks = append(p.Networks, n)
	}
	slices.SortFunc(p.Networks, func(a, b firewall.Network) int { return strings.Compare(a.Bridge, b.Bridge) })
	for i := range ports {
		n := p.Networks[i%networks]
		for _, f := range []firewall.Family{n.V4, n.V6} {
			host := netip.IPv4Unspecified()
			if f.Prefix.Addr().Is6() {
				host = netip.IPv6Unspecified()
			}
			p.Ports = append(p.Ports, firewall.Port{Bridge: n.Bridge, ICC: true, Link: "veth", PortBinding: model.PortBinding{Proto: model.TCP, Count: 1,
				Host: netip.AddrPortFrom(host, uint16(10000+i)), Container: netip.AddrPortFrom(f.Prefix.Addr().Next().Next(), 80)}})
		}
	}
	return p
}

// most is how many rules a packet of a kind meets at most in a chain, whichever network it
// belongs to.
func most(t *testing.T, fam family, p firewall.Policy, i int, chain string, of func(n firewall.Network) probe, want string) (most int) {
	t.Helper()
	chains := ruleTable(fam.render(p, facts{user: true, stages: true})[i], besides(fam.layout(p)), nil)
	for i, n := range p.Networks {
		if len(p.Networks) > 100 && i%9 > 0 {
			continue
		}
		w := walk{chains: chains, probe: of(n)}
		if got, _, _ := strings.Cut(w.through(chain), " "); got != want {
			t.Fatalf("%s of %s: %q, want %q", chain, n.Bridge, got, want)
		}
		most = max(most, w.met)
	}
	return most
}

// What a packet meets hangs on how many networks there are as little as their addresses do:
// it is bounded, and of packets that belong to a connection by a few dozen rules. So is what
// a connection meets, whatever the number of published ports.
func TestRulesThatPacketsMeet(t *testing.T) {
	for _, fam := range []family{ipv4(), ipv6()} {
		t.Run(fam.String(), func(t *testing.T) {
			lan := fam.address("192.0.2.7")
			inside := func(n firewall.Network) netip.Addr { return n.Family(fam.Family).Prefix.Addr().Next().Next() }
			in := func(state string, dnat bool) func(n firewall.Network) probe {
				return func(n firewall.Network) probe {
					return probe{in: "eth0", out: n.Bridge, src: lan, dst: inside(n), state: state, dnat: dnat, proto: "tcp", port: 80}
				}
			}
			out := func(state string) func(n firewall.Network) probe {
				return func(n firewall.Network) probe {
					return probe{in: n.Bridge, out: "eth0", src: inside(n), dst: lan, state: state, proto: "tcp", port: 443}
				}
			}
			for _, c := range []struct {
				what    string
				table   int
				chain   string
				of      func(firewall.Network) probe
				verdict string
				most    int // with any number of networks
			}{
				{"to a container, established", 0, "FORWARD", in("ESTABLISHED", true), "ACCEPT", 31},
				{"from a container, established", 0, "FORWARD", out("ESTABLISHED"), "ACCEPT", 31},
				{"to a published port, new", 0, "FORWARD", in("NEW", true), "ACCEPT", 40},
				{"from a container, new", 0, "FORWARD", out("NEW"), "ACCEPT", 120},
				{"from a container, masqueraded", 1, chainPostrouting, out("NEW"), "MASQUERADE", 35},
			} {
				for _, networks := range []int{1, 4, 5, 20, 100, 500} {
					met := most(t, fam, big(networks, 0), c.table, c.chain, c.of, c.verdict)
					if t.Logf("%s: %d networks: %d rules", c.what, networks, met); met > c.most {
						t.Errorf("%s: with %d networks a packet meets %d rules, and may meet %d", c.what, networks, met, c.most)
					}
				}
			}
			for _, ports := range []int{1, 16, 17, 100, 5000} {
				p := big(1, ports)
				chains := ruleTable(fam.render(p, facts{})[1], nil, nil)
				met := 0
				for i := 0; i < ports; i += 1 + ports/500 {
					w := walk{chains: chains, probe: probe{in: "eth0", src: lan, dst: lan, state: "NEW", proto: "tcp", port: uint64(10000 + i)}}
					if got := w.through(chainPorts); !strings.HasPrefix(got, "DNAT ") {
						t.Fatalf("port %d: %q", 10000+i, got)
					}
					met = max(met, w.met)
				}
				if t.Logf("%d ports: %d rules", ports, met); met > 60 {
					t.Errorf("with %d ports a connection meets %d rules", ports, met)
				}
			}
		})
	}
}

// One number that is published at many addresses of the host is told apart by those.
func TestOnePortAtManyAddresses(t *testing.T) {
	for _, fam := range []family{ipv4(), ipv6()} {
		p := big(1, 0)
		for i := range 200 {
			p.Ports = append(p.Ports, firewalltest.Dual(firewall.Policy{Ports: []firewall.Port{
				firewalltest.Port(p.Networks[0], fmt.Sprintf("tcp 198.51.%d.%d:443 10.60.0.2:%d", i%3, i, 1000+i), 1)}}).Ports...)
		}
		nat := fam.render(p, facts{})[1]
		chains := ruleTable(nat, nil, nil)
		if len(chains) != len(nat.chains) {
			t.Errorf("%s: two chains have one name: %d, %d names", fam, len(nat.chains), len(chains))
		}
		for i := range 200 {
			w := walk{chains: chains, probe: probe{dst: fam.address(fmt.Sprintf("198.51.%d.%d", i%3, i)), src: fam.address("192.0.2.7"), proto: "tcp", port: 443}}
			if got := w.through(chainPorts); !strings.HasSuffix(got, fmt.Sprint(":", 1000+i)) || w.met > 60 {
				t.Errorf("%s: to %s: %q, after %d rules", fam, w.dst, got, w.met)
			}
		}
	}
}

// The kernel follows jumps, and goes, through 16 chains at most (NFT_JUMP_STACK_SIZE of
// nf_tables.h), and refuses rules that might lead further. One is left to who may jump to
// DOCKER-USER from a chain of their own.
func TestDepth(t *testing.T) {
	for _, fam := range []family{ipv4(), ipv6()} {
		rapid.Check(t, func(r *rapid.T) {
			p := many().Draw(r, "policy")
			for i, root := range []string{"FORWARD", chainPorts, chainInput, chainLed} {
				if i == 2 && !fam.layout(p).input || i == 3 && !fam.layout(p).names {
					continue
				}
				i %= 2
				chains := ruleTable(fam.render(p, facts{user: true, stages: true})[i], besides(fam.layout(p)), nil)
				if table := fam.render(p, facts{user: true, stages: true})[i]; len(ruleTable(table, nil, nil)) < len(table.chains) {
					r.Errorf("two of %d chains have one name", len(table.chains))
				}
				var depth func(name string) int
				depth = func(name string) (deepest int) {
					for _, r := range chains[name] {
						f := strings.Fields(r)
						if j := slices.IndexFunc(f, func(s string) bool { return s == "-j" || s == "-g" }); j >= 0 && chains[f[j+1]] != nil {
							deepest = max(deepest, depth(f[j+1]))
						}
					}
					return deepest + 1
				}
				if len(p.Networks) == 0 {
					continue
				}
				if d := depth(root); d > 15 {
					r.Errorf("%d chains are behind each other", d)
				}
			}
		})
	}
}
