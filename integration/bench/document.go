package bench

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// RecordsDir is where the figures of the document are, one file for each row.
const RecordsDir = "integration/bench/records"

const documentHead = `# How fast mybr is

mybr beside Docker's own bridge driver. Each driver has an engine of its own, so that no packet passes rules of another driver's, and no driver works because of what another one does; all of them run at the same time on one machine and have their turn in each round. Figures are medians. The interval behind a figure is where it would lie in 95 of 100 repetitions, by a bootstrap over the rounds.

- **bridge** is Docker's own driver as shipped, **bridge-noproxy** the same with ` + "`--userland-proxy=false`" + `.
- **mybr-…** is mybr with that ` + "`--firewall`" + `.
- **floor** is a driver that answers Docker at once, with veth pairs made before, and writes no rule: what Docker itself takes.

Ratios are what to look at: times are the machine's as much as mybr's. *Guard* is what ` + "`make bench-quick`" + ` keeps for each change; where the bound is not met yet it is the figure of today, with room.

`

// Document is docs/performance.md. The records are those of Read.
func Document(records []Record) string {
	var b strings.Builder
	b.WriteString(documentHead)
	b.WriteString("Made by `make bench`; `make bench RUN='^connect$'` measures one row anew, and of the others the document says what `" + RecordsDir + "` has.\n\n")
	b.WriteString("| what | bound | met | measured |\n| --- | --- | --- | --- |\n")
	measured := map[string]Record{}
	for _, r := range records {
		measured[r.Row] = r
	}
	for _, row := range Rows() {
		r, ok := measured[row.ID]
		if !ok {
			fmt.Fprintf(&b, "| %s | %s | – | not yet |\n", row.What, row.Want)
			continue
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", row.What, row.ID, row.Want, tally(row.Verdicts(NewSet(r)), r.Failures), r.When)
	}
	for _, row := range Rows() {
		if r, ok := measured[row.ID]; ok {
			section(&b, row, r, NewSet(records...))
		}
	}
	b.WriteString("\n" + profiles)
	return b.String()
}

// profiles says what the slowest paths' time was and is. What is in it was measured by hand, with
// the commands that it has.
//
//go:embed profiles.md
var profiles string

// tally is how many bounds are met.
func tally(all []Verdict, failures []Failure) string {
	met := 0
	for _, v := range all {
		if v.Met {
			met++
		}
	}
	total := len(all) + len(failures)
	switch {
	case total == 0:
		return "–"
	case met == total:
		return "yes"
	case met == 0:
		return "no"
	}
	return fmt.Sprintf("%d of %d", met, total)
}

func section(b *strings.Builder, row Row, r Record, all Set) {
	fmt.Fprintf(b, "\n## %s\n\n%s%s: %s.\n\n", row.ID, strings.ToUpper(row.What[:1]), row.What[1:], row.Want)
	fmt.Fprintf(b, "Measured on %s: %s, mybr %s.", r.When, r.Machine, r.Version)
	if !Rests(r.Busy) {
		fmt.Fprintf(b, " **The machine did something else as well when it began (%.1f processors were busy)**: the figures are not to be relied upon.", r.Busy)
	}
	b.WriteString("\n\n")
	for _, p := range Pictures() {
		if p.Row == row.ID && !p.Plot(all).Empty() {
			fmt.Fprintf(b, "![%s](%s)\n\n", p.Title, p.File)
		}
	}
	if verdicts := row.Verdicts(NewSet(r)); len(verdicts) > 0 {
		b.WriteString("| driver | engine | figure | measured | interval | bound | guard | met |\n| --- | --- | --- | ---: | --- | ---: | ---: | --- |\n")
		for _, v := range verdicts {
			b.WriteString(v.line())
		}
		b.WriteByte('\n')
		if row.Short != "" && slices.ContainsFunc(verdicts, func(v Verdict) bool { return !v.Met }) {
			fmt.Fprintf(b, "**What is not met, and why:** %s\n\n", row.Short)
		}
	}
	for _, f := range r.Failures {
		fmt.Fprintf(b, "`%s` can't be done: `%s`\n\n", f.Key, strings.ReplaceAll(strings.TrimSpace(f.Err), "`", "'"))
	}
	if len(r.Samples) > 0 {
		values(b, r)
	}
}

// line is a verdict as a line of a table.
func (v Verdict) line() string {
	met := "no"
	if v.Met {
		met = "yes"
	}
	if v.Unsure() {
		met += ", within the noise"
	}
	guard := "–"
	if v.Guard != 0 {
		guard = v.Sign() + " " + Show(v.Guard, v.Unit)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s %s | %s | %s |\n",
		v.Mybr, v.Engine, v.What, Show(v.Value, v.Unit), v.Interval(), v.Sign(), Show(v.Limit, v.Unit), guard, met)
}

// values lists the medians, a column for each driver.
func values(b *strings.Builder, r Record) {
	set := NewSet(r)
	drivers := set.Params("driver")
	slices.SortFunc(drivers, func(a, b string) int { return driverOrder(a) - driverOrder(b) })
	byName := map[Key]map[string]Sample{}
	var order []Key
	for _, s := range r.Samples {
		name := s.Key.Without("driver")
		if byName[name] == nil {
			byName[name] = map[string]Sample{}
			order = append(order, name)
		}
		byName[name][s.Key.Param("driver")] = s
	}
	fmt.Fprintf(b, "Medians, with half of what the middle half of the rounds spans, and the number of rounds:\n\n| | %s |\n| --- |%s\n",
		strings.Join(drivers, " | "), strings.Repeat(" ---: |", len(drivers)))
	for _, name := range order {
		fmt.Fprintf(b, "| %s |", words(name))
		for _, driver := range drivers {
			s, ok := byName[name][driver]
			if !ok {
				b.WriteString(" – |")
				continue
			}
			fmt.Fprintf(b, " %s ± %.0f %% (%d) |", Show(Median(s.Values), s.Unit), 100*Spread(s.Values), len(s.Values))
		}
		b.WriteByte('\n')
	}
}

// words is a key as a reader wants it.
func words(key Key) string {
	parts := strings.Split(string(key), "/")
	for i, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		parts[i+1] = name + " " + value
	}
	return strings.Join(parts, ", ")
}

// Files are the document and its pictures, by their names in the document's folder. What
// has no values has no picture.
func Files(records []Record) map[string][]byte {
	files := map[string][]byte{"performance.md": []byte(Document(records))}
	all := NewSet(records...)
	for _, p := range Pictures() {
		if drawn := p.Plot(all); !drawn.Empty() {
			files[p.File] = drawn.SVG()
		}
	}
	return files
}
