package reliability

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fake is a test that may fail. Fatalf does not return.
type fake struct {
	name   string
	failed bool
	said   []string
}

type fatal struct{}

func (f *fake) Helper()      {}
func (f *fake) Name() string { return f.name }
func (f *fake) Failed() bool { return f.failed }
func (f *fake) Errorf(format string, args ...any) {
	f.failed = true
	f.said = append(f.said, fmt.Sprintf(format, args...))
}
func (f *fake) Fatalf(format string, args ...any) { f.Errorf(format, args...); panic(fatal{}) }

// try is Try in a test that a Fatalf ends.
func (f *fake) try(fault string, do func() time.Duration) {
	defer func() {
		if r := recover(); r != nil && r != (fatal{}) {
			panic(r)
		}
	}()
	Try(f, fault, do)
}

func TestTry(t *testing.T) {
	before := rows
	t.Cleanup(func() { rows = before })
	rows = nil
	add(Row{Fault: "a flush", Kind: Firewall, Bound: time.Second, Test: "TestWorld/flush"})
	path := filepath.Join(t.TempDir(), "record")
	t.Setenv(FileEnv, path)
	const sub = "TestWorld/flush/legacy"

	for _, c := range []struct {
		name, fault string
		failed      bool // before
		do          func(*fake) time.Duration
		fails       bool
		want        []Attempt // recorded
	}{
		{name: sub, fault: "a flush", do: func(*fake) time.Duration { return time.Second },
			want: []Attempt{{"a flush", true, time.Second, sub}}},
		{name: "TestWorld/flush", fault: "a flush", do: func(*fake) time.Duration { return time.Hour },
			fails: true, want: []Attempt{{"a flush", false, time.Hour, "TestWorld/flush"}}},
		{name: sub, fault: "a flush", do: func(f *fake) time.Duration { f.Errorf("open"); return 0 },
			fails: true, want: []Attempt{{"a flush", false, 0, sub}}},
		{name: sub, fault: "a flush", do: func(f *fake) time.Duration { f.Fatalf("gone"); return 0 },
			fails: true, want: []Attempt{{"a flush", false, 0, sub}}},
		{name: sub, fault: "a flush", failed: true, fails: true},
		{name: sub, fault: "a flood", fails: true},
		{name: "TestWorld/flushed", fault: "a flush", fails: true},
	} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		f := &fake{name: c.name, failed: c.failed}
		f.try(c.fault, func() time.Duration {
			if c.do == nil {
				t.Errorf("%s in %s: it was tried", c.fault, c.name)
				return 0
			}
			return c.do(f)
		})
		have, err := Attempts(path)
		if err != nil || f.failed != c.fails || !reflect.DeepEqual(have, c.want) {
			t.Errorf("%s in %s: failed %v (%v), recorded %v, %v, want %v and %v", c.fault, c.name, f.failed, f.said, have, err, c.fails, c.want)
		}
	}
}

func TestDocumentIsReadBack(t *testing.T) {
	before := rows
	t.Cleanup(func() { rows = before })
	rows = nil
	add(Row{Fault: "a flush", Kind: Firewall, Bound: time.Second, Test: "TestWorld/flush"},
		Row{Fault: "`kill -9`", Kind: Process, Test: "TestKilled", Pkg: "cmd/mybr"},
		Row{Fault: "never tried", Kind: Process, Bound: time.Minute, Test: "TestNever"})
	seen := Measure([]Attempt{
		{"a flush", true, 40 * time.Millisecond, "TestWorld/flush"},
		{"`kill -9`", true, 0, "TestKilled"},
		{"a flush", false, 1200 * time.Millisecond, "TestWorld/flush"},
	})
	text := Document(seen, "a machine")
	for _, want := range []string{
		"| a flush | 2 | 1 | 1200 ms | 1000 ms | `TestWorld/flush` |",
		"| `kill -9` | 1 | 1 | – | – | `TestKilled` in cmd/mybr |",
		"| never tried | 0 | 0 | 0 ms | 60000 ms | `TestNever` |",
		"## Mybr ends or is started again\n", "on a machine.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	want := map[string]Measured{"a flush": {2, 1, 1200 * time.Millisecond}, "`kill -9`": {1, 1, 0}, "never tried": {}}
	if have, err := ParseDocument(text); err != nil || !reflect.DeepEqual(have, want) {
		t.Errorf("read back: %v, %v, want %v", have, err, want)
	}
	if have, err := ParseDocument("| a flush | 2 |\n"); err == nil {
		t.Errorf("a row of two cells: %v, want an error", have)
	}
	if have, err := ParseDocument("| a flush | many | 1 | 1 ms | 1 ms | `TestX` |\n"); err == nil {
		t.Errorf("a number that is none: %v, want an error", have)
	}
}

// A bound is for a table: a test that runs beside others has twice that.
func TestAllowance(t *testing.T) {
	for file, want := range map[string]float64{"": 2, "record": 1} {
		t.Setenv(FileEnv, file)
		if have := allowance(); have != want {
			t.Errorf("%s=%q: %v, want %v", FileEnv, file, have, want)
		}
	}
}

// What is busy only for as long as a fault is tried counts, though the last minute was idle.
func TestWatchLoad(t *testing.T) {
	if minute, running, err := load(); err != nil || minute < 0 || running < 1 {
		t.Fatalf("load: %v, %d, %v", minute, running, err)
	}
	if calm := watchLoad()(); calm < 1 {
		t.Errorf("%v, want at least 1", calm)
	}
	many := 4 * runtime.NumCPU()
	var over atomic.Bool
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2 * many))
	defer over.Store(true)
	for range 2 * many {
		go func() {
			for n := 0; !over.Load(); n++ {
			}
		}()
	}
	for deadline := time.Now().Add(time.Minute); ; {
		have := watchLoad()()
		if have >= 1.5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("more than %d threads want to run: %v, want some 2", many, have)
		}
	}
}
