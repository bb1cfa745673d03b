package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const composeFile = `services:
  web: {image: nginx, ports: ["80:80"]}
`

const composeMybr = composeFile + `
networks:
  default:
    driver: mybr
`

// The changed file goes to the standard output, or into its place; notes go to the
// standard error.
func TestComposeCommand(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		args  []string
		code  int
		out   string
		errs  string
		after string
	}{
		"printed":      {composeFile, nil, 0, composeMybr, "changed: driver mybr for default; ", composeFile},
		"written":      {composeFile, []string{"--write"}, 0, "", "changed: ", composeMybr},
		"back":         {composeMybr, []string{"--to", "bridge", "--write"}, 0, "", "changed: driver bridge for default", strings.ReplaceAll(composeMybr, "mybr", "bridge")},
		"as it was":    {composeMybr, []string{"--write"}, 0, "", "unchanged: ", composeMybr},
		"refused":      {"networks: {a: {driver_opts: {b: c}}}\n", []string{"--write"}, exitFailed, "", "refused: network a: option b is not known\n", "networks: {a: {driver_opts: {b: c}}}\n"},
		"hostile":      {"services: {}\nnetworks: {\"a\\e[31m\": {driver: \"x\\ny\"}}\n", []string{"--write"}, 0, "", `note: network a\x1b[31m: keeps its driver x\ny`, "services: {}\nnetworks: {\"a\\e[31m\": {driver: \"x\\ny\"}}\n"},
		"no YAML":      {"a: [", []string{"--write"}, exitFailed, "", "compose.yaml.link: yaml: line 1", "a: ["},
		"wrong driver": {composeFile, []string{"--to", "overlay", "--write"}, exitFailed, "", `driver "overlay": want bridge, mybr or mybr:TAG`, composeFile},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "compose.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o640); err != nil {
				t.Fatal(err)
			}
			link := path + ".link" // what it leads to is changed
			if err := os.Symlink(filepath.Base(path), link); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			code := run(context.Background(), append(append([]string{"compose"}, c.args...), link), &out, &errs)
			if code != c.code || out.String() != c.out || !strings.Contains(errs.String(), c.errs) {
				t.Errorf("exit status %d, %q, %q", code, out.String(), errs.String())
			}
			text, err := os.ReadFile(path)
			if err != nil || string(text) != c.after {
				t.Errorf("the file has %q, %v", text, err)
			}
			if info, err := os.Lstat(path); err != nil || info.Mode() != 0o640 {
				t.Errorf("the file: %v, %v", info.Mode(), err)
			}
			if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 2 {
				t.Errorf("there are %v, %v", left, err)
			}
		})
	}
}

func TestComposeCommandMisused(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(large, bytes.Repeat([]byte("#"), maxComposeFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, c := range map[string]struct {
		code int
		want string
	}{
		"compose":             {exitUsage, "want one argument, and there is none: mybr compose [flags] FILE"},
		"compose a b":         {exitUsage, "want one argument, and there are 2: mybr compose"},
		"compose --write -":   {exitUsage, "--write needs a file"},
		"compose --to= a":     {exitUsage, "want bridge, mybr or mybr:TAG"},
		"compose /nowhere/at": {exitFailed, "no such file or directory"},
		"compose " + large:    {exitFailed, "larger than 4194304 bytes"},
	} {
		var out, errs bytes.Buffer
		code := run(context.Background(), strings.Fields(args), &out, &errs)
		if code != c.code || out.Len() > 0 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: exit status %d, %q, %q", args, code, out.String(), errs.String())
		}
	}
}
