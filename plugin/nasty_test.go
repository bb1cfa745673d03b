package plugin

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mybr/mybr/internal/store"
)

// nasty are JSON values that mean something to some reader of rules, files, logs or
// terminals, or that are of another type than is wanted.
func nasty() []string {
	texts := []string{
		"", " ", "\n", "a\nb", "a\r\nlevel=info msg=call", "a\x00b", "\x1b[2J\x1b]0;x\x07", "\u009b31m", "\u202ecod.exe", "\u2028", `"`, `'`, "`id`", "$(id)", "a;b", `a\b`,
		"-j ACCEPT", "br0 -j ACCEPT", "eth+", "!", "*", "%n%s", "../../../etc/passwd", ".", "..", "/", "lo", "all", "default",
		strings.Repeat("x", 16), strings.Repeat("x", 70000), "\ufffd", "é", "0", "-1", "65536", "1e9", "true", "null",
		"0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "::", "::1", "::ffff:10.0.0.1", "fe80::1%eth0", "10.198.1.0/24", "10.198.1.0/33", "0.0.0.0/0", "::/0", "010.1.1.1/8",
		"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:02:03:04:05:06", "02:42:0a:c6:01:4d:00:00",
	}
	values := []string{"null", "true", "0", "-1", "1e999", "65536", "0.5", "[]", "{}", `[null]`, `[{}]`, `{"a":[{"b":null}]}`, "\"\xff\xfe\"", `"\ud800"`}
	for _, s := range texts {
		text, _ := json.Marshal(s) // strings always encode
		values = append(values, string(text))
	}
	return values
}

// leaves returns how many values there are in a JSON text, below its top.
func leaves(t testing.TB, body string) int {
	_, n := replaced(t, body, -1, "")
	return n
}

// replaced returns a JSON text with its nth value, in the order of the keys, replaced by
// another one, which need not be JSON. Of an array only the first value counts. count is how many values there are.
func replaced(t testing.TB, body string, nth int, by string) (text string, count int) {
	t.Helper()
	var top any
	if err := json.Unmarshal([]byte(body), &top); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	const mark = "\x01replaced\x01"
	var walk func(v any) any
	next := func(v any) any {
		if count++; count-1 == nth {
			return mark
		}
		return walk(v)
	}
	walk = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				v[k] = next(v[k])
			}
		case []any:
			if len(v) > 0 { // the others are alike
				v[0] = next(v[0])
			}
		}
		return v
	}
	out, err := json.Marshal(walk(top))
	if err != nil {
		t.Fatal(err)
	}
	marked, _ := json.Marshal(mark) // strings always encode
	return strings.Replace(string(out), string(marked), by, 1), count
}

// The values of a request of each kind that has more than IDs are replaced by nasty ones.
func TestNastyFields(t *testing.T) {
	lifecycle := sent(t)
	var h *handler
	var records *store.Store
	fresh := func() {
		h, records = recorder(t)
		begin(t, h, records, lifecycle)
	}
	last := map[string]string{}
	for _, c := range lifecycle {
		last[c.path] = c.body
	}
	for _, c := range lifecycle {
		if c.body == "" || last[c.path] != c.body || leaves(t, c.body) < 4 { // FuzzField takes all
			continue
		}
		fresh()
		for n := range leaves(t, c.body) {
			for i, v := range nasty() {
				if (i+n)%4 > 0 { // neighbours are given the others
					continue
				}
				body, _ := replaced(t, c.body, n, v)
				if ask(t, h, records, c.path, []byte(body)); t.Failed() {
					t.Fatalf("%s %s", c.path, body)
				}
				if s := records.Snapshot(); len(s.Networks) != 1 || len(s.Endpoints) != 1 || len(s.Endpoints[0].Ports) == 0 {
					fresh()
				}
			}
		}
	}
}

