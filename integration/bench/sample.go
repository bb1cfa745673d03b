// Package bench says what is measured of mybr beside Docker's own driver, which bounds
// that has, and what a run came to: package run measures, this package judges and writes.
//
// A sample is what was measured under one key, a name with parameters such as
// UDP/engine=28.5/driver=mybr-iptables/path=published/networks=100/published=0, once in each
// round. In a round all drivers have their turn, so that what the machine does meanwhile
// happens to all of them. A bound is about medians: of one key, of differences of keys, or of
// a quotient of those. How far such a figure would be off if the run were repeated is told by
// a bootstrap over the rounds (Estimate).
//
// Be aware: absolute figures are the machine's as much as mybr's. A run on a machine that
// does something else is good for nothing; the document says so of a row that began on one.
package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The drivers that are compared. Those of mybr are one for each backend.
const (
	Bridge        = "bridge"         // Docker's own, as shipped
	BridgeNoProxy = "bridge-noproxy" // with --userland-proxy=false
	Floor         = "floor"          // package floor: what Docker itself takes
	MybrPrefix    = "mybr-"          // and the backend's name
)

// Units, as benchstat reads them.
const (
	Nanoseconds = "ns/op"
	Packets     = "packets/s"
	BytesPerSec = "B/s"
	Conns       = "conns/s"
	Pairs       = "pairs/s"
	Bytes       = "bytes"
	Syncs       = "fsyncs/op"
	CPUPerByte  = "cpu-ns/B"
)

// Key names what is measured: a benchmark's name and its parameters, name=value.
type Key string

// NewKey makes a key of a name and of parameters: name, value, name, value…
func NewKey(name string, params ...any) Key {
	var b strings.Builder
	b.WriteString(name)
	for i := 0; i+1 < len(params); i += 2 {
		fmt.Fprintf(&b, "/%v=%v", params[i], params[i+1])
	}
	return Key(b.String())
}

// Name is the benchmark's name.
func (k Key) Name() string {
	name, _, _ := strings.Cut(string(k), "/")
	return name
}

// Param is the value of a parameter; "": there is none.
func (k Key) Param(name string) string {
	for _, part := range strings.Split(string(k), "/")[1:] {
		if have, value, _ := strings.Cut(part, "="); have == name {
			return value
		}
	}
	return ""
}

// Without is the key without some of its parameters.
func (k Key) Without(names ...string) Key {
	parts := strings.Split(string(k), "/")
	return Key(strings.Join(slices.DeleteFunc(parts, func(part string) bool {
		name, _, ok := strings.Cut(part, "=")
		return ok && slices.Contains(names, name)
	}), "/"))
}

// Sample is what was measured under a key, by rounds.
type Sample struct {
	Key    Key
	Unit   string
	Values []float64
}

// Failure is what could not be measured, and why.
type Failure struct {
	Key Key
	Err string
}

// Record is one run of one row.
type Record struct {
	Row      string
	When     string  // a date
	Machine  string  // what it ran on
	Version  string  // of mybr
	Busy     float64 // processors that did something else when it began
	Samples  []Sample
	Failures []Failure `json:",omitempty"`
}

// Rests tells whether a machine does nothing else, as far as figures show it, by how many of
// its processors are busy.
func Rests(busy float64) bool { return busy < 0.5 }

// kept is how many digits of a value are kept: more than the noise leaves.
const kept = 6

// Add notes one value.
func (r *Record) Add(key Key, unit string, value float64) {
	value, _ = strconv.ParseFloat(strconv.FormatFloat(value, 'e', kept-1, 64), 64) // what FormatFloat has written is a number
	at := slices.IndexFunc(r.Samples, func(s Sample) bool { return s.Key == key })
	if at < 0 {
		at = len(r.Samples)
		r.Samples = append(r.Samples, Sample{Key: key, Unit: unit})
	}
	r.Samples[at].Values = append(r.Samples[at].Values, value)
}

// Lines is the record as benchstat reads it
// (https://go.googlesource.com/proposal/+/master/design/14313-benchmark-format.md).
func (r Record) Lines() string {
	var b strings.Builder
	for _, s := range r.Samples {
		for _, v := range s.Values {
			fmt.Fprintf(&b, "Benchmark%s 1 %s %s\n", s.Key, strconv.FormatFloat(v, 'f', -1, 64), s.Unit)
		}
	}
	return b.String()
}

// Write puts the record into a directory, in the place of an earlier run of the row: a line
// for each key.
func (r Record) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lines := make([]string, 0, len(r.Samples))
	for _, s := range r.Samples {
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		lines = append(lines, "  "+string(line))
	}
	r.Samples = nil
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		text = bytes.Replace(text, []byte(`"Samples": null`), []byte("\"Samples\": [\n"+strings.Join(lines, ",\n")+"\n ]"), 1)
	}
	return os.WriteFile(filepath.Join(dir, r.Row+".json"), append(text, '\n'), 0o644)
}

// Read reads the records of a directory, in the order of the rows. A row that is no more is
// an error that names its file.
func Read(dir string) ([]Record, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	byRow := map[string]Record{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var r Record
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if _, known := RowByID(r.Row); !known {
			return nil, fmt.Errorf("read %s: there is no row %q", path, r.Row)
		}
		byRow[r.Row] = r
	}
	var all []Record
	for _, row := range Rows() {
		if r, ok := byRow[row.ID]; ok {
			all = append(all, r)
		}
	}
	return all, nil
}

// Set is all that was measured, by key.
type Set map[Key]Sample

// NewSet takes the samples of records together; what several have measured counts as the
// first of them has it.
func NewSet(records ...Record) Set {
	set := Set{}
	for _, r := range records {
		for _, s := range r.Samples {
			if _, have := set[s.Key]; !have {
				set[s.Key] = s
			}
		}
	}
	return set
}

// Params lists the values that a parameter has in the set, sorted.
func (s Set) Params(name string) []string {
	seen := map[string]bool{}
	for key := range s {
		if value := key.Param(name); value != "" {
			seen[value] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
