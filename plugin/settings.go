package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/hostport"
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

// Ports is what POST /v1/ports asks for: ports to be published of an endpoint, or taken away, in the
// words of `docker run -p`. The answer is a list of Binding: what was published, or went.
type Ports struct {
	Network  string   `json:"network"`  // its whole ID
	Endpoint string   `json:"endpoint"` // its whole ID
	Ports    []string `json:"ports"`    // such as "8080:80", "[2001:db8::7]:8000-8010:80-90/udp"
	Remove   bool     `json:"remove,omitempty"`
}

// setter changes what operators change while networks are there.
type setter struct {
	ready       <-chan struct{}
	setNetwork  func(ctx context.Context, id string, options map[string]string) error
	setEndpoint func(ctx context.Context, network, id string, options map[string]string) error
	setList     func(ctx context.Context, l model.List) error
	removeList  func(ctx context.Context, name string) error
	addPorts    func(ctx context.Context, network, endpoint string, ports []string) ([]model.PortBinding, error)
	removePorts func(ctx context.Context, network, endpoint string, ports []string) ([]model.PortBinding, error)
	log         *logrus.Logger
}

// maxSettings bounds a request: a list has a thousand prefixes at most.
const maxSettings = 1 << 18

// settings is POST /v1/settings.
func (s *setter) settings(w http.ResponseWriter, r *http.Request) {
	var what Settings
	s.post(w, r, &what, func(ctx context.Context) (any, error) {
		s.log.WithFields(logrus.Fields{"network": what.Network, "endpoint": what.Endpoint, "options": what.Options}).Info("an operator sets options")
		if what.Endpoint != "" {
			return what, s.setEndpoint(ctx, what.Network, what.Endpoint, what.Options)
		}
		return what, s.setNetwork(ctx, what.Network, what.Options)
	})
}

// ports is POST /v1/ports.
func (s *setter) ports(w http.ResponseWriter, r *http.Request) {
	var what Ports
	s.post(w, r, &what, func(ctx context.Context) (any, error) {
		log := s.log.WithFields(logrus.Fields{"network": what.Network, "endpoint": what.Endpoint, "ports": what.Ports})
		change := s.addPorts
		if what.Remove {
			log.Info("an operator takes published ports away")
			change = s.removePorts
		} else {
			log.Info("an operator publishes ports")
		}
		ports, err := change(ctx, what.Network, what.Endpoint, what.Ports)
		return bindings(ports), err
	})
}

// lists is POST /v1/lists.
func (s *setter) lists(w http.ResponseWriter, r *http.Request) {
	var what List
	s.post(w, r, &what, func(ctx context.Context) (any, error) {
		log := s.log.WithField("list", what.Name)
		if what.Remove {
			log.Info("an operator removes a list")
			return what, s.removeList(ctx, what.Name)
		}
		l, err := egress.ParseKept(what.Name, what.Prefixes...)
		if err != nil {
			return nil, model.Invalid("%w", err)
		}
		log.WithField("prefixes", what.Prefixes).Info("an operator sets a list")
		return what, s.setList(ctx, l)
	})
}

// post reads a request and does what it asks for. What can't be done as it was asked is no error of
// the process.
func (s *setter) post(w http.ResponseWriter, r *http.Request, what any, do func(ctx context.Context) (any, error)) {
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
		return do(ctx)
	})
}

// errorStatus is the status of an answer to what could not be done.
func errorStatus(err error) int {
	switch {
	case errors.Is(err, model.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, model.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, model.ErrConflict), errors.Is(err, model.ErrExists), errors.As(err, new(*hostport.BindError)):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}
