package host

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/nettest"
)

// field is a host with two bridges and a LAN, whose rules are changed over and over:
//
//	lan 192.0.2.2 ── eth0 192.0.2.1 [host] br0 172.18.0.1 ── a .2, b .3
//	                                       br1 172.19.0.1 ── c .2
//
// and the same in IPv6. Everyone answers at ports 80 and 81.
type field struct {
	t      *testing.T
	hosts  map[string]*nettest.Host
	places []Place
}

func six(v4 string) string {
	address, bits, _ := strings.Cut(v4, "/")
	address = "fd00::" + strings.ReplaceAll(address, ".", ":")
	if i := strings.LastIndexByte(address, ':'); bits != "" {
		return address[:i] + address[i:] + "/112"
	}
	return address
}

func newField(t *testing.T) *field {
	host := nettest.New(t)
	f := &field{t: t, hosts: map[string]*nettest.Host{"host": host}}
	for i, name := range []string{"br0", "br1"} {
		host.Run("ip", "link", "add", name, "type", "bridge")
		for _, a := range []string{fmt.Sprintf("172.%d.0.1/16", 18+i), six(fmt.Sprintf("172.%d.0.1/16", 18+i))} {
			host.Address(name, a)
		}
		host.Run("ip", "link", "set", name, "up")
	}
	join := func(name, link, bridge, here, address, gateway string) {
		box := host.Peer(name)
		f.hosts[name] = box
		end := nettest.End{Name: link, Master: bridge}
		if here != "" {
			end.Addresses = []string{here, six(here)}
		}
		host.Connect(end, box, nettest.End{Name: "eth0", Addresses: []string{address, six(address)}})
		box.Route("0.0.0.0/0", gateway)
		box.Route("::/0", six(gateway))
	}
	join("lan", "eth0", "", "192.0.2.1/24", "192.0.2.2/24", "192.0.2.1")
	join("a", "va", "br0", "", "172.18.0.2/16", "172.18.0.1")
	join("b", "vb", "br0", "", "172.18.0.3/16", "172.18.0.1")
	join("c", "vc", "br1", "", "172.19.0.2/16", "172.19.0.1")
	host.Sysctl("net/ipv4/ip_forward", "1")
	host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	for _, name := range []string{"host", "lan", "a", "b", "c"} {
		h := f.hosts[name]
		h.Sysctl("net/ipv4/icmp_ratemask", "0") // each refusal is told
		h.Sysctl("net/ipv6/icmp/ratemask", "128")
		for _, network := range []string{"tcp4", "tcp6"} {
			for _, port := range []string{"80", "81"} {
				h.Echo(network, map[string]string{"tcp4": "0.0.0.0:", "tcp6": "[::]:"}[network]+port)
			}
		}
		var ns *os.File
		h.In(func() {
			var err error
			if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
				t.Fatal(err)
			}
		})
		t.Cleanup(func() { ns.Close() })
		f.places = append(f.places, Place{Name: name, Path: fmt.Sprintf("/proc/self/fd/%d", ns.Fd())})
	}
	for from := range f.hosts { // neighbours that nobody has looked for yet take their time
		for _, to := range []string{"192.0.2.1", "192.0.2.2", "172.18.0.1", "172.18.0.2", "172.18.0.3", "172.19.0.2"} {
			for _, a := range []string{to, six(to)} {
				if _, err := f.hosts[from].Ask("tcp", netip.AddrPortFrom(netip.MustParseAddr(a), 80).String(), 10*time.Second); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return f
}

// rules draws what iptables-restore takes.
func rules(r *rand.Rand, v6 bool) string {
	pick := func(some ...string) string { return some[r.IntN(len(some))] }
	in := func(a string) string {
		if v6 {
			return six(a)
		}
		return a
	}
	addresses := []string{"172.18.0.2", "172.18.0.3", "172.19.0.2", "192.0.2.1", "192.0.2.2", "172.18.0.0/16", "172.19.0.0/16", "192.0.2.0/24"}
	not := func() string { return pick("", "", "", "! ") }
	conditions := func(chain string) string {
		var b strings.Builder
		for range r.IntN(3) {
			switch n := r.IntN(8); {
			case n == 0 && !strings.Contains(b.String(), "-s "):
				b.WriteString(not() + "-s " + in(pick(addresses...)) + " ")
			case n == 1 && !strings.Contains(b.String(), "-d "):
				b.WriteString(not() + "-d " + in(pick(addresses...)) + " ")
			case n == 2 && chain != "OUTPUT" && chain != "POSTROUTING" && chain[0] != 'U' && !strings.Contains(b.String(), "-i "):
				b.WriteString(not() + "-i " + pick("br0", "br1", "eth0", "br+", "lo") + " ")
			case n == 3 && chain != "INPUT" && chain != "PREROUTING" && chain[0] != 'U' && !strings.Contains(b.String(), "-o "):
				b.WriteString(not() + "-o " + pick("br0", "br1", "eth0", "br+", "lo") + " ")
			case n == 4 && !strings.Contains(b.String(), "-p "):
				b.WriteString("-p tcp --dport " + pick("80", "81", "8080", "80:90") + " ")
			case n == 5 && !strings.Contains(b.String(), "ctstate"):
				b.WriteString("-m conntrack " + not() + "--ctstate " + pick("RELATED,ESTABLISHED", "NEW", "DNAT", "ESTABLISHED,DNAT", "INVALID", "SNAT") + " ")
			case n == 6 && !strings.Contains(b.String(), "addrtype"):
				b.WriteString("-m addrtype " + not() + pick("--dst-type", "--src-type") + " LOCAL ")
			case n == 7 && !strings.Contains(b.String(), "mark"):
				b.WriteString("-m mark " + not() + "--mark 0x1/0x1 ")
			}
		}
		return b.String()
	}
	var b strings.Builder
	b.WriteString("*mangle\n")
	for range r.IntN(2) {
		b.WriteString("-A " + pick("PREROUTING", "OUTPUT", "FORWARD") + " -p tcp --dport " + pick("80", "8080") + " -j MARK --set-mark 1\n")
	}
	b.WriteString("COMMIT\n*filter\n:U1 - [0:0]\n:U2 - [0:0]\n")
	for _, chain := range []string{"INPUT", "FORWARD", "OUTPUT"} {
		fmt.Fprintf(&b, ":%s %s [0:0]\n", chain, pick("ACCEPT", "ACCEPT", "DROP"))
		b.WriteString(pick("", fmt.Sprintf("-A %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n", chain)))
	}
	for _, chain := range []string{"INPUT", "FORWARD", "FORWARD", "OUTPUT", "U1", "U2"} {
		for range r.IntN(4) {
			target := pick("-j ACCEPT", "-j ACCEPT", "-j DROP", "-j RETURN", "-j REJECT", "-p tcp -j REJECT --reject-with tcp-reset", "-m comment --comment \"does nothing, \\\"really\\\"\"", "-j LOG")
			if chain[0] != 'U' {
				target = pick(target, "-j U1", "-g U2")
			} else if chain == "U1" {
				target = pick(target, "-j U2")
			}
			given := conditions(chain)
			if strings.Contains(given, "-p ") {
				target = strings.TrimPrefix(target, "-p tcp ")
			}
			b.WriteString("-A " + chain + " " + given + target + "\n")
		}
	}
	if v6 { // without these nobody finds anybody
		for _, chain := range []string{"INPUT", "OUTPUT"} {
			for _, kind := range []string{"135", "136"} {
				b.WriteString("-I " + chain + " -p ipv6-icmp -m icmp6 --icmpv6-type " + kind + " -j ACCEPT\n")
			}
		}
	}
	b.WriteString("COMMIT\n*nat\n")
	for _, chain := range []string{"PREROUTING", "OUTPUT"} {
		for range r.IntN(3) {
			to := in(pick("172.18.0.2", "172.18.0.3", "172.19.0.2"))
			if v6 {
				to = "[" + to + "]"
			}
			b.WriteString("-A " + chain + " " + pick("-m addrtype --dst-type LOCAL", "-d "+in("192.0.2.1"), "") + " -p tcp --dport 8080 -j DNAT --to-destination " + to + ":" + pick("80", "81") + "\n")
		}
	}
	for range r.IntN(4) {
		b.WriteString("-A POSTROUTING " + pick("-s "+in("172.18.0.0/16")+" ! -o br0", "-s "+in("172.18.0.0/16")+" -o br0 -m conntrack --ctstate DNAT", "-o eth0", conditions("POSTROUTING")) +
			" -j " + pick("MASQUERADE", "MASQUERADE", "SNAT --to-source "+in("192.0.2.1")) + "\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// shot is one question, and how it fared.
type shot struct {
	from   string
	to     netip.AddrPort
	real   string // as a verdict; what is lost is Dropped
	answer nettest.Answer
}

// A question has so much time; those that fared otherwise than predicted are asked again with
// more. A rejection that arrives while the client is still in connect(2) is noted only, and
// counts when the SYN is repeated after a second (tcp_v4_err, sock_owned_by_user).
const (
	usual   = 300 * time.Millisecond
	patient = 4 * time.Second
)

// owner is who has an address of the LAN's.
func (f *field) owner(a netip.Addr) string {
	if text := a.String(); text == "192.0.2.2" || text == six("192.0.2.2") {
		return "lan"
	}
	return ""
}

// fire asks all questions at once.
func (f *field) fire(shots []*shot, patience time.Duration) {
	var all sync.WaitGroup
	for i := range shots {
		all.Add(1)
		s := shots[i]
		go func() {
			defer all.Done()
			_ = Inside(f.place(s.from), func() error {
				c, err := net.DialTimeout("tcp", s.to.String(), patience)
				if err == nil {
					defer c.Close()
					s.answer, err = nettest.AskOn(c, patience)
				}
				switch {
				case err == nil:
					s.real = explain.Delivered
				case errors.Is(err, syscall.ECONNREFUSED):
					s.real = explain.Refused
				default:
					s.real = explain.Dropped
				}
				return nil
			})
		}()
	}
	all.Wait()
}

func (f *field) place(name string) Place {
	for _, p := range f.places {
		if p.Name == name {
			return p
		}
	}
	f.t.Fatalf("no place %s", name)
	return Place{}
}

// What is predicted is what happens, whatever the rules.
func TestFate(t *testing.T) {
	t.Parallel()
	f := newField(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("MYBR_TEST_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	rounds := 8
	if text := os.Getenv("MYBR_FATE_ROUNDS"); text != "" {
		if _, err := fmt.Sscan(text, &rounds); err != nil {
			t.Fatal(err)
		}
	}
	tally := map[string]int{}
	for round := range rounds {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		f.round(r, tally)
		if t.Failed() {
			t.Fatalf("MYBR_TEST_SEED=%d, round %d", seed, round)
		}
	}
	t.Logf("seed %d: %v", seed, tally)
	for _, verdict := range []string{explain.Delivered, explain.Refused, explain.Dropped} {
		if tally[verdict] == 0 {
			t.Errorf("nothing was %s: %v", verdict, tally)
		}
	}
}

func (f *field) round(r *rand.Rand, tally map[string]int) {
	host := f.hosts["host"]
	texts := [2]string{rules(r, false), rules(r, true)}
	for i, command := range []string{"iptables-nft-restore", "ip6tables-nft-restore"} {
		host.Feed(texts[i], command)
	}
	natives := [2]string{"", ""}
	for i := range natives {
		host.Try("nft", "delete", "table", "inet", "fate"+[]string{"ip", "ip6"}[i])
		host.Try("nft", "delete", "table", []string{"ip", "ip6"}[i], "fate"+[]string{"ip", "ip6"}[i])
		if r.IntN(3) > 0 {
			natives[i] = nativeRules(r, i == 1)
			host.Feed(natives[i], "nft", "-f", "-")
		}
	}
	for i := range texts { // a table of the family inet counts for both
		texts[i] += natives[0] + natives[1]
	}
	isolated := []string{"on", "off"}[r.IntN(2)]
	for _, link := range []string{"va", "vb"} {
		host.Run("bridge", "link", "set", "dev", link, "isolated", isolated)
	}
	settings := "isolated " + isolated
	for _, of := range [][]string{
		{"net/ipv4/conf/all/rp_filter", "0", "1", "2"},
		{"net/ipv4/conf/br0/forwarding", "1", "1", "1", "0"},
		{"net/bridge/bridge-nf-call-iptables", "0", "1"},
		{"net/bridge/bridge-nf-call-ip6tables", "0", "1"},
	} {
		if _, err := os.Stat("/proc/sys/" + of[0]); err != nil {
			continue // without br_netfilter
		}
		value := of[1+r.IntN(len(of)-1)]
		host.Sysctl(of[0], value)
		settings += ", " + of[0] + " " + value
	}
	var shots []*shot
	for _, from := range []string{"host", "lan", "a", "b", "c"} {
		for _, to := range []string{"192.0.2.1", "192.0.2.2", "172.18.0.1", "172.18.0.2", "172.18.0.3", "172.19.0.2", "172.18.0.9"} {
			for _, port := range []uint16{80, 82, 8080} {
				for _, a := range []string{to, six(to)} {
					if r.IntN(3) == 0 {
						shots = append(shots, &shot{from: from, to: netip.AddrPortFrom(netip.MustParseAddr(a), port)})
					}
				}
			}
		}
	}
	w, places, err := Read(f.places)
	if err != nil {
		f.t.Fatal(err)
	}
	others := slices.DeleteFunc(slices.Clone(f.places), func(p Place) bool { return p.Name == "lan" })
	alone, there, err := Read(others) // as on a host that knows nothing of what is beyond it
	if err != nil {
		f.t.Fatal(err)
	}
	read, readAlone := map[string]bool{}, map[string]bool{}
	var results []explain.Result
	for _, s := range shots {
		p, err := Predict(f.t.Context(), w, places, explain.Query{From: s.from, Dst: s.to.Addr(), Proto: explain.TCP, Dport: s.to.Port()}, read)
		if err != nil {
			f.t.Fatal(err)
		}
		results = append(results, p)
		if s.from == "lan" && f.owner(s.to.Addr()) != "lan" {
			q := explain.Query{In: "eth0", Src: p.From, Dst: s.to.Addr(), Proto: explain.TCP, Dport: s.to.Port()}
			b, err := Predict(f.t.Context(), alone, there, q, readAlone)
			if err != nil || b.Verdict != explain.Unknown && (b.Verdict != p.Verdict || b.Client.Addr() != p.Client.Addr()) { // which port a stranger chooses isn't known
				f.t.Errorf("lan → %s: %s (%s) with what the LAN is like, and without %s (%s) %v\n%s%s", s.to, p.Verdict, p.Reason, b.Verdict, b.Reason, err, settings, texts)
			}
		}
	}
	f.fire(shots, usual)
	var again []*shot
	for i, s := range shots {
		if !s.is(results[i]) {
			again = append(again, s)
		}
	}
	f.fire(again, patient)
	for i, s := range shots {
		p := results[i]
		tally[p.Verdict]++
		if !s.is(p) {
			f.t.Errorf("%s → %s: predicted %s (%s; %s as %s), but it was %s, by %s as %s\n%s%s\n%s", s.from, s.to, p.Verdict, p.Reason, p.To, p.Client.Addr(),
				s.real, s.answer.Server, s.answer.Client, steps(p), settings, texts[map[bool]int{true: 1}[s.to.Addr().Is6()]])
			return
		}
	}
}

// is reports whether a question fared as predicted.
func (s *shot) is(p explain.Result) bool {
	verdict := p.Verdict
	if verdict == explain.Unknown && strings.Contains(p.Reason, "knows the neighbour") { // ports are isolated, and not, in turns
		return true
	}
	if verdict == explain.Unknown && strings.Contains(p.Reason, "IPv6 that crosses a bridge") {
		return s.real != explain.Delivered
	}
	if strings.HasPrefix(p.Reason, "the connection begins") { // whether an error of ICMP's ends it then depends on the moment
		return verdict != explain.Unknown && s.real != explain.Delivered
	}
	if verdict == explain.NoRoute { // what the client gets to know depends on its patience
		verdict = explain.Dropped
	}
	return verdict == s.real && (verdict != explain.Delivered || s.answer.Client.Addr() == p.Client.Addr() && s.answer.Server == p.To)
}

func steps(r explain.Result) string {
	var b strings.Builder
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "  %-5s %v %s\n", s.Space, s.Back, s.Text)
	}
	return b.String()
}
