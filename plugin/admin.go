package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/view"
)

// Status is what GET /v1/status answers.
type Status struct {
	Version    string    `json:"version"` // of the process
	PID        int       `json:"pid"`
	Since      time.Time `json:"since"` // when it began to serve
	Ready      bool      `json:"ready"` // the first pass and the first check behind it have ended
	Networks   int       `json:"networks"`
	Endpoints  int       `json:"endpoints"`
	Firewall   string    `json:"firewall,omitempty"` // "nftables", or the variant of iptables in use; "": none yet
	Goroutines int       `json:"goroutines"`
	LastError  string    `json:"lastError,omitempty"` // of the last pass; "": it went well
	// FailedSince is when the first of the passes ended that have failed in a row up to now.
	FailedSince time.Time `json:"failedSince,omitzero"`
	// Differences is how many things the host has otherwise than is recorded, as it is now;
	// Unknown says why some of it could not be looked at, such as that Ready is not yet so.
	Differences int    `json:"differences"`
	Unknown     string `json:"unknown,omitempty"`
	// NoticedLate says why changes by other programs are not noticed at once; "": they are.
	NoticedLate string `json:"noticedLate,omitempty"`
	// Unheard says why mybr does not hear of what egress lists refuse; "": it does, or there are none.
	Unheard string `json:"unheard,omitempty"`
	// Unchecked says why --spoof does nothing on this host although it asks for something; "": it
	// does what it says.
	Unchecked string `json:"unchecked,omitempty"`
	// UncheckedAsked says that the user has given that --spoof, which is no default then.
	UncheckedAsked bool `json:"uncheckedAsked,omitempty"`
	// Healed says, by aspect, what others had changed on the host since the process began.
	Healed map[string]Healed `json:"healed,omitempty"`
}

// Healed is what was put right of one aspect.
type Healed struct {
	Times   int       `json:"times"`
	Changes int       `json:"changes"` // that it took, all in all
	Last    time.Time `json:"last"`
	By      string    `json:"by,omitempty"`     // who had changed it the last time that this was known
	Fights  bool      `json:"fights,omitempty"` // it is changed again and again
}

// Difference is what of one aspect the host has otherwise than is recorded; GET /v1/diff
// answers a list of them, in the order in which mybr would mend them.
type Difference struct {
	Aspect  string   `json:"aspect"`          // such as "links" or "firewall"
	Changes []string `json:"changes"`         // what would mend it, one line each
	Error   string   `json:"error,omitempty"` // why it could not be looked at, all or in part
}

// notReady is why the host is not compared with the records yet.
const notReady = "the first pass has not ended"

// adminPath is where the operator's commands find the process.
func adminPath(runDir string) string { return filepath.Join(runDir, "mybr.sock") }

// admin answers the operator's commands.
//
// Be aware: it tells, and little can be asked for through it: a sync makes the host match the
// records, as a restart does, what Docker has forgotten without a word can be forgotten here, and
// settings of networks and published ports can be changed that Docker asks for only once.
type admin struct {
	version   string
	firewall  func() string
	since     time.Time
	ready     <-chan struct{}
	compares  <-chan struct{} // closed when the first pass has ended, before ready
	snapshot  func() model.Snapshot
	lastError func() error
	failed    func() time.Time
	diff      func(ctx context.Context) ([]reconcile.Difference, error) // waits for a pass
	diffNow   func(ctx context.Context) ([]reconcile.Difference, error) // doesn't
	healings  func() map[string]reconcile.Healing
	late      func() error            // why changes by others are not noticed at once
	backup    func(w io.Writer) error // writes all records, as a state file
	resources func() (Runtime, error)
	view      func(ctx context.Context) (view.View, error)
	sync      func(ctx context.Context) ([]reconcile.Difference, error)
	events    *event.Log
	followers chan struct{}   // holds one for each client that follows the events
	stopping  context.Context // ends when those clients must
	ruler     *ruler
	forgetter *forgetter
	setter    *setter
	denier    *denier
	unheard   func() error // why what lists refuse is not heard of
	unchecked error        // why --spoof does nothing although it asks for something
	asked     bool         // likewise Config.SpoofAsked
}

