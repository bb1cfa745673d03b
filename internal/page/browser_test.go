package page

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/topology"
	"github.com/mybr/mybr/internal/view"
)

var pictures = flag.String("pictures", "", "folder for pictures of the page, in both themes and on a phone")

//go:embed testdata/measure.js
var measure []byte

// browser is Chromium, with the flags that all of its runs have.
func browser(t *testing.T, dark bool, args ...string) (stdout, console []byte) {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("needs chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	scheme := 1
	if dark {
		scheme = 0
	}
	cmd := exec.CommandContext(ctx, program, append([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
		"--enable-logging=stderr", "--v=0", "--user-data-dir=" + t.TempDir(), fmt.Sprintf("--blink-settings=preferredColorScheme=%d", scheme),
	}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("chromium: %v\n%s", err, log.Bytes())
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "CONSOLE") {
			console = append(console, line...)
		}
	}
	return out.Bytes(), console
}

// measured is what measure.js finds of each frame, by its name.
type measured struct {
	Errors   []string // elements that are wrong, and what is wrong with them
	Checked  int      // texts whose contrast was computed
	Tabs     []string // what the tabulator key reaches, in its order
	Sections []string
	Ground   string // the colour of the page
}

// screens are so wide.
func screens() map[string]int { return map[string]int{"wide": 1280, "tablet": 800, "phone": 360} }

// served serves pages as mybr does, with its Policy, each below its name. /NAME/frame is one
// with measure.js beside it, and / has all of them in frames as wide as screens are.
func served(t *testing.T, pages map[string]Config) string {
	t.Helper()
	mux := http.NewServeMux()
	frames := "<!doctype html><body>"
	for name, c := range pages {
		h := http.StripPrefix("/"+name, handlerOf(t, c))
		mux.HandleFunc("/"+name+"/frame", func(w http.ResponseWriter, r *http.Request) {
			r.URL.Path = "/" + name + "/"
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Security-Policy", strings.Replace(Policy, "frame-ancestors 'none'", "frame-ancestors 'self'", 1))
			_, _ = w.Write(bytes.Replace(answer.Body.Bytes(), []byte("</head>"), []byte(`<script src="/measure.js" defer></script></head>`), 1))
		})
		mux.HandleFunc("/"+name+"/", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", strings.Replace(Policy, "frame-ancestors 'none'", "frame-ancestors 'self'", 1))
			h.ServeHTTP(w, r)
		})
		for screen, width := range screens() {
			frames += fmt.Sprintf(`<iframe name="%s %s" src="/%s/frame" width="%d" height="900"></iframe>`, name, screen, name, width)
			mux.HandleFunc("/"+screen+"/"+name, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `<!doctype html><body style="margin:0"><iframe src="/%s/" style="border:0" width="%d" height="5000"></iframe>`, name, width)
			})
		}
	}
	mux.HandleFunc("/measure.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(measure)
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, frames) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// In a real browser, in both themes, on screens of each width: the script and the style sheet
// run under the policy, nothing is wider than the screen, texts can be told from what is behind
// them (WCAG 2.2, 1.4.3), and the keyboard reaches what can be used, each with a name.
func TestBrowser(t *testing.T) {
	pages := map[string]Config{"busy": busyHost(), "broken": brokenHost()}
	url := served(t, pages)
	grounds := map[string]bool{}
	for _, dark := range []bool{false, true} {
		out, console := browser(t, dark, "--window-size=1400,900", "--virtual-time-budget=1500", "--dump-dom", url+"/")
		if len(console) > 0 {
			t.Errorf("the console has\n%s", console)
		}
		found := regexp.MustCompile(`<iframe name="([^"]*)"[^>]* data-measured="([^"]*)"`).FindAllSubmatch(out, -1)
		if want := len(pages) * len(screens()); len(found) != want {
			t.Fatalf("the script ran in %d frames, want %d:\n%.3000s", len(found), want, out)
		}
		for _, f := range found {
			label := fmt.Sprintf("%s, dark: %v", f[1], dark)
			var m measured
			if err := json.Unmarshal([]byte(html.UnescapeString(string(f[2]))), &m); err != nil {
				t.Fatal(err)
			}
			for _, e := range m.Errors {
				t.Errorf("%s: %s", label, e)
			}
			if m.Checked < 50 || len(m.Sections) < 7 {
				t.Errorf("%s: %d texts were looked at, in %q", label, m.Checked, m.Sections)
			}
			if len(m.Tabs) < 8 || m.Tabs[0] != "Skip to the content" {
				t.Errorf("%s: the keyboard reaches %q", label, m.Tabs)
			}
			grounds[m.Ground] = true
		}
	}
	if len(grounds) != 2 {
		t.Errorf("there are %d themes: %v", len(grounds), grounds)
	}
}

