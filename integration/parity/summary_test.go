package parity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// summary is what is kept of an engine's run: testdata/ENGINE.json.
type summary struct {
	Engine    string
	Scenarios []record
}

// record is a scenario in a summary.
type record struct {
	Name, Feature string
	Unplayed      bool              `json:",omitempty"` // the engine has nothing of the kind
	NotOffered    bool              `json:",omitempty"` // by the built-in driver of that engine
	Bridge        int               `json:",omitempty"` // facts; where it is not offered, those of the newest engine
	Mybr          int               `json:",omitempty"`
	Equal         int               `json:",omitempty"`
	Differs       []differs         `json:",omitempty"`
	Facts         map[string]string `json:",omitempty"` // the built-in driver's, of what older engines don't offer, as far as they are compared there
	Messages      map[string]string `json:",omitempty"` // the built-in driver's of the newest engine
}

// differs is a declared difference as it occurred.
type differs struct {
	Key, Want, Why string
	Facts          int
}

// summarize is a row of the summary.
func summarize(sc scenario, engine string, builtin, mybr map[string]string, v verdict) record {
	r := record{Name: sc.name, Feature: sc.feature, NotOffered: !sc.offered(engine),
		Bridge: len(builtin), Mybr: len(mybr), Equal: v.equal}
	if n := v.explained[messageDifference]; n > 0 {
		r.Differs = append(r.Differs, differs{Key: "messages", Why: messageWhy, Facts: n})
	}
	for i, d := range declared(sc) {
		if n := v.explained[i]; n > 0 {
			r.Differs = append(r.Differs, differs{d.key, d.want, d.why, n})
		}
	}
	if engine != engines()[0] {
		return r
	}
	if sc.since != "" {
		if kept := reached(builtin); len(kept) > 0 { // as it is read from a file
			r.Facts = kept
		}
		return r
	}
	for key, value := range builtin {
		if strings.HasPrefix(value, "exit code ") {
			if r.Messages == nil {
				r.Messages = map[string]string{}
			}
			r.Messages[key] = value
		}
	}
	return r
}

func summaryPath(engine string) string { return filepath.Join("testdata", engine+".json") }

// load reads a summary; one that isn't there is empty.
func load(engine string) (s summary, err error) {
	text, err := os.ReadFile(summaryPath(engine))
	if errors.Is(err, fs.ErrNotExist) {
		return summary{Engine: engine}, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", summaryPath(engine), err)
	}
	return s, nil
}

// save writes it in the order of the scenarios, a scenario that there no longer is left
// out.
func (s summary) save() error {
	text, err := s.text()
	if err != nil {
		return err
	}
	return os.WriteFile(summaryPath(s.Engine), text, 0o644)
}

func (s summary) text() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(s)
	return b.Bytes(), err
}

// row finds a scenario.
func (s summary) row(name string) (record, bool) {
	for _, r := range s.Scenarios {
		if r.Name == name {
			return r, true
		}
	}
	return record{}, false
}

// with is the summary in the order of the scenarios, with these rows in place of those
// of the same name.
func (s summary) with(all []scenario, fresh map[string]record) summary {
	out := summary{Engine: s.Engine}
	for _, sc := range all {
		if r, ok := fresh[sc.name]; ok {
			out.Scenarios = append(out.Scenarios, r)
		} else if r, ok := s.row(sc.name); ok {
			out.Scenarios = append(out.Scenarios, r)
		}
	}
	return out
}

// What is written is what is read: else a run would find its own summary out of date.
func TestSummaryReadsBack(t *testing.T) {
	newest := engines()[0]
	for _, facts := range []map[string]string{
		{"docker network create": "ok"},
		{"docker network create": "exit code 1: no", "reach lan → tcp {web}:80": "refused"},
	} {
		for _, since := range []string{"", "27.0"} {
			sc := scenario{name: "a/b", feature: "A", since: since}
			want := summary{newest, []record{summarize(sc, newest, facts, facts, compare(sc, newest, facts, facts, nil))}}
			text, err := want.text()
			if err != nil {
				t.Fatal(err)
			}
			var have summary
			if err := json.Unmarshal(text, &have); err != nil || !reflect.DeepEqual(have, want) {
				t.Errorf("read %+v, want %+v: %v", have, want, err)
			}
		}
	}
}
