package parity

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/security.md names the test that shows each of its claims, in the last column of
// its tables. Every one of them is there.
func TestSecurityPageNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		if len(cells) != 4 || last == "---" || last == "shown by" {
			continue
		}
		for name := range strings.SplitSeq(last, "; ") {
			named++
			if !there(t, name) {
				t.Errorf("there is no scenario and no test %q", name)
			}
		}
	}
	if named < 20 {
		t.Errorf("the page names %d tests only", named)
	}
}

// there tells whether there is a scenario of that name, or a test or fuzz target of the package
// integration or of those whose input others send; TEST/ROW is one with a row in its table.
func there(t *testing.T, name string) bool {
	t.Helper()
	test, row, _ := strings.Cut(name, "/")
	if !strings.HasPrefix(test, "Test") && !strings.HasPrefix(test, "Fuzz") {
		return slices.ContainsFunc(scenarios(), func(sc scenario) bool { return sc.name == name })
	}
	var files []string
	for _, dir := range []string{"..", "../attack", "../../plugin", "../../driver", "../../cmd/mybr", "../../internal/firewall/iptables",
		"../../internal/web", "../../internal/page", "../../internal/metrics", "../../internal/link",
		"../../internal/egress/byname", "../../internal/egress/carry", "../../internal/egress/hello", "../../internal/egress/names"} {
		found, err := filepath.Glob(dir + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		begun := regexp.MustCompile(`(?m)^func ` + test + `\(`).Match(text)
		if begun && (row == "" || strings.Contains(string(text), `"`+row+`"`)) {
			return true
		}
	}
	return false
}
