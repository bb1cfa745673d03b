package dockerproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
)

// spec is what a container was made with, and shows the ports that it exposes and how they
// were asked for. It is the same for as long as the container runs.
type spec struct {
	Config struct {
		ExposedPorts map[string]struct{}
	}
	HostConfig struct {
		PortBindings map[string][]wanted
	}
}

// wanted is one published port as the user has asked for it.
type wanted struct {
	HostIP   string `json:"HostIp"`
	HostPort string // "": any; "8000" or "8000-8010"
}

// How many specs are kept, and how many the engine is asked for at a time.
const (
	mostSpecs   = 4096
	asksAtATime = 8
)

// specs remembers the specs of running containers by their endpoints, which are new each
// time that a container is started: so it is not wrong after somebody has changed a
// container's files, which engines read when they start. The zero value is ready.
type specs struct {
	mu  sync.Mutex
	all map[string]*spec
}

// get is the spec of the container with these endpoints; nil: it is not known.
func (s *specs) get(endpoints []string) *spec {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range endpoints {
		if found := s.all[id]; found != nil {
			return found
		}
	}
	return nil
}

func (s *specs) put(endpoints []string, one *spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil || len(s.all)+len(endpoints) > mostSpecs {
		s.all = map[string]*spec{} // those that are in use come back with the next list
	}
	for _, id := range endpoints {
		s.all[id] = one
	}
}

// learn asks the engine for the specs that are not known yet, which lists don't have. A
// container that can't be asked about is shown without the ports that it only exposes.
func (p *Proxy) learn(client context.Context, containers []listed) {
	ctx, cancel := context.WithTimeout(client, p.within)
	defer cancel()
	var asking sync.WaitGroup
	var late atomic.Int64
	places := make(chan struct{}, asksAtATime)
	for _, c := range containers {
		if p.specs.get(c.endpoints) != nil {
			continue
		}
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			got, err := p.ask(ctx, c.ID)
			switch {
			case err == nil:
				p.specs.put(c.endpoints, &got.spec)
			case errors.Is(err, errGone) || client.Err() != nil:
			case ctx.Err() != nil:
				late.Add(1)
			default:
				p.Warn("%v", err)
			}
		})
	}
	asking.Wait()
	if n := late.Load(); n > 0 {
		p.Warn("the engine has not said within %s what %d containers expose: they are listed without it (does docker inspect hang?)", p.within, n)
	}
}

// errGone is the error of a question about a container that was removed meanwhile.
var errGone = errors.New("the container has gone")

// ask inspects a container, in the engine's own version of the API.
func (p *Proxy) ask(ctx context.Context, id string) (c inspected, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("inspect container %.12q: %w", id, err)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/containers/"+url.PathEscape(id)+"/json", nil)
	if err != nil {
		return c, err
	}
	resp, err := p.engine.Do(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return c, json.NewDecoder(resp.Body).Decode(&c)
	case http.StatusNotFound:
		return c, errGone
	}
	return c, fmt.Errorf("the engine answers %q", resp.Status)
}
