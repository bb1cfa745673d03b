package host

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/nettest"
)

// holdEnv has the test binary trace until it is killed.
const holdEnv = "MYBR_EXPLAIN_TEST_HOLD"

func TestMain(m *testing.M) {
	if os.Getenv(holdEnv) != "" {
		runtime.LockOSThread()
		if _, err := startTrace(context.Background(), iptablesWords(), "ip daddr 192.0.2.1"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready")
		select {}
	}
	nettest.Parallel(6)
	os.Exit(m.Run())
}

// sending is what is sent, how it fares, and what the trace has of the rule that decides.
type sending struct {
	proto         string
	port          uint16
	verdict, rule string
}

// What is sent fares as predicted, its trace names the rules, and nothing of it is left.
func TestSend(t *testing.T) {
	for _, of := range []struct{ v6, native bool }{{}, {v6: true}, {native: true}, {true, true}} {
		v6 := of.v6
		t.Run(map[bool]string{false: "IPv4", true: "IPv6"}[v6]+map[bool]string{true: ", nftables"}[of.native], func(t *testing.T) {
			t.Parallel()
			host := nettest.New(t)
			peer := host.Peer("peer")
			in := func(a string) string {
				if v6 {
					return six(a)
				}
				return a
			}
			host.Connect(nettest.End{Name: "eth0", Addresses: []string{in("192.0.2.1/24")}}, peer, nettest.End{Name: "eth0", Addresses: []string{in("192.0.2.2/24")}})
			any, suffix, reject := "0.0.0.0", "4", "icmp-port-unreachable"
			command := "iptables-nft"
			if v6 {
				any, suffix, reject, command = "[::]", "6", "icmp6-port-unreachable", "ip6tables-nft"
			}
			peer.Echo("tcp"+suffix, any+":80")
			peer.Echo("udp"+suffix, any+":80")
			fresh, refused := "--ctstate NEW", "--dport 99 -j REJECT"
			if of.native {
				fresh, refused = "inet own out: ct state new accept (accept)", "inet own closed: reject (drop)" // which is how it ends
				host.Feed(`table inet own {
	map ports { type inet_service : verdict; elements = { 99 : goto closed } }
	chain closed { reject; }
	chain out { type filter hook output priority 0; tcp dport vmap @ports; ct state new accept; }
}`, "nft", "-f", "-")
			} else {
				host.Run(command, "-A", "OUTPUT", "-p", "tcp", "--dport", "99", "-j", "REJECT", "--reject-with", reject)
				host.Run(command, "-A", "OUTPUT", "-p", "tcp", "--dport", "98", "-j", "DROP")
				host.Run(command, "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
			}

			var places []Place
			for name, h := range map[string]*nettest.Host{"host": host, "peer": peer} {
				var ns *os.File
				h.In(func() {
					var err error
					if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
						t.Fatal(err)
					}
				})
				t.Cleanup(func() { ns.Close() })
				places = append(places, Place{Name: name, Path: fmt.Sprintf("/proc/self/fd/%d", ns.Fd())})
			}
			if places[0].Name != "host" {
				places[0], places[1] = places[1], places[0]
			}
			cases := []sending{
				{explain.TCP, 80, explain.Delivered, fresh},
				{explain.TCP, 99, explain.Refused, refused},
				{explain.ICMP, 0, explain.Delivered, fresh},
			}
			if !v6 {
				cases = append(cases, sending{explain.UDP, 80, explain.Delivered, fresh})
			}
			for _, c := range cases {
				w, places, err := Read(places)
				if err != nil {
					t.Fatal(err)
				}
				q := explain.Query{From: "host", Dst: netip.MustParseAddr(in("192.0.2.2")), Proto: c.proto, Dport: c.port}
				r, err := Predict(t.Context(), w, places, q, map[string]bool{})
				if err != nil {
					t.Fatal(err)
				}
				s, err := Send(t.Context(), w, places, q, r)
				if err != nil || s.Verdict != c.verdict || !s.Agrees || s.Untold != "" || r.Verdict != c.verdict {
					t.Errorf("%s %d: %+v %v, predicted %s", c.proto, c.port, s, err, r.Verdict)
				} else if len(s.Trace) != 1 || !strings.Contains(strings.Join(s.Trace[0].Rules, "\n"), c.rule) &&
					(of.native || !strings.HasSuffix(strings.Join(s.Trace[0].Rules, "\n"), " says DROP")) { // xtables-monitor 1.8.9 prints no such rules of IPv6
					t.Errorf("%s %d: traced %q, want %s", c.proto, c.port, s.Trace, c.rule)
				}
			}
			if tables := host.Run("nft", "list", "tables"); strings.Contains(tables, "mybr-explain") {
				t.Errorf("left: %s", tables)
			}
		})
	}
}

// The table that has the kernel trace goes with the process, however that ends.
func TestTraceEndsWithItsProcess(t *testing.T) {
	host := nettest.New(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holdEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	n, _ := out.Read(line)
	if string(line[:n]) != "ready\n" {
		t.Fatalf("%q", line[:n])
	}
	if tables := host.Run("nft", "list", "tables"); !strings.Contains(tables, "mybr-explain") {
		t.Errorf("there is no table: %s", tables)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	nettest.Eventually(t, 10*time.Second, func() error {
		if tables := host.Run("nft", "list", "tables"); strings.Contains(tables, "mybr-explain") {
			return fmt.Errorf("left: %s", tables)
		}
		return nil
	})
}

func TestTraced(t *testing.T) {
	have := traced(strings.Split(`PACKET: 1 1beac99d OUT=lo NFPROTO=2 SRC=127.0.0.1 DST=127.0.0.1 DPORT=99 SYN
 TRACE: 1 1beac99d mybr-explain-7:out:rule:0x2:CONTINUE
 TRACE: 1 1beac99d mybr-explain-7:out:policy:ACCEPT
PACKET: 2 1beac99d OUT=lo SRC=127.0.0.1 DST=127.0.0.1
 TRACE: 2 1beac99d filter:OUTPUT:rule:0x2:ACCEPT  -4 -t filter -A OUTPUT -p tcp -m conntrack --ctstate NEW -j ACCEPT
 TRACE: 2 1beac99d nat:POSTROUTING:policy:ACCEPT
 TRACE: 2 1beac99d filter:OUTPUT:rule:0x3:DROP  -6 -t filter
nonsense
PACKET: 1 3e862fc4 OUT=lo SRC=127.0.0.1`, "\n"), "mybr-explain-7")
	want := []Traced{{Packet: "OUT=lo NFPROTO=2 SRC=127.0.0.1 DST=127.0.0.1 DPORT=99 SYN",
		Rules: []string{"filter OUTPUT: -A OUTPUT -p tcp -m conntrack --ctstate NEW -j ACCEPT", "nat POSTROUTING: policy ACCEPT", "filter OUTPUT: the rule with the handle 0x3 says DROP"}}}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v", have)
	}
}

func TestTracedByNFT(t *testing.T) {
	have := tracedByNFT(strings.Split(`trace id 42025a48 inet mybr-explain-7 pre packet: iif "mybr0" ip saddr 172.18.0.2 ip daddr 192.0.2.9
trace id 42025a48 inet mybr-explain-7 pre rule ip daddr 192.0.2.9 meta nftrace set 1 (verdict continue)
trace id 42025a48 inet mybr-explain-7 pre policy accept
trace id 43025a48 ip mybr forward packet: iif "mybr0" oif "eth0" ip saddr 172.18.0.2 ip daddr 192.0.2.9
trace id 43025a48 ip mybr forward rule iifname vmap @from (verdict goto from-masquerade)
trace id 43025a48 ip mybr passed policy accept
nonsense
trace id 1 2
trace id 43025a48 ip filter FORWARD rule counter drop (verdict drop)
trace id 50000000 inet mybr-explain-7 pre packet: another
trace id 50000000 inet mybr-explain-7 pre rule the same (verdict continue)`, "\n"), "mybr-explain-7")
	want := []Traced{{Packet: `iif "mybr0" ip saddr 172.18.0.2 ip daddr 192.0.2.9`,
		Rules: []string{"ip mybr forward: iifname vmap @from (goto from-masquerade)", "ip mybr passed: policy accept", "ip filter FORWARD: counter drop (drop)"}}}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v", have)
	}
}

// What others have traced without an end doesn't keep anybody waiting without one.
func TestTraceOfOthersWithoutEnd(t *testing.T) {
	tr := &tracer{lines: make(chan string)}
	stop, ended := make(chan struct{}), make(chan []string, 1)
	defer close(stop)
	go func() {
		for {
			select {
			case tr.lines <- "PACKET: 2 1beac99d IN=eth0":
			case <-stop:
				return
			}
		}
	}()
	go func() { ended <- tr.collect("", 50*time.Millisecond) }()
	select {
	case lines := <-ended:
		if len(lines) == 0 {
			t.Error("nothing was read")
		}
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
}

// A namespace that can't be read keeps nobody from asking about others.
func TestReadWhatCanBeRead(t *testing.T) {
	nettest.New(t)
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	places := []Place{{Name: HostName}, {Name: "broken", Path: broken, spare: true}, {Name: "ended", Path: broken + "-no-more"}}
	w, there, err := Read(places)
	if err != nil || len(w.Spaces) != 1 || len(there) != 1 || len(w.Unread) != 1 || !strings.HasPrefix(w.Unread[0], "read namespace broken: ") {
		t.Errorf("%+v %+v %v", w, there, err)
	}
	places[1].spare = false
	if _, _, err := Read(places); err == nil {
		t.Error("a container's namespace that can't be read is no error")
	}
}

// What leaves the host may fare in any way there; other verdicts are held to.
func TestAgrees(t *testing.T) {
	for _, c := range []struct {
		proto, predicted, real string
		want                   bool
	}{
		{explain.TCP, explain.Leaves, explain.Delivered, true},
		{explain.TCP, explain.Leaves, explain.Refused, true},
		{explain.TCP, explain.Leaves, explain.Dropped, true},
		{explain.TCP, explain.Delivered, explain.Refused, false},
		{explain.TCP, explain.Delivered, explain.Dropped, false},
		{explain.UDP, explain.Delivered, explain.Dropped, true},
		{explain.TCP, explain.NoRoute, explain.Dropped, true},
		{explain.TCP, explain.Dropped, explain.Delivered, false},
	} {
		if have := agrees(explain.Query{Proto: c.proto}, explain.Result{Verdict: c.predicted}, c.real); have != c.want {
			t.Errorf("%s: predicted %s, and it was %s: %v", c.proto, c.predicted, c.real, have)
		}
	}
}
