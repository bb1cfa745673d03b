package dockerproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
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
// container's files, which engines read when they start.
type specs struct {
	limits

	mu   sync.Mutex
	all  map[string]*spec
	late map[string]time.Time // endpoints of containers that the engine did not inspect in time: not to be asked about before
}

func newSpecs(l limits) *specs {
	return &specs{limits: l, all: map[string]*spec{}, late: map[string]time.Time{}}
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
	if len(s.all)+len(endpoints) > mostSpecs {
		clear(s.all) // those that are in use come back with the next list
	}
	for _, id := range endpoints {
		s.all[id] = one
		delete(s.late, id)
	}
}

// delay notes that a container could not be asked about.
func (s *specs) delay(endpoints []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.late)+len(endpoints) > mostSpecs {
		clear(s.late)
	}
	for _, id := range endpoints {
		s.late[id] = time.Now().Add(s.pause)
	}
}

// question is whether the engine is to be asked for a spec.
type question int

const (
	none  question = iota // it is known, or was asked for in vain a moment ago
	first                 // and its answer is waited for
	again                 // and nobody waits
)

// due is what is to be done about the spec of the container with these endpoints.
func (s *specs) due(endpoints []string) question {
	if s.get(endpoints) != nil {
		return none
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, id := range endpoints {
		until, found := s.late[id]
		if !found {
			continue
		}
		if now.Before(until) {
			return none
		}
		s.late[id] = now.Add(s.within + s.pause) // others don't ask at the same time
		return again
	}
	return first
}

// learn asks the engine for the specs that are not known yet, which lists don't have. A
// container that can't be asked about is shown without the ports that it only exposes.
func (p *Proxy) learn(client context.Context, containers []listed) {
	due := map[question][]listed{}
	for _, c := range containers {
		q := p.specs.due(c.endpoints)
		due[q] = append(due[q], c)
	}
	if len(due[first])+len(due[again]) == 0 {
		return
	}
	done := make(chan struct{})
	go func() {
		// The questions go on when the client has gone: clients that wait for less time than
		// they may take would never let it be seen that the engine does not answer them.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(client), p.specs.within)
		defer cancel()
		var retried sync.WaitGroup
		retried.Go(func() { p.learnAll(ctx, due[again]) }) // what was said about it has been said
		for _, err := range p.learnAll(ctx, due[first]) {
			p.Warn("%v", err)
		}
		close(done)
		retried.Wait()
	}()
	select {
	case <-done:
	case <-client.Done():
	}
}

// learnAll asks the engine about containers, and returns what can't be learned.
func (p *Proxy) learnAll(ctx context.Context, containers []listed) (failed []error) {
	var asking sync.WaitGroup
	errs := make([]error, len(containers))
	places := make(chan struct{}, asksAtATime)
	for i, c := range containers {
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			got, err := p.ask(ctx, c.ID)
			switch {
			case err == nil:
				p.specs.put(c.endpoints, &got.spec)
			case !errors.Is(err, errGone):
				p.specs.delay(c.endpoints)
				errs[i] = err
			}
		})
	}
	asking.Wait()
	slow := 0
	for _, err := range errs {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			slow++
		case err != nil:
			failed = append(failed, err)
		}
	}
	if slow > 0 {
		failed = append(failed, fmt.Errorf("the engine has not said within %s what %d containers expose: they are listed without it until it does (does docker inspect hang?)", p.specs.within, slow))
	}
	return failed
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
