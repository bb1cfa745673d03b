// Package docker asks a Docker Engine what it calls its containers and networks. It is for
// the operator's commands: `mybr serve` never speaks to the Engine, which waits for it.
//
// Three GETs of the Engine API are all that is needed. Docker's client library would bring
// some twenty modules for them, OpenTelemetry among them, into a binary that runs as root.
//
// Be aware: only unix sockets are spoken to, and no `docker context` is read. An endpoint
// exists only while its container runs, so stopped containers are not named.
package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// DefaultHost is where an Engine listens that is not told otherwise.
const DefaultHost = "unix:///var/run/docker.sock"

// within bounds all questions together: whoever waits for names can do without them.
const within = 3 * time.Second

// ParseHost returns the socket of a host as DOCKER_HOST has it: unix:///PATH; a path alone
// is taken, too.
func ParseHost(host string) (socket string, err error) {
	path := strings.TrimPrefix(host, "unix://")
	if !filepath.IsAbs(path) {
		return "", errors.New("want unix:///PATH")
	}
	return path, nil
}

// Names are the Engine's names for what mybr knows by ID.
type Names struct {
	Containers map[string]string // by endpoint ID
	Networks   map[string]string // by network ID
}

// Client asks the Engine that listens on a socket.
type Client struct{ Socket string }

// Names asks for all names.
func (c Client) Names(ctx context.Context) (Names, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer within %s", within))
	defer cancel()
	n, err := c.names(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return n, fmt.Errorf("ask Docker on %s: %w", c.Socket, context.Cause(ctx))
	case err != nil:
		return n, fmt.Errorf("ask Docker on %s: %w", c.Socket, err)
	}
	return n, nil
}

func (c Client) names(ctx context.Context) (Names, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	// A path without a version is deprecated, and no version is known to all Engines: 20.10
	// ends at 1.41, and 29 begins at 1.44. The Engine says which it knows.
	version := ""
	err := get(ctx, client, "/_ping", func(resp *http.Response) error {
		version = resp.Header.Get("Api-Version")
		return nil
	})
	if err != nil {
		return Names{}, err
	}
	if !regexp.MustCompile(`^[0-9]+\.[0-9]+$`).MatchString(version) {
		return Names{}, fmt.Errorf("API version %q is no number", version)
	}
	var containers []struct {
		Names           []string
		NetworkSettings struct {
			Networks map[string]struct{ EndpointID string }
		}
	}
	var networks []struct{ ID, Name string }
	for path, into := range map[string]any{"/containers/json": &containers, "/networks": &networks} {
		err := get(ctx, client, "/v"+version+path, func(resp *http.Response) error { return json.NewDecoder(resp.Body).Decode(into) })
		if err != nil {
			return Names{}, err
		}
	}
	n := Names{Containers: map[string]string{}, Networks: map[string]string{}}
	for _, c := range containers {
		for _, e := range c.NetworkSettings.Networks {
			if e.EndpointID != "" {
				n.Containers[e.EndpointID] = own(c.Names)
			}
		}
	}
	for _, v := range networks {
		n.Networks[v.ID] = v.Name
	}
	return n, nil
}

// own is the name of a container among those that the Engine lists: /NAME. Another container
// that is linked to it by `--link` adds one of the form /OTHER/ALIAS.
func own(names []string) string {
	for _, n := range names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			return n
		}
	}
	return ""
}

// get has fn read the answer to a question.
func get(ctx context.Context, client *http.Client, path string, fn func(*http.Response) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return errors.Unwrap(err) // without the made-up URL
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // the status says enough if there is none
		return fmt.Errorf("GET %s: %s: %s", path, resp.Status, strings.TrimSpace(string(text)))
	}
	if err := fn(resp); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}