// handler returns the table of what can be asked.
func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/status", tell(func(ctx context.Context) (any, error) { return a.status(ctx), nil }))
	mux.HandleFunc("/v1/diff", tell(func(ctx context.Context) (any, error) { return a.differences(ctx) }))
	mux.HandleFunc("/v1/published", tell(func(context.Context) (any, error) { return published(a.snapshot()), nil }))
	mux.HandleFunc("/v1/view", tell(func(ctx context.Context) (any, error) { return a.view(ctx) }))
	mux.HandleFunc("/v1/events", a.follow)
	mux.HandleFunc("/v1/sync", a.mend)
	mux.HandleFunc("/v1/forget", func(w http.ResponseWriter, r *http.Request) { a.forgetter.serve(w, r) })
	mux.HandleFunc("/v1/settings", func(w http.ResponseWriter, r *http.Request) { a.setter.settings(w, r) })
	mux.HandleFunc("/v1/ports", func(w http.ResponseWriter, r *http.Request) { a.setter.ports(w, r) })
	mux.HandleFunc("/v1/lists", func(w http.ResponseWriter, r *http.Request) { a.setter.lists(w, r) })
	mux.HandleFunc("/v1/denied", tellOf(func(r *http.Request) (any, error) { return a.denier.denied(r.URL.Query()) }))
	mux.HandleFunc("/v1/suggest", tellOf(func(r *http.Request) (any, error) { return a.denier.suggest(r.URL.Query()) }))
	mux.HandleFunc("/v1/denied/follow", a.followDenied)
	mux.HandleFunc("/v1/rules", func(w http.ResponseWriter, r *http.Request) {
		tell(func(ctx context.Context) (any, error) { return a.ruler.rules(ctx, r.URL.Query().Get("compare") == "1") })(w, r)
	})
	mux.HandleFunc("GET /v1/backup", func(w http.ResponseWriter, r *http.Request) {
		// All of it before the answer begins: a commit that has the file grow waits for who
		// reads it, and that must not be a client that takes its time.
		var all bytes.Buffer
		if err := a.backup(&all); err != nil {
			reply(w, r, http.StatusInternalServerError, map[string]string{"error": err.Error()})
			return
		}
		answering(w, r)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(all.Len())) // so that a part does not pass for all
		_, _ = w.Write(all.Bytes())                               // a client that is gone reads nothing
	})
	mux.HandleFunc("/v1/runtime", tell(func(context.Context) (any, error) { return a.resources() }))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, r, http.StatusNotFound, map[string]string{"error": "unknown path " + shorten(r.URL.Path)})
	})
	return mux
}

func tell(what func(ctx context.Context) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			refuse(w, r, http.MethodGet, http.MethodHead)
			return
		}
		respond(w, r, what)
	}
}

// tellOf is tell for what is asked for with a query.
func tellOf(what func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		tell(func(context.Context) (any, error) { return what(r) })(w, r)
	}
}

// respond replies with what a function returns.
func respond(w http.ResponseWriter, r *http.Request, what func(ctx context.Context) (any, error)) {
	defer func() {
		if v := recover(); v != nil {
			reply(w, r, http.StatusInternalServerError, map[string]string{"error": (&crash{value: v}).Error()})
			_ = http.NewResponseController(w).Flush() // a client that is gone reads nothing
			panic(v)                                  // net/http logs it, with the stack
		}
	}()
	body, err := what(r.Context())
	if err != nil {
		reply(w, r, errorStatus(err), map[string]string{"error": err.Error()})
		return
	}
	reply(w, r, http.StatusOK, body)
}

func reply(w http.ResponseWriter, r *http.Request, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // it is of types that always encode
	}
	answering(w, r)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)+1)) // so that it is whole, whatever comes behind it
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that is gone reads nothing
}

// differences compares the host with the records.
func (a *admin) differences(ctx context.Context) ([]Difference, error) {
	diff, err := a.diff(ctx)
	if err != nil {
		return nil, err
	}
	return differencesOf(diff), nil
}

func differencesOf(diff []reconcile.Difference) []Difference {
	list := []Difference{} // never null in JSON
	for _, d := range diff {
		one := Difference{Aspect: d.Aspect, Changes: append([]string{}, d.Changes...)}
		if d.Err != nil {
			one.Error = d.Err.Error()
		}
		list = append(list, one)
	}
	return list
}

func (a *admin) isReady() bool { return ended(a.ready) }

// canCompare reports whether the host may be compared with the records: the first pass has ended.
func (a *admin) canCompare() bool { return ended(a.compares) }

func ended(what <-chan struct{}) bool {
	select {
	case <-what:
		return true
	default:
		return false
	}
}

func (a *admin) status(ctx context.Context) Status {
	snapshot := a.snapshot()
	s := Status{
		Version:    a.version,
		PID:        os.Getpid(),
		Since:      a.since,
		Networks:   len(snapshot.Networks),
		Endpoints:  len(snapshot.Endpoints),
		Firewall:   a.firewall(),
		Goroutines: runtime.NumGoroutine(),
	}
	s.Ready = a.isReady()
	for name, h := range a.healings() {
		if h.Found == 0 {
			continue
		}
		if s.Healed == nil {
			s.Healed = map[string]Healed{}
		}
		s.Healed[name] = Healed{Times: h.Found, Changes: h.Changes, Last: h.Last, By: h.By, Fights: h.Fights}
	}
	if err := a.lastError(); err != nil {
		s.LastError, s.FailedSince = err.Error(), a.failed()
	}
	if err := a.late(); err != nil {
		s.NoticedLate = err.Error()
	}
	if err := a.unheard(); err != nil {
		s.Unheard = err.Error()
	}
	if a.unchecked != nil {
		s.Unchecked, s.UncheckedAsked = a.unchecked.Error(), a.asked
	}
	if !a.canCompare() {
		// To compare the host takes as long as a look at all of it, and the start would wait for
		// that: whoever waits for mybr asks again and again.
		s.Unknown = notReady
		return s
	}
	diff, err := a.diffNow(ctx)
	for _, d := range diff {
		s.Differences += len(d.Changes)
		err = errors.Join(err, d.Err)
	}
	if err != nil {
		s.Unknown = err.Error()
	}
	return s
}
