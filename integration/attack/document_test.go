package attack

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table into docs/policy.md")

const (
	document = "../../docs/policy.md"
	begins   = "<!-- what was tried: go test ./integration/attack -run TestDocument -update -->\n"
	ends     = "<!-- end of what was tried -->\n"
)

// TestDocument compares the table in docs/policy.md with the one that is tried.
func TestDocument(t *testing.T) {
	page, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(page), begins)
	have, after, ended := strings.Cut(rest, ends)
	if !begun || !ended {
		t.Fatalf("%s has no place for the table", document)
	}
	want := rendered()
	if *update {
		if err := os.WriteFile(document, []byte(before+begins+want+ends+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if have != want {
		t.Errorf("the table of %s is out of date: go test ./integration/attack -run TestDocument -update", document)
	}
}

// rendered is the table as Markdown.
func rendered() string {
	var b strings.Builder
	for _, s := range table() {
		fmt.Fprintf(&b, "\n#### %s\n\n| what is tried | family | arrives without a list at | with the lists |\n| --- | --- | --- | --- |\n", s.title)
		for _, r := range s.rows {
			without, with := r.arrives(), "nowhere"
			if r.fails != "" {
				without = "nowhere: " + r.fails
			}
			if r.may != "" {
				with = r.may + ": " + r.why
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.name, strings.Join(r.families(), ", "), without, with)
		}
	}
	return b.String() + "\n"
}
