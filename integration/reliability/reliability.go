// Package reliability is the list of faults that mybr survives, what each may cost, and
// the record of each time it was tried. docs/reliability.md is made from both.
//
// A fault is a Row, and a test tries it:
//
//	reliability.Try(t, "iptables -F", func() time.Duration {
//		tr := w.Traffic(…)
//		w.Host.Run("iptables", "-F")
//		healed(t, w)
//		return tr.Stop().Gap()
//	})
//
// Each package of tests adds the rows of its own in a file rows_NAME.go. The test of this
// package compares them with the tests and with the document.
package reliability

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Row is one fault.
type Row struct {
	Fault string        // what happens, in the words of the one whose doing it is
	Kind  string        // of fault, one of Kinds
	Bound time.Duration // how long traffic may be interrupted, where processors are free; 0: no traffic runs
	Test  string        // TestNAME or TestNAME/ROW, the only one that tries it
	Pkg   string        // of the test, from the top of the module; "": integration
}

// The kinds of fault, in the order of the document.
const (
	Firewall = "the host's firewall is changed by others"
	Links    = "links, addresses and settings of the host are changed by others"
	Process  = "mybr ends or is started again"
	Daemons  = "dockerd or another daemon ends or is started again"
	Churn    = "networks and containers come and go"
	Storage  = "disk, state file and clock"
	Input    = "what is sent to mybr is wrong"
)

// Kinds is the kinds of fault.
func Kinds() []string { return []string{Firewall, Links, Process, Daemons, Churn, Storage, Input} }

// rows is filled by add.
var rows []Row

// add is called by init functions alone.
func add(more ...Row) { rows = append(rows, more...) }

// Rows is every row, by kind and then by fault.
func Rows() []Row {
	sorted := slices.Clone(rows)
	slices.SortStableFunc(sorted, func(a, b Row) int {
		return cmp.Or(cmp.Compare(slices.Index(Kinds(), a.Kind), slices.Index(Kinds(), b.Kind)), cmp.Compare(a.Fault, b.Fault))
	})
	return sorted
}

// Package is the directory of the row's test, from the top of the module.
func (r Row) Package() string { return cmp.Or(r.Pkg, "integration") }

// Attempt is one time that a fault was tried: a line of the record.
type Attempt struct {
	Fault    string
	Survived bool
	Gap      time.Duration // the longest time without an answer; 0: no traffic ran
	Test     string
}

// T is what Try needs of *testing.T.
type T interface {
	Helper()
	Name() string
	Failed() bool
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// FileEnv names the file that attempts are recorded in. Without it that is File, below
// the top of the module.
const (
	FileEnv = "MYBR_RELIABILITY_FILE"
	File    = "build/reliability.jsonl"
)

// Try tries a fault, once: f brings it about, waits until it is healed, and gives the
// longest time that traffic was interrupted. The fault is survived if f lets the test go on
// and that time is within the row's bound. Either is recorded.
func Try(t T, fault string, f func() time.Duration) {
	t.Helper()
	i := slices.IndexFunc(rows, func(r Row) bool { return r.Fault == fault })
	if i < 0 || !owns(rows[i].Test, t.Name()) {
		t.Fatalf("package reliability has no row %q for %s", fault, t.Name())
		return
	}
	if t.Failed() {
		return // what fails from here on is not known
	}
	a := Attempt{Fault: fault, Test: t.Name()}
	ended := false
	defer func() {
		a.Survived = ended && !t.Failed()
		if err := record(a); err != nil {
			t.Errorf("record %s: %v", fault, err)
		}
	}()
	a.Gap = f()
	if bound := time.Duration(float64(rows[i].Bound) * busy()); bound > 0 && a.Gap > bound {
		t.Errorf("%s: traffic was interrupted for %v, want at most %v", fault, a.Gap.Round(time.Millisecond), bound)
	}
	ended = true
}

// busy is how many processes have wanted to run for each that a processor has time for, of
// the last minute (proc_loadavg(5)); at least 1. Two for each processor are what a row alone
// takes: dockerd and the traffic beside mybr.
func busy() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	var load float64
	if err == nil {
		_, err = fmt.Sscan(string(text), &load)
	}
	if err != nil {
		return 1
	}
	return max(1, load/float64(2*runtime.NumCPU()))
}

// owns tells whether a row's test is the one of that name, or has it as a subtest.
func owns(test, name string) bool {
	return name == test || strings.HasPrefix(name, test+"/")
}

// record adds a line to the file. Tests of several processes do at the same time: a short
// write to a file that is open for appending is not torn (write(2)).
func record(a Attempt) error {
	path, err := file()
	if err != nil {
		return err
	}
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return cmp.Or(err, f.Close())
}

func file() (string, error) {
	if path := os.Getenv(FileEnv); path != "" {
		return path, nil
	}
	top, err := moduleDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(top, File)
	return path, os.MkdirAll(filepath.Dir(path), 0o755)
}

// moduleDir is the top of this module's checkout.
var moduleDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

// Attempts reads a record.
func Attempts(path string) ([]Attempt, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []Attempt
	for line := range strings.Lines(string(text)) {
		var a Attempt
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			return nil, fmt.Errorf("read %s: %q: %w", path, line, err)
		}
		all = append(all, a)
	}
	return all, nil
}
