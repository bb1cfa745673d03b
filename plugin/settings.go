package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/model"
)

// Settings is what POST /v1/settings asks for: options of a network that is there, or of an
// endpoint, by their names. An empty one is as it was given at the creation.
type Settings struct {
	Network  string            `json:"network"`            // its whole ID
	Endpoint string            `json:"endpoint,omitempty"` // its whole ID; "": the network itself is meant
	Options  map[string]string `json:"options"`
}

// List is what POST /v1/lists asks for: a list of clients, or of what containers may begin
// connections to, or that there is none of that name any more.
type List struct {
	Name     string   `json:"name"`
	Prefixes []string `json:"prefixes,omitempty"` // entries of package egress; of clients, prefixes alone
	Remove   bool     `json:"remove,omitempty"`
}

// setter changes what operators change while networks are there.
type setter struct {
	ready       <-chan struct{}
	setNetwork  func(ctx context.Context, id string, options map[string]string) error
	setEndpoint func(ctx context.Context, network, id string, options map[string]string) error
	setList     func(ctx context.Context, l model.List) error
	removeList  func(ctx context.Context, name string) error
	log         *logrus.Logger
}

// maxSettings bounds a request: a list has a thousand prefixes at most.
const maxSettings = 1 << 18

// settings is POST /v1/settings.
func (s *setter) settings(w http.ResponseWriter, r *http.Request) {
	var what Settings
	s.post(w, r, &what, func(ctx context.Context) error {
		s.log.WithFields(logrus.Fields{"network": what.Network, "endpoint": what.Endpoint, "options": what.Options}).Info("an operator sets options")
		if what.Endpoint != "" {
			return s.setEndpoint(ctx, what.Network, what.Endpoint, what.Options)
		}
		return s.setNetwork(ctx, what.Network, what.Options)
	})
}

// lists is POST /v1/lists.
func (s *setter) lists(w http.ResponseWriter, r *http.Request) {
	var what List
	s.post(w, r, &what, func(ctx context.Context) error {
		log := s.log.WithField("list", what.Name)
		if what.Remove {
			log.Info("an operator removes a list")
			return s.removeList(ctx, what.Name)
		}
		l, err := egress.ParseKept(what.Name, what.Prefixes...)
		if err != nil {
			return model.Invalid("%w", err)
		}
		log.WithField("prefixes", what.Prefixes).Info("an operator sets a list")
		return s.setList(ctx, l)
	})
}

// post reads a request and does what it asks for. What can't be done as it was asked is no error of
// the process.
func (s *setter) post(w http.ResponseWriter, r *http.Request, what any, do func(ctx context.Context) error) {
	if r.Method != http.MethodPost {
		refuse(w, r, http.MethodPost)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSettings))
	if err == nil {
		err = json.Unmarshal(body, what)
	}
	if err != nil {
		reply(w, r, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	respond(w, r, func(ctx context.Context) (any, error) {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		return what, do(ctx)
	})
}

// errorStatus is the status of an answer to what could not be done.
func errorStatus(err error) int {
	switch {
	case errors.Is(err, model.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, model.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, model.ErrConflict), errors.Is(err, model.ErrExists):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}