// FuzzField replaces one value of a request that Docker sends, by a string or by any JSON.
func FuzzField(f *testing.F) {
	lifecycle := sent(f)
	for i, v := range nasty() {
		f.Add(uint(7*i), uint(i), v, false)
	}
	for i, text := range []string{"br-x", "10.198.1.200/24", "fd00:198::200/64", "routed", "eth0:eth1", "10.9.0.0/16 via 10.198.1.7", "mybr-local/172.18.0.0/16", "172.18.0.9"} {
		f.Add(uint(5*i), uint(i), text, true)
	}
	f.Fuzz(func(t *testing.T, call, field uint, value string, text bool) {
		c := lifecycle[call%uint(len(lifecycle))]
		if c.body == "" {
			return
		}
		if text {
			quoted, _ := json.Marshal(value) // strings always encode
			value = string(quoted)
		}
		h, records := recorder(t)
		begin(t, h, records, lifecycle)
		body, _ := replaced(t, c.body, int(field%uint(leaves(t, c.body))), value)
		ask(t, h, records, c.path, []byte(body))
	})
}

// What a client sends can't make other lines of an answer or the log, nor what a terminal
// acts on, and is not repeated in full length.
func TestNothingNastyIsSaid(t *testing.T) {
	h, records := recorder(t)
	begin(t, h, records, sent(t))
	for _, v := range nasty() {
		for _, c := range []sentCall{
			{"/NetworkDriver.CreateNetwork", `{"NetworkID":%[1]s}`},
			{"/NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":{"com.docker.network.generic":{%[1]s:"x"}}}`},
			{"/NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":{"com.docker.network.generic":{"com.docker.network.bridge.name":%[1]s}}}`},
			{"/NetworkDriver.CreateNetwork", `{"NetworkID":"a","Options":{"com.docker.network.enable_ipv4":%[1]s}}`},
			{"/NetworkDriver.CreateNetwork", `{"NetworkID":[%[1]s]}`}, {"/NetworkDriver.CreateNetwork", `%[1]s`}, {"/NetworkDriver.CreateNetwork", `{"a":1}%[1]s`},
			{"/NetworkDriver.CreateEndpoint", `{"NetworkID":%[1]s,"EndpointID":%[1]s}`},
			{"/NetworkDriver.Join", `{"NetworkID":%[1]s,"EndpointID":%[1]s,"SandboxKey":%[1]s}`},
			{"/IpamDriver.RequestPool", `{"AddressSpace":%[1]s}`}, {"/IpamDriver.RequestPool", `{"AddressSpace":"mybr-local","Pool":%[1]s}`},
			{"/IpamDriver.RequestAddress", `{"PoolID":%[1]s}`}, {"/IpamDriver.ReleaseAddress", `{"PoolID":"a","Address":%[1]s}`},
		} {
			log, said := newLog()
			h.log = log
			status, text := post(h, c.path, fmt.Appendf(nil, c.body, v))
			var answer struct{ Err string }
			if err := json.Unmarshal(text, &answer); err != nil {
				t.Fatal(err)
			}
			if status != http.StatusOK && (Printable(answer.Err) != answer.Err || len(answer.Err) > longestError+8) {
				t.Errorf("%s says %q", c.path, answer.Err)
			}
			entries := said.entries(t)
			if len(entries) != 1 {
				t.Fatalf("%d entries for a call", len(entries))
			}
			for field, value := range entries[0] {
				if s := fmt.Sprint(value); Printable(s) != s || len(s) > longestError+8 {
					t.Errorf("%s: the log's %s is %q", c.path, field, s)
				}
			}
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain é “x” \"y\" \\ 'z' 漢": "plain é “x” \"y\" \\ 'z' 漢", "\ufffd": "\ufffd",
		"a\nb\tc\r\x00": `a\nb\tc\r\x00`, "\x1b[31mred": `\x1b[31mred`, "\u009b1m\x7f": `\u009b1m\x7f`, "\xff\xc3": `\xff\xc3`, "\u202ex\u2066": `\u202ex\u2066`,
	} {
		if have := Printable(text); have != want || !utf8.ValidString(have) {
			t.Errorf("%q is %q, want %q", text, have, want)
		}
	}
}

// A program gives itself the name that is said of it, when it has what mybr needs.
func TestNamesOfProgramsArePrintable(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	cmd.Args[0] = "\x1b[2J\nmsg=x\u202e"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	}()
	// Start returns in the middle of execve(2): the arguments are there a moment later.
	waitFor(t, func() bool { return process(cmd.Process.Pid) != fmt.Sprintf("pid %d", cmd.Process.Pid) })
	if have, want := process(cmd.Process.Pid), fmt.Sprintf(`pid %d (\x1b[2J\nmsg=x\u202e 60)`, cmd.Process.Pid); have != want {
		t.Errorf("have %s, want %s", have, want)
	}
}
