package compose

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// refuseUnknown stands for mybr's own check.
func refuseUnknown(options map[string]string, internal, _ bool) error {
	for key := range options {
		if strings.HasPrefix(key, "unknown") {
			return errors.New("option " + key + " is not known")
		}
	}
	if options["com.docker.network.bridge.gateway_mode_ipv4"] == "isolated" && !internal {
		return errors.New("not internal")
	}
	return nil
}

// Each file of testdata is a Compose file; behind the line `=> DRIVER` is what becomes of
// it, and behind `-- notes` what is told.
func TestConvert(t *testing.T) {
	found, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(found) < 10 {
		t.Fatalf("found %d files, %v", len(found), err)
	}
	for _, path := range found {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			before, rest, _ := strings.Cut(string(text), "=> ")
			to, rest, _ := strings.Cut(rest, "\n")
			want, notes, found := strings.Cut(rest, "-- notes\n")
			if !found {
				t.Fatalf("%s has no notes", path)
			}
			r, err := Convert([]byte(before), to, refuseUnknown)
			if err != nil {
				t.Fatal(err)
			}
			if have := string(r.Text); have != want {
				t.Errorf("have\n%s\nwant\n%s", have, want)
			}
			if have := told(r); have != notes {
				t.Errorf("told is\n%s\nwant\n%s", have, notes)
			}
			// What has the driver already stays as it is.
			again, err := Convert(r.Text, to, refuseUnknown)
			if err != nil || string(again.Text) != string(r.Text) || len(again.Networks) > 0 {
				t.Errorf("again: %q, %v\n%s", again.Networks, err, again.Text)
			}
		})
	}
}

func told(r Result) string {
	var b strings.Builder
	for _, n := range r.Notes {
		if n.Refused {
			b.WriteString("refused: ")
		}
		b.WriteString(strings.TrimSpace(n.About+" "+n.Text) + "\n")
	}
	return b.String()
}

// What can't be changed is refused, with the place and what to do.
func TestConvertRefuses(t *testing.T) {
	const services = "services: {a: {image: x}}\n"
	for name, c := range map[string]struct{ text, to, want string }{
		"no such driver":         {services, "macvlan", `driver "macvlan": want bridge, mybr or mybr:TAG`},
		"no tag":                 {services, "mybr:", `driver "mybr:": want`},
		"empty":                  {"", "mybr", "the file is empty"},
		"comment alone":          {"# a\n", "mybr", "the file is empty"},
		"no mapping":             {"- a\n", "mybr", "the file is no Compose file"},
		"two documents":          {services + "---\n" + services, "mybr", "several documents"},
		"no YAML":                {"a: [\n", "mybr", "yaml: "},
		"networks are a list":    {"networks: [a]\n", "mybr", "line 1: networks: want a mapping"},
		"network is a word":      {"networks:\n  a: bridge\n", "mybr", `line 2: network "a": want a mapping`},
		"driver without a value": {"networks:\n  a:\n    driver:\n", "mybr", `network "a": line 3: driver has no value`},
		"driver in a block":      {"networks:\n  a:\n    driver: |-\n      bridge\n", "mybr", `network "a": line 3: "bridge" is not written in a way`},
		"merged networks":        {"x-n: &n {a: {}}\nnetworks:\n  <<: *n\n", "mybr", "line 3: networks: entries that come from an anchor"},
		"an anchor of another's": {"services: {a: {image: x, logging: &l {driver: bridge}}}\nnetworks: {a: *l}\n", "mybr", "the drivers of a, default can't be changed without changing something else"},
		"braces without values":  {"services: {}\nnetworks: {a, b}\n", "mybr", "by hand"},
		"behind the end":         {services + "...\n", "mybr", "by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Convert([]byte(c.text), c.to, refuseUnknown)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q; text\n%s", err, c.want, r.Text)
			}
		})
	}
}

// A file whose merges multiply ends at once, too.
func TestConvertBomb(t *testing.T) {
	var text strings.Builder
	text.WriteString("x-0: &a0 {k: v}\n")
	for i := 1; i <= 30; i++ {
		fmt.Fprintf(&text, "x-%d: &a%d {<<: [%s]}\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	text.WriteString("services: {web: {<<: *a30, image: x}}\n")
	if _, err := Convert([]byte(text.String()), "mybr", refuseUnknown); err == nil || !strings.Contains(err.Error(), "excessive aliasing") {
		t.Errorf("error %v", err)
	}
}

func TestHostPortChosen(t *testing.T) {
	for text, want := range map[string]bool{
		"80": true, "80/udp": true, "127.0.0.1::80": true, "[::1]::80": true, "3000-3005": true,
		"8080:80": false, "127.0.0.1:8080:80": false, "[::1]:8080:80": false, "8000-8009:80": false,
	} {
		r, err := Convert([]byte("services: {a: {image: x, ports: [\""+text+"\"]}}\n"), "mybr", refuseUnknown)
		if err != nil {
			t.Fatal(err)
		}
		have := slices.ContainsFunc(r.Notes, func(n Note) bool { return strings.HasPrefix(n.Text, "has a port without a host port") })
		if have != want {
			t.Errorf("%s: %t, want %t", text, have, want)
		}
	}
}

// Whatever is written there, a file is converted, or refused: and what is converted is said
// to have no networks left that are not.
func TestConvertAnything(t *testing.T) {
	found, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, path := range found {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := strings.Cut(string(text), "=> ")
		files = append(files, before)
	}
	pieces := []string{"\n", "  ", "\t", ": ", "- ", "{", "}", "[", "]", "&net ", "*net", "*a", "<<: *net", "~", "\"", "'", "# ", "driver: bridge", "!!str ", "|-\n", "é", "\r\n", "\uFEFF", "? ", "---\n"}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom(files).Draw(t, "file")
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			at := rapid.IntRange(0, len(text)).Draw(t, "at")
			end := min(len(text), at+rapid.IntRange(0, 6).Draw(t, "cut"))
			text = text[:at] + rapid.SampledFrom(pieces).Draw(t, "piece") + text[end:]
		}
		to := rapid.SampledFrom([]string{"mybr", "mybr:latest", Bridge}).Draw(t, "to")
		r, err := Convert([]byte(text), to, refuseUnknown)
		if err != nil {
			return
		}
		again, err := Convert(r.Text, to, refuseUnknown)
		if err != nil || len(again.Networks) > 0 {
			t.Fatalf("%s\nbecame\n%s\nwhich becomes, %q, %v\n%s", text, r.Text, again.Networks, err, again.Text)
		}
	})
}
