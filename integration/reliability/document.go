package reliability

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const head = `# What mybr survives

Each row is a fault that a test brings about while traffic runs through the host: a TCP stream to a published port, which must not break; new TCP connections to it, and datagrams, every 20 ms; pings from a container to the LAN. *Longest gap* is the longest time that any of these went without an answer, in all tries; about 20 ms is none. *Bound* is what the test allows where the machine has processors free, and in proportion more where it has not. "–" stands where no traffic runs, and the test looks at what is there afterwards.

`

// Measured is what was seen of a row.
type Measured struct {
	Tried, Survived int
	Gap             time.Duration // the longest
}

// Measure sums attempts up, by fault.
func Measure(attempts []Attempt) map[string]Measured {
	seen := map[string]Measured{}
	for _, a := range attempts {
		m := seen[a.Fault]
		m.Tried++
		m.Gap = max(m.Gap, a.Gap)
		if a.Survived {
			m.Survived++
		}
		seen[a.Fault] = m
	}
	return seen
}

// Document is docs/reliability.md: the rows, what was seen of them, and where.
func Document(seen map[string]Measured, machine string) string {
	var b strings.Builder
	b.WriteString(head)
	fmt.Fprintf(&b, "Made by `make reliability` on %s. `make reliability RUN=TestNAME` measures the rows of one test anew.\n", machine)
	for _, kind := range Kinds() {
		var lines []string
		for _, r := range Rows() {
			if r.Kind == kind {
				lines = append(lines, r.line(seen[r.Fault]))
			}
		}
		if len(lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s%s\n\n", strings.ToUpper(kind[:1]), kind[1:])
		b.WriteString("| fault | times tried | survived | longest gap | bound | test |\n| --- | ---: | ---: | ---: | ---: | --- |\n")
		b.WriteString(strings.Join(lines, "\n") + "\n")
	}
	return b.String()
}

// line is a row of the document's tables.
func (r Row) line(m Measured) string {
	return fmt.Sprintf("| %s | %d | %d | %s | %s | %s |", r.Fault, m.Tried, m.Survived, r.shown(m.Gap), r.shown(r.Bound), r.shownTest())
}

// shown is a time in milliseconds, or that no traffic runs.
func (r Row) shown(d time.Duration) string {
	if r.Bound == 0 {
		return "–"
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

func (r Row) shownTest() string {
	if r.Pkg == "" {
		return fmt.Sprintf("`%s`", r.Test)
	}
	return fmt.Sprintf("`%s` in %s", r.Test, r.Pkg)
}

// ParseDocument reads what a document says was seen, by fault.
func ParseDocument(text string) (map[string]Measured, error) {
	seen := map[string]Measured{}
	for line := range strings.Lines(text) {
		line, isRow := strings.CutPrefix(strings.TrimSpace(line), "| ")
		cells := strings.Split(strings.TrimSuffix(line, " |"), " | ")
		if !isRow || cells[0] == "fault" || cells[0] == "---" {
			continue
		}
		if len(cells) != 6 {
			return nil, fmt.Errorf("%d cells in a row, want 6: %s", len(cells), line)
		}
		var m Measured
		var err error
		if m.Tried, err = strconv.Atoi(cells[1]); err == nil {
			m.Survived, err = strconv.Atoi(cells[2])
		}
		if err == nil && cells[3] != "–" {
			m.Gap, err = time.ParseDuration(strings.ReplaceAll(cells[3], " ", ""))
		}
		if err != nil {
			return nil, fmt.Errorf("row %s: %w", cells[0], err)
		}
		seen[cells[0]] = m
	}
	return seen, nil
}
