package main

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/bench"
)

// Each row is measured, and what is measured is a row.
func TestPlayers(t *testing.T) {
	all := players()
	for _, row := range bench.Rows() {
		if all[row.ID] == nil {
			t.Errorf("nothing measures %s", row.ID)
		}
		delete(all, row.ID)
	}
	for id := range all {
		t.Errorf("there is no row %s", id)
	}
}

// A driver of which nothing was judged by a guard is not let by.
func TestUnguarded(t *testing.T) {
	verdict := func(driver string, guard float64, rounds int) bench.Verdict {
		key := bench.CallKey("Connect", "28.5", driver)
		r := bench.Record{}
		for range rounds {
			r.Add(key, bench.Nanoseconds, 1e6)
		}
		v, ok := bench.Bound{Num: bench.Of(key), Limit: guard, Guard: guard}.Judge(bench.NewSet(r))
		if !ok {
			t.Fatalf("%s has no verdict", key)
		}
		v.Case = bench.Case{Engine: "28.5", Mybr: driver}
		return v
	}
	drivers := []string{"mybr-a", "mybr-b"}
	for _, c := range []struct {
		what     string
		verdicts []bench.Verdict
		want     []string
	}{
		{"nothing", nil, drivers},
		{"one alone", []bench.Verdict{verdict("mybr-a", 1e6, 5)}, drivers[1:]},
		{"one without a guard", []bench.Verdict{verdict("mybr-a", 0, 5), verdict("mybr-b", 1e6, 5)}, drivers[:1]},
		{"one with too few rounds", []bench.Verdict{verdict("mybr-a", 1e6, 5), verdict("mybr-b", 1e6, 2)}, drivers[1:]},
		{"both", []bench.Verdict{verdict("mybr-b", 1e6, 5), verdict("mybr-a", 1e6, 5)}, nil},
	} {
		if have := unguarded(c.verdicts, drivers); !slices.Equal(have, c.want) {
			t.Errorf("%s: %v, want %v", c.what, have, c.want)
		}
	}
}

// Each load of a path is one of the guest's, and has a unit.
func TestLoads(t *testing.T) {
	for _, load := range bench.Loads {
		if kind := pathBlasts[load]; kind == "" || pathUnits[kind] == "" {
			t.Errorf("%s: blast %q in %q", load, kind, pathUnits[kind])
		}
	}
}

func TestChosen(t *testing.T) {
	if rows, err := chosen("^connect$", false); err != nil || len(rows) != 1 || rows[0].ID != "connect" {
		t.Errorf("%v, %v", rows, err)
	}
	if rows, err := chosen("", true); err != nil || len(rows) == 0 || len(rows) == len(bench.Rows()) {
		t.Errorf("quick: %d rows, %v", len(rows), err)
	}
	for _, wrong := range []string{"(", "no such row"} {
		if rows, err := chosen(wrong, false); err == nil {
			t.Errorf("%q: %v", wrong, rows)
		}
	}
}

// What would be ignored is refused.
func TestContradiction(t *testing.T) {
	for line, well := range map[string]bool{
		"": true, "-quick -run x -mybr x -records x -list": true, "-render -document x -records x": true, "-quick=false -rounds 2": true,
		"-run x y": false, "-quick -rounds 2": false, "-quick -document=": false, "-render -run x": false, "-render -quick": false,
	} {
		given := flag.NewFlagSet("run", flag.ContinueOnError)
		for _, name := range []string{"quick", "render", "list"} {
			given.Bool(name, false, "")
		}
		for _, name := range []string{"run", "mybr", "records", "document", "rounds"} {
			given.String(name, "", "")
		}
		if err := given.Parse(strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
		if err := contradiction(given); (err == nil) != well {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// A kernel that shows how it was built is asked.
func TestInterruptsApart(t *testing.T) {
	if _, err := interruptsApart(); err != nil {
		t.Error(err)
	}
}

func TestTicks(t *testing.T) {
	stat := filepath.Join(t.TempDir(), "stat")
	for text, want := range map[string][2]float64{
		"cpu  10 20 30 400 50 6 7 8 5 5\ncpu0 1 2 3 4 5 6 7 8 0 0\n": {81, 531}, // guests' time is in user's
		"cpu0 1 2 3 4 5 6 7 8 0 0\n":                                 {},
		"cpu  10 20\n":                                               {},
	} {
		if err := os.WriteFile(stat, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		busy, total, err := ticks(stat)
		if (err == nil) != (want[1] != 0) || busy != want[0] || total != want[1] {
			t.Errorf("%q: %v of %v, %v", text, busy, total, err)
		}
	}
}

// A processor that works is seen, whatever else the machine does.
func TestOthersBusy(t *testing.T) {
	var stop atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !stop.Load() {
		}
	}()
	busy, err := othersBusy(2, 200*time.Millisecond)
	stop.Store(true)
	<-ended
	if err != nil || busy < 0.5 || busy > float64(runtime.NumCPU())+0.1 {
		t.Errorf("%v, %v", busy, err)
	}
}
