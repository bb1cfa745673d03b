package topology

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// measure is a script that writes, for each picture, how wide its texts are and what its
// background is.
const measure = `<script>
const all = [...document.querySelectorAll("svg")].map(svg => ({
  background: getComputedStyle(svg.querySelector(".tp-bg")).fill,
  texts: [...svg.querySelectorAll("text")].map(t => { const b = t.getBBox(); return [b.x, b.y, b.width, b.height] }),
}));
const out = document.createElement("pre"); out.id = "measured"; out.textContent = JSON.stringify(all); document.body.append(out);
</script>`

// browse has Chromium load a page, in a network namespace without a network. It returns the
// document as it is then.
func browse(t *testing.T, page string, dark bool) []byte {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("needs chromium")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--user-data-dir="+t.TempDir(), fmt.Sprintf("--blink-settings=preferredColorScheme=%d", 1-ifelse(dark, 1)), "--dump-dom", "file://"+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	document, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, stderr.Bytes())
	}
	return document
}

// TestBrowser: in a real browser no text is larger than the place that the picture has for
// it, and the theme is the reader's.
func TestBrowser(t *testing.T) {
	page := "<!DOCTYPE html><meta charset=utf-8><body>"
	var pictures []*picture
	for _, e := range examples() {
		s := Of(e.view, e.host, e.most)
		pictures = append(pictures, s.picture())
		page += string(s.SVG())
	}
	backgrounds := make(map[string]bool)
	for _, dark := range []bool{false, true} {
		document := browse(t, page+measure, dark)
		m := regexp.MustCompile(`(?s)<pre id="measured">(.*?)</pre>`).FindSubmatch(document)
		if m == nil {
			t.Fatalf("the script did not run:\n%.1000s", document)
		}
		var measured []struct {
			Background string
			Texts      [][4]float64
		}
		if err := json.Unmarshal([]byte(html.UnescapeString(string(m[1]))), &measured); err != nil {
			t.Fatal(err)
		}
		if len(measured) != len(pictures) {
			t.Fatalf("%d pictures of %d", len(measured), len(pictures))
		}
		for i, p := range pictures {
			backgrounds[measured[i].Background] = true
			if len(measured[i].Texts) != len(p.texts) {
				t.Fatalf("picture %d: %d texts of %d", i, len(measured[i].Texts), len(p.texts))
			}
			for k, l := range p.texts {
				x, y, w, h := measured[i].Texts[k][0], measured[i].Texts[k][1], measured[i].Texts[k][2], measured[i].Texts[k][3]
				most := float64(l.columns)*columnWidth + columnWidth/2 // frames are farther than that
				if w > most || y < l.y-rowHeight/2 || y+h > l.y+rowHeight/2 {
					t.Errorf("picture %d: %q is at %.1f, %.1f and %.1f by %.1f large, with %.1f by %.1f around %.1f for it", i, l.parts, x, y, w, h, most, rowHeight, l.y)
				}
			}
		}
	}
	if !backgrounds["rgb(255, 255, 255)"] || !backgrounds["rgb(13, 17, 23)"] || len(backgrounds) != 2 {
		t.Errorf("backgrounds are %v", backgrounds)
	}
}
