package doctor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/view"
)

var update = flag.Bool("update", false, "write docs/doctor.md anew")

// docs/doctor.md is what the code says.
func TestGoldenDocument(t *testing.T) {
	const path = "../../docs/doctor.md"
	if *update {
		if err := os.WriteFile(path, []byte(Document()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != Document() {
		t.Errorf("docs/doctor.md is not what the code says: make generate writes it (%v)", err)
	}
}

// Every check has a name of its own and says what it is about.
func TestChecksSayWhatTheyAreAbout(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if seen[c.Name] || c.Name == "" || c.Sees == "" || c.Means == "" || c.Mends == "" || c.look == nil {
			t.Errorf("%+v", c)
		}
		seen[c.Name] = true
	}
	if len(seen) < 30 {
		t.Errorf("there are %d checks", len(seen))
	}
}

// A shell takes what was quoted as it was, and nothing that is quoted ends a line or hides one.
func TestQuote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := string(rapid.SliceOf(rapid.ByteRange(1, 255)).Draw(t, "word"))
		word = strings.TrimRight(word, "\n") // which $() drops
		quoted := quote(word)
		if strings.ContainsFunc(quoted, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q does not print", quoted)
		}
		out, err := exec.Command("sh", "-c", "printf %s "+quoted).Output()
		if err != nil || string(out) != word {
			t.Fatalf("%q is quoted as %s, which is %q, %v", word, quoted, out, err)
		}
	})
}

