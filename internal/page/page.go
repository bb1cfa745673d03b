// Package page is the status page: what mybr has on the host, how it is, and what has
// happened, as HTML made from templates, with a style sheet and a small script of its own.
//
// Without the script the browser loads the page again every few seconds; with it, only what
// has changed is replaced, and who reads or has something marked is not disturbed.
//
// Be aware: it shows what it is given, and gives nothing the power to run: texts are escaped
// for HTML, the drawing is shown as an image, and Policy forbids everything that is not one
// of the page's own files. Who may see the page, and what a client can cost, is the server's
// to say. What it is made from is asked for only while somebody looks, every few seconds at
// most.
package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"time"

	"github.com/mybr/mybr/internal/view"
)

// Policy is the Content-Security-Policy that the page needs, and no more.
const Policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const (
	// freshFor is how long an answer is given again, to whomever.
	freshFor = time.Second

	// gatherWithin is how long what is shown may take to be asked for; what comes too late
	// is missing, and the page says so.
	gatherWithin = 10 * time.Second

	// maxRows is how many rows a table has; browsers get slow with many thousands.
	maxRows = 1000
)

// Config is what the page shows. Texts can be shown as they are (no control characters).
type Config struct {
	Host     string // its name
	View     func(ctx context.Context) (view.View, error)
	Health   func(ctx context.Context) Health
	Events   func() []Event                 // the newest first; nil: the page has none
	Findings func(ctx context.Context) Exam // the doctor's; nil: the page has none
	// Drawing draws the networks, and says what of the host could not be read for that; nil:
	// the page has no drawing.
	Drawing func(v view.View) (svg []byte, err error)
}

// Health is how mybr is.
type Health struct {
	Version     string
	Since       time.Time
	Ready       bool         // the first pass has ended
	Firewall    string       // the variant in use; "": none yet
	Failed      string       // what the last pass failed with; "": it went well
	Differences []Difference // between the host and the records
	Unknown     string       // why not all could be compared; "": it could
	Late        string       // why changes by others are not noticed at once; "": they are
	Healed      []Healed
}

// Difference is what of one aspect the host has otherwise than is recorded.
type Difference struct {
	Aspect  string
	Changes []string // that would mend it
	Error   string   // why it could not be looked at
}

// Healed counts what others had changed of one aspect and mybr has put right.
type Healed struct {
	Aspect string
	Times  int
	Last   time.Time
}

// Event is something that has happened.
type Event struct {
	At    time.Time
	Kind  string // one word or two
	Text  string
	Wrong bool // it is no good news
}

// Exam is what the doctor found.
type Exam struct {
	At       time.Time // zero: not yet
	Findings []Finding
	Error    string // why there is none
}

// How a Finding is meant.
const (
	Fine    = "ok"
	Note    = "note"
	Warning = "warning"
	Fault   = "fault"
	Unknown = "unknown"
)

// Finding is one check of the doctor's.
type Finding struct {
	Name    string
	Verdict string
	Seen    string
	Mend    string // a command; "": there is none
}

//go:embed files
var files embed.FS

// server answers for the page.
type server struct {
	Config
	page  *template.Template
	fresh time.Duration // how long an answer is given again
	busy  chan struct{} // holds one while latest is read or made
	latest
}

// latest is the answer that was made last.
type latest struct {
	made time.Time
	html []byte
	svg  []byte
	tag  string // of what it was made from
}

// New returns the handler of the page and its files, all below the path /.
func New(c Config) (http.Handler, error) {
	s, err := newServer(c)
	if err != nil {
		return nil, err
	}
	return s.handler(), nil
}

func newServer(c Config) (*server, error) {
	s := &server{Config: c, fresh: freshFor, busy: make(chan struct{}, 1)}
	stamp, err := stampOfFiles()
	if err != nil {
		return nil, err
	}
	s.page, err = template.New("page.html").Funcs(words(stamp)).ParseFS(files, "files/*.html")
	if err != nil {
		return nil, fmt.Errorf("templates of the page: %w", err)
	}
	return s, nil
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /topology.svg", s.serveDrawing)
	for _, name := range []string{"style.css", "page.js", "icon.svg"} {
		mux.HandleFunc("GET /"+name, serveFile(name))
	}
	return mux
}

// stampOfFiles is another one for each version of the page's files, so that browsers may keep
// them.
func stampOfFiles() (string, error) {
	sum := sha256.New()
	entries, err := files.ReadDir("files")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		text, err := files.ReadFile(path.Join("files", e.Name()))
		if err != nil {
			return "", err
		}
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6]), nil
}

func serveFile(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" { // the page asks for it by its version
			w.Header().Set("Cache-Control", "max-age=86400, immutable")
		}
		http.ServeFileFS(w, r, files, "files/"+name)
	}
}

func (s *server) servePage(w http.ResponseWriter, r *http.Request) {
	now, err := s.now(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("ETag", `"`+now.tag+`"`)
	if r.Header.Get("If-None-Match") == `"`+now.tag+`"` {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(now.html) // a client that has gone reads nothing
}

func (s *server) serveDrawing(w http.ResponseWriter, r *http.Request) {
	now, err := s.now(r.Context())
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case now.svg == nil:
		http.Error(w, "there is no drawing", http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "image/svg+xml")
		// Its style sheet is within it, and it can run nothing, also where it is looked at alone.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'")
		_, _ = w.Write(now.svg)
	}
}

// now is the page as it is now, or was a moment ago.
func (s *server) now(ctx context.Context) (latest, error) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-ctx.Done():
		return latest{}, context.Cause(ctx)
	}
	if s.made.IsZero() || time.Since(s.made) >= s.fresh {
		// Whoever asked, others share the answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), gatherWithin)
		defer cancel()
		if err := s.make(ctx); err != nil {
			return latest{}, err
		}
	}
	return s.latest, nil
}

// make makes the page anew, if there is anything new to show.
func (s *server) make(ctx context.Context) error {
	d := s.document(ctx)
	var svg []byte
	if s.Drawing != nil && d.Unread == "" {
		var err error
		if svg, err = s.Drawing(d.view); err != nil {
			d.DrawnPartly = err.Error()
		}
	}
	d.Drawn = tagOf(svg)
	facts, err := json.Marshal(d)
	if err != nil {
		return err
	}
	tag := tagOf(facts)
	if tag == s.tag {
		s.made = time.Now()
		return nil
	}
	var html bytes.Buffer
	if err := s.page.ExecuteTemplate(&html, "page.html", d); err != nil {
		return err
	}
	s.latest = latest{made: time.Now(), html: html.Bytes(), svg: svg, tag: tag}
	return nil
}

// tagOf tells contents apart; "" for none.
func tagOf(content []byte) string {
	if content == nil {
		return ""
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:12])
}
