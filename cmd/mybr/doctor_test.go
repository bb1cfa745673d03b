package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/doctor"
)

func TestPrintReport(t *testing.T) {
	var fine []doctor.Result
	for _, name := range doctor.Names() {
		fine = append(fine, doctor.Result{Check: name, Verdict: doctor.OK, Seen: []string{"all is well"}})
	}
	results := append([]doctor.Result{
		{Check: "a", Verdict: doctor.Fault, Seen: []string{"a rule drops it", nasty}, Means: "It does not work.", Mend: []string{"first " + nasty, "second"}},
		{Check: "b", Verdict: doctor.Unknown, Seen: []string{"no answer"}},
		{Check: "c", Verdict: doctor.Unknown, Seen: []string{"no answer"}},
		{Check: "d", Verdict: doctor.Note, Seen: []string{"worth knowing"}},
	}, fine[:12]...)
	var out strings.Builder
	if err := printReport(&out, doctor.Report{Results: results}, false); err != nil {
		t.Fatal(err)
	}
	want := `fault    a
         a rule drops it
         \x1b[2J\u009b1m\r\n\u202ex\x00\xff
         It does not work.
         $ first \x1b[2J\u009b1m\r\n\u202ex\x00\xff
         $ second
unknown  b
unknown  c
         no answer
note     d
         worth knowing
ok       running, second-mybr, plugin-socket, version, last-pass, matches, watching, denials,
         fights, descriptors, ip-forward, ipv6-forward
`
	if out.String() != want {
		t.Errorf("have\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	if err := printReport(&out, doctor.Report{Results: fine[:1]}, true); err != nil || out.String() != "ok       running\n         all is well\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// The exit status says whether something is wrong, and the environment can say what is asked.
func TestDoctorCommand(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	call := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		args = append([]string{"doctor", "--run-dir", dir, "--state-dir", dir, "--plugin-dir", dir, "--docker", "none"}, args...)
		return run(context.Background(), args, &out, &errs), out.String() + errs.String()
	}
	if code, text := call("--check", "running"); code != exitFailed || !strings.Contains(text, "mybr is not running") || !strings.Contains(text, "$ ") {
		t.Errorf("%d: %s", code, text)
	}
	if code, text := call("--check", "clock", "--check", "kernel", "--all"); code != 0 || !strings.Contains(text, "there are no records yet") {
		t.Errorf("%d: %s", code, text)
	}
	if code, text := call("--check", "nope"); code != exitUsage || !strings.Contains(text, `"nope"`) {
		t.Errorf("%d: %s", code, text)
	}
	if code, text := call("--docker", "tcp://10.0.0.1:2375"); code != exitUsage || !strings.Contains(text, "tcp://10.0.0.1:2375") {
		t.Errorf("%d: %s", code, text)
	}
	t.Setenv("MYBR_CHECK", "engine clock")
	code, text := call("-o", "json")
	var r doctor.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil || code != 0 || r.Version != doctor.Version {
		t.Fatalf("%d: %s, %v", code, text, err)
	}
	var names []string
	for _, one := range r.Results {
		names = append(names, one.Check)
	}
	if !slices.Equal(names, []string{"engine", "clock"}) || r.Results[0].Verdict != doctor.Unknown { // Docker is not asked
		t.Errorf("%+v", r)
	}
}
