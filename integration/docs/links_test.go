package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	source  = regexp.MustCompile(`<(?:img|source)\b[^>]*\bsrc(?:set)?="([^"]+)"`)
	heading = regexp.MustCompile(`^#+ +(.*)$`)
	linked  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// anchor is what GitHub has a heading be linked by.
func anchor(text string) string {
	text = linked.ReplaceAllString(strings.ToLower(text), "$1")
	return strings.ReplaceAll(dropped.ReplaceAllString(text, ""), " ", "-")
}

// outline lists the links of a page and the anchors of its headings.
func outline(t *testing.T, path string) (links []string, anchors map[string]bool) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	anchors = map[string]bool{}
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if fence.MatchString(line) {
			inside = !inside
			continue
		}
		if inside {
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			anchors[anchor(m[1])] = true
		}
		for _, form := range []*regexp.Regexp{link, source} {
			for _, m := range form.FindAllStringSubmatch(line, -1) {
				links = append(links, m[1])
			}
		}
	}
	return links, anchors
}

// Links between the documents lead to files and headings that are there.
func TestLinks(t *testing.T) {
	const root = "../.."
	found, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	toHeadings := 0
	for _, page := range append(found, root+"/README.md", root+"/CONTRIBUTING.md", root+"/CHANGELOG.md") {
		links, _ := outline(t, page)
		for _, to := range links {
			if strings.Contains(to, "://") {
				continue
			}
			file, part, _ := strings.Cut(to, "#")
			path := page
			if file != "" {
				path = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %s: %v", page, to, err)
				continue
			}
			if part == "" || !strings.HasSuffix(path, ".md") {
				continue
			}
			toHeadings++
			if _, anchors := outline(t, path); !anchors[part] {
				t.Errorf("%s: %s: there is no such heading", page, to)
			}
		}
	}
	if toHeadings < 10 {
		t.Errorf("%d links lead to headings", toHeadings)
	}
}
