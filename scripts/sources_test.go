package scripts

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What the binary is made of, embedded files included, has make install build it anew.
func TestSources(t *testing.T) {
	run := func(name string, args ...string) []string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = ".."
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, errs.String())
		}
		return strings.Fields(string(out))
	}
	sources := run("make", "-s", "--no-print-directory", "--eval", "print-sources: ; @echo $(SOURCES)", "print-sources")
	root := run("go", "list", "-m", "-f", "{{.Dir}}")[0] + "/"
	files := run("go", "list", "-deps", "-f",
		`{{if not .Standard}}{{$dir := .Dir}}{{with .Module}}{{if .Main}}{{range $.GoFiles}}{{$dir}}/{{.}} {{end}}{{range $.EmbedFiles}}{{$dir}}/{{.}} {{end}}{{end}}{{end}}{{end}}`,
		"./cmd/mybr")
	embedded := false
	for _, file := range files {
		name := strings.TrimPrefix(file, root)
		embedded = embedded || strings.HasSuffix(name, ".css")
		if !slices.Contains(sources, name) {
			t.Errorf("%s is no prerequisite of bin/mybr", name)
		}
	}
	if !embedded {
		t.Errorf("no embedded file is among %d", len(files))
	}
}