// A page that is open shows what changes, without being loaded again; and without its script
// the browser loads it again.
func TestBrowserFollows(t *testing.T) {
	c := busyHost()
	v, _ := c.View(t.Context())
	before := v.Endpoints
	var loaded, asked atomic.Int32
	c.View = func(context.Context) (view.View, error) {
		now := v
		now.Endpoints = before
		if asked.Load() > 1 {
			now.Endpoints = append(before[:len(before):len(before)], view.Endpoint{ID: "feedc0ffee42", Bridge: "lab0", Sandbox: "/run/docker/netns/9"})
		}
		return now, nil
	}
	s, err := newServer(c)
	if err != nil {
		t.Fatal(err)
	}
	s.fresh = 0 // the browser's time passes faster than the server's
	h := s.handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			if r.Header.Get("Sec-Fetch-Mode") == "navigate" {
				loaded.Add(1)
			} else {
				asked.Add(1)
			}
		}
		w.Header().Set("Content-Security-Policy", Policy)
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	out, console := browser(t, false, "--virtual-time-budget=12000", "--dump-dom", server.URL)
	if len(console) > 0 {
		t.Errorf("the console has\n%s", console)
	}
	text := string(out)
	if !strings.Contains(text, "feedc0ffee42") || !strings.Contains(text, "a drawing") && !strings.Contains(text, "topology.svg?v="+tagOf(picture(len(before)+1))) ||
		!strings.Contains(text, `type="search"`) || !strings.Contains(text, "Live, as of") {
		t.Errorf("the page is\n%s", text)
	}
	if loaded.Load() != 1 || asked.Load() < 2 {
		t.Errorf("loaded %d times, asked %d times", loaded.Load(), asked.Load())
	}
}

// TestPictures takes pictures for people to look at, if a folder is given; page-light.png and
// page-dark.png are the README's.
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("takes pictures with -pictures FOLDER")
	}
	drawn := busyHost()
	drawn.Drawing = func(v view.View) ([]byte, error) {
		uplink := topology.Uplink{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("2001:db8::2/64")}}
		return topology.Of(v, topology.Host{Name: drawn.Host, Uplinks: []topology.Uplink{uplink}}, topology.Usual).SVG(), nil
	}
	pages := map[string]Config{"drawn": drawn, "broken": brokenHost(), "new": newHost()}
	url := served(t, pages)
	for name, dark := range map[string]bool{"page-light.png": false, "page-dark.png": true} {
		browser(t, dark, "--virtual-time-budget=1500", "--screenshot="+filepath.Join(*pictures, name), "--window-size=1100,1500", url+"/drawn/")
	}
	for name := range pages {
		for theme, dark := range map[string]bool{"light": false, "dark": true} {
			for screen, width := range screens() {
				file := filepath.Join(*pictures, name+"-"+theme+"-"+screen+".png")
				browser(t, dark, "--virtual-time-budget=1500", "--screenshot="+file, fmt.Sprintf("--window-size=%d,2000", max(width, 500)), url+"/"+screen+"/"+name)
			}
		}
	}
}
