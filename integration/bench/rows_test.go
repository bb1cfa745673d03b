package bench

import (
	"regexp"
	"strings"
	"testing"
)

// Rows have names for files and headings of their own, and their bounds are of keys that say
// for which engine and driver.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range Rows() {
		if seen[row.ID] || !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(row.ID) || row.What == "" || row.Want == "" {
			t.Errorf("row %+v", row)
		}
		seen[row.ID] = true
		what := map[string]bool{}
		for _, b := range row.Bounds(Case{"28.5", "mybr-iptables"}) {
			if what[b.What] {
				t.Errorf("%s: two bounds of %s", row.ID, b.What)
			}
			what[b.What] = true
			if b.Limit <= 0 || b.Guard < 0 || len(b.Num) == 0 {
				t.Errorf("%s: %+v", row.ID, b)
			}
			// What is guarded before it is reached can be no more than what is wanted.
			if b.Guard != 0 && !b.keeps(b.Limit, b.Guard) {
				t.Errorf("%s: %s is guarded at %v, beyond its limit %v", row.ID, b.What, b.Guard, b.Limit)
			}
			if b.Guard != 0 && !row.Quick {
				t.Errorf("%s: %s is guarded, but bench-quick doesn't measure the row", row.ID, b.What)
			}
			for _, term := range append(append([]Term(nil), b.Num...), b.Den...) {
				if term.Key.Param("engine") == "" || term.Key.Param("driver") == "" {
					t.Errorf("%s: %s: key %s", row.ID, b.What, term.Key)
				}
			}
		}
		if len(what) == 0 {
			t.Errorf("%s has no bound", row.ID)
		}
	}
	for _, p := range Pictures() {
		if !seen[p.Row] || !strings.HasPrefix(p.File, "performance-") {
			t.Errorf("picture %+v", p)
		}
	}
}

func TestKey(t *testing.T) {
	key := PathKey("UDP", "28.5", Bridge, Published, 100, 5000)
	if key != "UDP/engine=28.5/driver=bridge/path=published/networks=100/published=5000" {
		t.Error(key)
	}
	if key.Name() != "UDP" || key.Param("networks") != "100" || key.Param("pa") != "" {
		t.Errorf("%q %q %q", key.Name(), key.Param("networks"), key.Param("pa"))
	}
	if have := key.Without("driver", "networks"); have != "UDP/engine=28.5/path=published/published=5000" {
		t.Error(have)
	}
}
