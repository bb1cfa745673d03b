package parity

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// score counts predictions by what became of them.
type score struct {
	Agreed  int `json:",omitzero"` // the verdict and the addresses that the server sees were right
	Left    int `json:",omitzero"` // that it leaves the host, which was not shown to be wrong
	Unknown int `json:",omitzero"` // that it can't be told
	Missed  int `json:",omitzero"` // something else has happened
}

func (s *score) add(o score) {
	s.Agreed, s.Left, s.Unknown, s.Missed = s.Agreed+o.Agreed, s.Left+o.Left, s.Unknown+o.Unknown, s.Missed+o.Missed
}

func (s score) String() string {
	return fmt.Sprintf("agreed %d, left the host %d, unknown %d, missed %d", s.Agreed, s.Left, s.Unknown, s.Missed)
}

// scores are those of an engine's scenarios by name.
type scores map[string]score

// byFeature sums up, in the order of the table.
func (all scores) byFeature() (features []string, sums map[string]score) {
	sums = map[string]score{}
	for _, sc := range scenarios() {
		if s := all[sc.name]; s != (score{}) {
			if !slices.Contains(features, sc.feature) {
				features = append(features, sc.feature)
			}
			sum := sums[sc.feature]
			sum.add(s)
			sums[sc.feature] = sum
		}
	}
	return features, sums
}

var scoresPath = filepath.Join("testdata", "explain.json")

// loadScores reads what is kept of each engine.
func loadScores() (kept map[string]scores, err error) {
	text, err := os.ReadFile(scoresPath)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, fmt.Errorf("read %s: %w", scoresPath, err)
	}
	return kept, nil
}

// show logs how predictions fared.
func (all scores) show(t *testing.T, engine string) {
	features, sums := all.byFeature()
	var total score
	for _, f := range features {
		t.Logf("%s: %s: %v", engine, f, sums[f])
		total.add(sums[f])
	}
	t.Logf("%s: in all: %v", engine, total)
}

// judge compares with what is kept, or keeps it.
func (all scores) judge(t *testing.T, engine string) {
	kept, err := loadScores()
	if err != nil {
		t.Fatal(err)
	}
	if !*update {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if have, want := all[name], kept[engine][name]; have != want {
				t.Errorf("%s says of %s\n    %v, and it is\n    %v: go test ./integration/parity -run 'TestExplain|TestGolden' -update", scoresPath, name, want, have)
			}
		}
		return
	}
	next := scores{}
	for _, sc := range scenarios() { // those that there no longer are don't stay
		if s, ok := all[sc.name]; ok {
			next[sc.name] = s
		} else if s, ok := kept[engine][sc.name]; ok {
			next[sc.name] = s
		}
	}
	kept[engine] = next
	if err := saveScores(kept); err != nil {
		t.Fatal(err)
	}
}

// saveScores writes a line for each scenario that has anything to predict.
func saveScores(kept map[string]scores) error {
	var b strings.Builder
	b.WriteString("{")
	for i, engine := range slices.Sorted(maps.Keys(kept)) {
		fmt.Fprintf(&b, "%s\n %q: {", comma(i), engine)
		n := 0
		for _, name := range slices.Sorted(maps.Keys(kept[engine])) {
			s := kept[engine][name]
			if s == (score{}) {
				continue
			}
			line, err := json.Marshal(s)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s\n  %q: %s", comma(n), name, line)
			n++
		}
		b.WriteString("\n }")
	}
	b.WriteString("\n}\n")
	return os.WriteFile(scoresPath, []byte(b.String()), 0o644)
}

// comma stands before each but the first.
func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

const (
	agreementPath = "../../docs/troubleshooting.md"
	tableBegins   = "<!-- how predictions fared: go test ./integration/parity -run TestGolden -update -->\n"
	tableEnds     = "<!-- end -->\n"
)

// TestGoldenAgreement compares the table in the troubleshooting page with what is kept.
func TestGoldenAgreement(t *testing.T) {
	kept, err := loadScores()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(agreementPath)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(page), tableBegins)
	have, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		t.Fatalf("%s has no place for the table", agreementPath)
	}
	want := renderAgreement(kept)
	if *update {
		if err := saveScores(kept); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(agreementPath, []byte(before+tableBegins+want+tableEnds+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if have != want {
		t.Errorf("the table of %s is out of date: go test ./integration/parity -run TestGolden -update", agreementPath)
	}
}

// renderAgreement is the table: a row for each feature, four numbers for each engine.
func renderAgreement(kept map[string]scores) string {
	var b strings.Builder
	b.WriteString("| agreed, leaves, unknown, missed |")
	names := slices.Collect(slices.Values(engines()))
	slices.Reverse(names)
	all := scores{} // features of every engine, in their order
	for _, engine := range names {
		fmt.Fprintf(&b, " %s |", engine)
		for name, s := range kept[engine] {
			sum := all[name]
			sum.add(s)
			all[name] = sum
		}
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(names)) + "\n")
	features, _ := all.byFeature()
	cell := func(s score) string {
		if s == (score{}) {
			return " – |" // the engine has nothing of the kind, or was not asked
		}
		return fmt.Sprintf(" %d, %d, %d, %d |", s.Agreed, s.Left, s.Unknown, s.Missed)
	}
	totals := make([]score, len(names))
	for _, f := range features {
		fmt.Fprintf(&b, "| %s |", f)
		for i, engine := range names {
			_, sums := kept[engine].byFeature()
			totals[i].add(sums[f])
			b.WriteString(cell(sums[f]))
		}
		b.WriteString("\n")
	}
	b.WriteString("| all |")
	for _, s := range totals {
		b.WriteString(cell(s))
	}
	b.WriteString("\n")
	return b.String()
}
