package churn

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mybr/mybr/plugin"
)

// Tally is what happened in a run.
type Tally struct {
	Seed, Engine  string
	Workers       int
	Duration      time.Duration
	Commands      map[string]int // of users, by kind
	Excused       map[string]int // failures, by kind and reason
	Faults        map[string]int // thrown, by kind
	Unexplained   []string       // failures that have no reason: faults of mybr's
	Before, After plugin.Runtime
	LeftPools     int // that Docker gave up while mybr was away, see the package

	mu sync.Mutex
}

// newTally is one of nothing.
func newTally() *Tally {
	return &Tally{Commands: map[string]int{}, Excused: map[string]int{}, Faults: map[string]int{}}
}

// command counts a command of a user's, and what excuses its failure, if anything does.
func (c *Tally) command(kind, excuse string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Commands[kind]++
	if excuse != "" {
		c.Excused[kind+": "+excuse]++
	}
}

// unexplained notes a failure that nothing excuses.
func (c *Tally) unexplained(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Unexplained = append(c.Unexplained, text)
}

// threw counts something that happened to the host.
func (c *Tally) threw(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Faults[kind]++
}

// String is the report, for people.
func (c *Tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d users for %v on Docker %s, seed %s\n", c.Workers, c.Duration, c.Engine, c.Seed)
	for _, part := range []struct {
		title  string
		counts map[string]int
	}{{"commands", c.Commands}, {"failures for a reason", c.Excused}, {"thrown at the host", c.Faults}} {
		total := 0
		for _, n := range part.counts {
			total += n
		}
		fmt.Fprintf(&b, "%s: %d\n", part.title, total)
		for _, kind := range slices.Sorted(maps.Keys(part.counts)) {
			fmt.Fprintf(&b, "\t%6d  %s\n", part.counts[kind], kind)
		}
	}
	fmt.Fprintf(&b, "failures without a reason: %d\n", len(c.Unexplained))
	for _, text := range c.Unexplained {
		fmt.Fprintf(&b, "\t%s\n", text)
	}
	fmt.Fprintf(&b, "mybr before: %+v\nmybr after:  %+v\npools that were given up without mybr: %d\n", c.Before, c.After, c.LeftPools)
	return b.String()
}

// write puts the report into a file, for programs.
func (c *Tally) write(path string) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