// The words of a rule are those that iptables was given.
func TestUnquote(t *testing.T) {
	got := unquote(`-s 10.0.0.0/8 -m comment --comment "say \"no\" \\ $(x)" -j DROP`)
	want := []string{"-s", "10.0.0.0/8", "-m", "comment", "--comment", `say "no" \ $(x)`, "-j", "DROP"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// saved is a table "filter" with rules in these chains.
func saved(t *testing.T, text string) *ruleset {
	t.Helper()
	set, _ := parseSaved("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:a - [0:0]\n:b - [0:0]\n" + text + "\nCOMMIT\n")
	set.by = "iptables-nft"
	return set
}

// The first rule that drops a packet for certain is found, as the kernel would come to it.
func TestDrops(t *testing.T) {
	out := packet{in: "br0", out: "eth0", states: []string{"NEW"}}
	accept := "\n-A FORWARD -i br0 ! -o br0 -j ACCEPT"
	for name, c := range map[string]struct {
		rules, want string
		allowed     bool
	}{
		"accepted":                     {rules: accept},
		"the policy":                   {rules: "-A FORWARD -i br1 -j ACCEPT", want: "FORWARD: its policy"},
		"a rule before":                {rules: "-A FORWARD -i br0 -j DROP" + accept, want: "FORWARD rule 1"},
		"a rule behind":                {rules: accept + "\n-A FORWARD -i br0 -j DROP"},
		"of another link":              {rules: "-A FORWARD -i br1 -j DROP\n-A FORWARD ! -i br0 -j DROP" + accept},
		"of links that begin so":       {rules: "-A FORWARD -o eth+ -j REJECT --reject-with icmp-port-unreachable" + accept, want: "FORWARD rule 1"},
		"in a chain":                   {rules: "-A FORWARD -j a\n-A a -o lo -j RETURN\n-A a -j b\n-A b -o eth0 -j DROP" + accept, want: "b rule 1"},
		"returned before":              {rules: "-A FORWARD -j a\n-A a -i br0 -j RETURN\n-A a -j DROP" + accept},
		"accepted in a chain":          {rules: "-A FORWARD -g a\n-A a -j ACCEPT\n-A FORWARD -j DROP"},
		"a goto does not come back":    {rules: "-A FORWARD -i br0 -g a" + accept, want: "FORWARD: its policy"},
		"a part alone":                 {rules: "-A FORWARD -p tcp -m tcp --dport 25 -j DROP" + accept},
		"behind what lets some pass":   {rules: "-A FORWARD -p tcp -m tcp --dport 25 -j ACCEPT\n-A FORWARD -i br0 -j DROP" + accept, want: "FORWARD rule 2", allowed: true},
		"of another state":             {rules: "-A FORWARD -m conntrack --ctstate INVALID -j DROP\n-A FORWARD -m conntrack ! --ctstate NEW,RELATED -j DROP" + accept},
		"of this state":                {rules: "-A FORWARD -m conntrack --ctstate NEW -j DROP" + accept, want: "FORWARD rule 1"},
		"a chain that leads to itself": {rules: "-A FORWARD -j a\n-A a -j a" + accept},
		"a target that goes on":        {rules: "-A FORWARD -j LOG --log-prefix \"-j DROP\"" + accept},
	} {
		first, _, _ := saved(t, c.rules).drops("FORWARD", out)
		have := ""
		if first != nil {
			have = first.where()
		}
		if (have == "") != (c.want == "") || !strings.Contains(have, c.want) || first != nil && first.allowed != c.allowed {
			t.Errorf("%s: have %q, want %q: %+v", name, have, c.want, first)
		}
	}
}

// What is known of addresses, protocols and ports counts.
func TestMatches(t *testing.T) {
	p := packet{in: "eth0", proto: "tcp", port: 8080, states: []string{"NEW", "DNAT"}, src: everything(false)}
	for spec, want := range map[string]answer{
		"-p tcp -m tcp --dport 8080 -j DROP":                                yes,
		"-p udp -m udp --dport 8080 -j DROP":                                no,
		"-p tcp -m tcp --dport 8000:8090 -j DROP":                           yes,
		"-p tcp -m multiport --dports 22,8081:8090 -j DROP":                 no,
		"-p tcp -m multiport ! --dports 22,8081:8090 -j DROP":               yes,
		"-p tcp -m multiport --dports 22,8080 -j DROP":                      yes,
		"-s 10.0.0.0/8 -j DROP":                                             maybe,
		"! -s 10.0.0.0/8 -j DROP":                                           maybe,
		"-s 0.0.0.0/0 -j DROP":                                              yes,
		"-m addrtype --dst-type LOCAL -j DROP":                              yes,
		"-m conntrack --ctstate DNAT -j DROP":                               yes,
		"-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP":         no,
		"-m comment --comment \"-i lo\" -j DROP":                            yes,
		"-m set --match-set bad src -j DROP":                                maybe,
		"-i lo -m set --match-set bad src -j DROP":                          no,
		"-m mark --mark 0x1 -j DROP":                                        maybe,
		"-m limit --limit 3/min -j DROP":                                    maybe,
		"-i eth0 -m conntrack --ctstate NEW -m comment --comment x -j DROP": yes,
	} {
		if got := parseRule(spec).match(p); got != want {
			t.Errorf("%s: have %d, want %d", spec, got, want)
		}
	}
}

// A rule of nftables' own that decides by what isn't known leaves it open what drops behind it.
func TestNativeRulesInDoubt(t *testing.T) {
	const vmap = `{"nftables": [
		{"chain": {"family": "inet", "table": "x", "name": "f", "hook": "forward", "policy": "drop"}},
		{"rule": {"family": "inet", "table": "x", "chain": "f", "handle": 4, "expr": [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@links"}}]}}]}`
	list, err := parseNft(vmap)
	if err != nil {
		t.Fatal(err)
	}
	sets := list.rulesets("inet", "x")
	if len(sets) != 2 || sets[0].ipv6 || !sets[1].ipv6 {
		t.Fatalf("%+v", sets)
	}
	if first, _, unsure := sets[0].drops("f", packet{in: "br0", out: "eth0"}); first != nil || unsure != "nft inet x f rule 1 (handle 4)" {
		t.Errorf("%+v, in doubt at %q", first, unsure)
	}
	if _, err := parseNft("nonsense"); err == nil {
		t.Error("nonsense is taken for a list of rules")
	}
}

// Nothing that others write, however it is written, breaks the reading of rules.
func FuzzRules(f *testing.F) {
	f.Add("*filter\n:FORWARD DROP [0:0]\n:a - [0:0]\n-A FORWARD -j a\n-A a ! -i \"x y\" -j DROP\n", `{"nftables":[{"rule":{"chain":"f","expr":[{"match":{"op":"==","right":{"set":["a"]}}}]}}]}`)
	f.Add("*filter\n-A\n-A X\n:\n: -\n", `{"nftables":[{"chain":null}]}`)
	f.Fuzz(func(t *testing.T, text, native string) {
		p := packet{in: "br0", out: "eth0", states: []string{"NEW"}}
		set, _ := parseSaved(text)
		if first, _, _ := set.drops("FORWARD", p); first != nil {
			_, _ = first.where(), first.remedy()
		}
		if list, err := parseNft(native); err == nil {
			for _, s := range list.rulesets("inet", "t") {
				for _, c := range s.chains {
					s.drops(c.name, p)
				}
			}
		}
	})
}

// Where nothing can be asked, each check says that it can't tell, and none takes long or panics.
func TestNothingAnswers(t *testing.T) {
	broken := errors.New("it is broken")
	env := Env{
		Root: t.TempDir(), Sysctls: t.TempDir(), Name: "mybr", PluginDir: "/nowhere", StateDir: "/nowhere", RunDir: "/nowhere", Now: time.Now,
		Run:     func(context.Context, string, ...string) (string, error) { return "", broken },
		Process: func(context.Context) (Process, error) { return Process{}, broken },
		View:    func(context.Context) (view.View, error) { return view.View{}, broken },
		Docker:  func(context.Context, string) ([]byte, error) { return []byte("nonsense"), nil },
	}
	report, err := Run(t.Context(), env)
	if err != nil || len(report.Results) != len(Checks()) {
		t.Fatalf("%d results, %v", len(report.Results), err)
	}
	for _, r := range report.Results {
		if (r.Check == "running" || r.Check == "plugin-socket") != (r.Verdict == Fault) {
			t.Errorf("%+v", r)
		}
	}
	if report.Worst() != Fault || report.Results[0].Verdict != Fault {
		t.Errorf("the worst is not first: %+v", report.Results[0])
	}
	if _, err := Run(t.Context(), env, "mtu", "nope"); err == nil || !strings.Contains(err.Error(), `"nope"`) {
		t.Errorf("an unknown check: %v", err)
	}
}

// That --spoof does nothing is said, worse if somebody has asked for it, and nothing else then; frames that were refused, or
// counted, are those of a container where Docker names it.
func TestSenders(t *testing.T) {
	const refused = `{"nftables":[{"metainfo":{}},{"set":{"family":"bridge","name":"refused","table":"mybr-spoof","elem":[
		{"elem":{"val":"veth1","counter":{"packets":1,"bytes":60}}},{"elem":{"val":"veth2","counter":{"packets":0,"bytes":0}}}]}}]}`
	table := `{"nftables":[{"metainfo":{}},{"table":{"family":"bridge","name":"mybr-spoof","handle":1}}]}`
	for _, c := range []struct {
		name, unchecked, tables string
		asked                   bool
		fails                   error
		want                    Verdict
		seen                    string
	}{
		{"refused", "", table, false, nil, Note, "1 frame of container web on br0 (veth1) refused; 9 frames of an endpoint that is not known (veth3) counted, and not refused"},
		{"no table", "", `{"nftables":[{"metainfo":{}}]}`, false, nil, OK, "no container's sender is checked"},
		{"no nft", "", "", false, &exec.Error{Name: "nft", Err: exec.ErrNotFound}, OK, "nft is not installed: frames that were refused can't be counted from here, and the log of mybr tells of them"},
		{"nft fails", "", "", false, errors.New("no permission"), Unknown, "no permission"},
		{"nonsense", "", "[", false, nil, Unknown, "what nft prints: unexpected end of JSON input"},
		{"lacking", "--spoof audit does nothing: no bridges", "", true, errors.New("no such family"), Warning, "--spoof audit does nothing: no bridges"},
		{"lacking by default", "--spoof refuse, the default", "", false, errors.New("no such family"), Note, "--spoof refuse, the default"},
	} {
		env := Env{Now: time.Now, Process: func(context.Context) (Process, error) {
			return Process{Unchecked: c.unchecked, UncheckedAsked: c.asked}, nil
		},
			View: func(context.Context) (view.View, error) {
				return view.View{Endpoints: []view.Endpoint{{ID: "1", Veth: "veth1", Bridge: "br0", Container: "web"}}}, nil
			},
			Run: func(_ context.Context, name string, args ...string) (string, error) {
				switch line := strings.Join(append([]string{name}, args...), " "); {
				case c.fails != nil:
					return "", c.fails
				case line == "nft -j list tables bridge":
					return c.tables, nil
				case line == "nft -j list set bridge mybr-spoof refused":
					return refused, nil
				case line == "nft -j list set bridge mybr-spoof audited":
					return `{"nftables":[{"metainfo":{}},{"set":{"family":"bridge","name":"audited","table":"mybr-spoof","elem":[
						{"elem":{"val":"veth3","counter":{"packets":9,"bytes":540}}},{"elem":{"val":"veth4","counter":{"packets":0,"bytes":0}}}]}}]}`, nil
				default:
					return "", fmt.Errorf("%s: not expected", line)
				}
			}}
		report, err := Run(t.Context(), env, "senders")
		if err != nil {
			t.Fatal(err)
		}
		if r := report.Results[0]; r.Verdict != c.want || strings.Join(r.Seen, "; ") != c.seen || len(r.Mend) > 0 {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

// A command that hangs, or says too much, is an error of the check.
func TestExec(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := Exec(ctx, "sleep", "30"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	if _, err := Exec(t.Context(), "sh", "-c", "echo oh no >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3: oh no") {
		t.Errorf("%v", err)
	}
	if _, err := Exec(t.Context(), "no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// A map of verdicts counts as a rule for each of its elements, and what limits a rule leaves it
// open whether it drops.
func TestNativeStatements(t *testing.T) {
	const state = `{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", {"accept": null}], ["related", {"accept": null}], ["invalid", {"drop": null}]]}}}`
	const links = `{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["lo", {"accept": null}], ["br0", {"jump": {"target": "s"}}], ["*", {"drop": null}]]}}}`
	const drop = `{"drop": null}`
	out := packet{in: "br0", out: "eth0", states: []string{"NEW"}}
	for name, c := range map[string]struct {
		f, s    []string // the rules of the base chain and of another
		policy  string
		want    string
		allowed bool
	}{
		"the policy behind a map of states": {f: []string{state}, policy: "drop", want: "f: its policy"},
		"a map of states alone":             {f: []string{state}, policy: "accept"},
		"a chain that a map leads to":       {f: []string{state, links}, s: []string{drop}, policy: "accept", want: "s rule 1 (handle 1)"},
		"what no element is for":            {f: []string{links}, s: []string{`{"return": null}`}, policy: "accept"},
		"behind a map":                      {f: []string{state, drop}, policy: "accept", want: "f rule 2 (handle 2)"},
		"what is counted":                   {f: []string{`{"counter": {"packets": 0, "bytes": 0}}, ` + drop}, policy: "accept", want: "f rule 1"},
		"what is too much":                  {f: []string{`{"limit": {"rate": 5, "per": "second", "inv": true}}, ` + drop}, policy: "accept"},
		"what is too much of each":          {f: []string{`{"set": {"op": "add", "elem": 1, "set": "@x", "stmt": []}}, ` + drop}, policy: "accept"},
		"what is not known":                 {f: []string{`{"xt": {"type": "match", "name": "u32"}}, ` + drop}, policy: "accept"},
		"a comparison of another kind": {f: []string{`{"match": {"op": ">", "left": {"meta": {"key": "iifname"}}, "right": "br0"}}, ` + drop},
			policy: "accept"},
	} {
		text := `{"nftables": [{"chain": {"name": "f", "hook": "forward", "policy": "` + c.policy + `"}}, {"chain": {"name": "s"}}`
		for chain, rules := range map[string][]string{"f": c.f, "s": c.s} {
			for i, r := range rules {
				text += fmt.Sprintf(`, {"rule": {"chain": %q, "handle": %d, "expr": [%s]}}`, chain, i+1, r)
			}
		}
		list, err := parseNft(text + "]}")
		if err != nil {
			t.Fatal(err)
		}
		first, _, unsure := list.rulesets("ip", "x")[0].drops("f", out)
		have := ""
		if first != nil {
			have = first.where()
		}
		if unsure != "" || (have == "") != (c.want == "") || !strings.Contains(have, c.want) {
			t.Errorf("%s: have %q, want %q, in doubt at %q", name, have, c.want, unsure)
		}
	}
}

// Any user can take mybr's lock: what runs there then gets into no command but that which ends it.
func TestLockOfAnotherUser(t *testing.T) {
	env := Env{Root: t.TempDir(), Name: "mybr", RunDir: "/run/mybr", Now: time.Now,
		Process: func(context.Context) (Process, error) { return Process{PID: 7, Version: "1"}, nil }, Version: "2"}
	for pid, words := range map[int]string{7: "mybr\x00serve\x00", 8: "/home/me/evil\x00"} {
		dir := filepath.Join(env.Root, "proc", strconv.Itoa(pid))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/cmdline", []byte(words), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		holder        Holder
		second        Verdict
		kills, starts string
	}{
		{Holder{Held: true, PID: 8}, Warning, "kill 7;", "nohup mybr serve"},
		{Holder{Held: true, PID: 8, Root: true}, OK, "kill 8;", "nohup /home/me/evil"}, // mybr's number is another one here
		{Holder{Held: true}, OK, "kill 7;", "nohup mybr serve"},
		{Holder{}, OK, "kill 7;", "nohup mybr serve"},
	} {
		env.Lock = func(context.Context) (Holder, error) { return c.holder, nil }
		report, err := Run(t.Context(), env, "second-mybr", "version")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range report.Results {
			text := strings.Join(r.Mend, "\n")
			switch {
			case r.Check == "second-mybr" && (r.Verdict != c.second || c.second == Warning && text != "kill 8"):
				t.Errorf("%+v: %+v", c.holder, r)
			case r.Check == "version" && !(strings.HasPrefix(text, c.kills) && strings.Contains(text, c.starts)):
				t.Errorf("%+v: %q", c.holder, text)
			}
		}
	}
}

// Whoever is in the way ends, and not the engine or the session that it is of.
func TestStop(t *testing.T) {
	env := Env{Root: t.TempDir()}
	if err := os.MkdirAll(env.path("/run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	for group, want := range map[string]string{
		"0::/system.slice/nginx.service":  "systemctl stop nginx.service",
		"0::/system.slice/docker.service": "kill 9",
		"12:pids:/system.slice/containerd.service\n1:name=systemd:/system.slice/x.service":   "kill 9",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.web@123.service": "kill 9",
		"0::/user.slice/user-0.slice/session-3.scope":                                        "kill 9",
	} {
		if err := os.MkdirAll(env.path("/proc/9"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(env.path("/proc/9/cgroup"), []byte(group+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if have := env.stop("9"); !slices.Equal(have, []string{want}) {
			t.Errorf("%s: %q, want %q", group, have, want)
		}
	}
}

// A network that comes or goes while doctor looks is known to one of the two alone, and no fault.
func TestNetworksThatComeAndGo(t *testing.T) {
	const coming, going, stays = "1111", "2222", "3333"
	views := []view.View{{Networks: []view.Network{{ID: going}}}, {Networks: []view.Network{{ID: coming}}}}
	lists := []string{`[{"Id":"` + coming + `","Name":"a","Driver":"registry:5000/me/mybr:latest"}]`, ""}
	for _, lost := range []bool{false, true} {
		lists[1] = lists[0]
		if lost {
			lists[0] = `[{"Id":"` + coming + `","Driver":"mybr"},{"Id":"` + stays + `","Name":"b","Driver":"mybr"}]`
			lists[1] = lists[0]
		}
		asked, told := 0, 0
		env := Env{Name: "mybr", PluginDir: "/run/docker/plugins", Now: time.Now,
			Process: func(context.Context) (Process, error) { return Process{}, nil },
			View:    func(context.Context) (view.View, error) { told++; return views[min(told, 2)-1], nil },
			Docker:  func(context.Context, string) ([]byte, error) { asked++; return []byte(lists[min(asked, 2)-1]), nil }}
		report, err := Run(t.Context(), env, "docker-networks")
		if err != nil {
			t.Fatal(err)
		}
		r := report.Results[0]
		switch {
		case !lost && (r.Verdict != OK || len(r.Mend) > 0):
			t.Errorf("%+v", r)
		case lost && (r.Verdict != Fault || !slices.Equal(r.Mend, []string{"docker network rm b"})):
			t.Errorf("%+v", r)
		}
	}
}

// A check that takes too long ends, and says that it has not looked at everything.
func TestManyRules(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	env := Env{Root: t.TempDir(), Now: time.Now,
		Process: func(context.Context) (Process, error) { return Process{}, nil },
		View: func(context.Context) (view.View, error) {
			return view.View{Networks: []view.Network{{ID: "1", Bridge: "br0"}}}, nil
		},
		Run: func(context.Context, string, ...string) (string, error) {
			defer cancel() // while the rules are read
			return "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n", nil
		}}
	report, err := Run(ctx, env, "forward-chain")
	if err != nil {
		t.Fatal(err)
	}
	if r := report.Results[0]; r.Verdict != Unknown || !strings.Contains(strings.Join(r.Seen, ""), "not all networks were looked at") {
		t.Errorf("%+v", r)
	}
}
