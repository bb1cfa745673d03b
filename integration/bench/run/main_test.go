package main

import (
	"testing"

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

// A kernel that shows how it was built is asked.
func TestInterruptsApart(t *testing.T) {
	if _, err := interruptsApart(); err != nil {
		t.Error(err)
	}
}
