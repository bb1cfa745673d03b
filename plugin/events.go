package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/mybr/mybr/internal/event"
)

// What follows events may take its time, so its answers have no deadline; but only so many
// can be under way.
const maxFollowers = 16

// farewell is how long the end of such an answer may take when mybr stops.
const farewell = time.Second

// follow is GET /v1/events: a line of JSON for each event, as it happens, without end. With
// ?history=N it begins with up to N events that were.
//
// A client that does not read keeps its own answer from going on and nothing else: it is told
// how many events it has missed.
func (a *admin) follow(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		refuse(w, r, http.MethodGet)
		return
	}
	history, err := historyOf(r)
	if err != nil {
		reply(w, r, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	events := a.events.Follow(history)
	a.stream(w, r, func(ctx context.Context) ([]any, error) {
		e, err := events.Next(ctx)
		return []any{e}, err
	})
}

// stream answers with a line of JSON for each of what next returns, until that is an error, the
// client has gone, or mybr stops.
func (a *admin) stream(w http.ResponseWriter, r *http.Request, next func(ctx context.Context) ([]any, error)) {
	select {
	case a.followers <- struct{}{}:
		defer func() { <-a.followers }()
	default:
		reply(w, r, http.StatusServiceUnavailable, map[string]string{"error": fmt.Sprintf("%d clients follow the events, and no more can: end one", maxFollowers)})
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	conn := http.NewResponseController(w)
	defer context.AfterFunc(a.stopping, func() {
		cancel()
		_ = conn.SetWriteDeadline(time.Now().Add(farewell)) // it may wait for a client that does not read
	})()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	for conn.Flush() == nil {
		all, err := next(ctx)
		if err != nil {
			return
		}
		for _, one := range all {
			line, err := json.Marshal(one)
			if err != nil {
				panic(err) // it is of types that always encode
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return
			}
		}
	}
}

func historyOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("history")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > event.Kept {
		return 0, fmt.Errorf("history %q: want a number from 0 to %d", shorten(text), event.Kept)
	}
	return n, nil
}

// mend is POST /v1/sync: everything is made to match from nothing, now, as at a start.
func (a *admin) mend(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		refuse(w, r, http.MethodPost)
		return
	}
	respond(w, r, func(ctx context.Context) (any, error) {
		made, err := a.sync(ctx)
		return differencesOf(made), err
	})
}

// refuse answers a request with another method than those that are allowed.
func refuse(w http.ResponseWriter, r *http.Request, allowed ...string) {
	for _, method := range allowed {
		w.Header().Add("Allow", method)
	}
	reply(w, r, http.StatusMethodNotAllowed, map[string]string{"error": fmt.Sprintf("method %s: want %s", shorten(r.Method), allowed[0])})
}
