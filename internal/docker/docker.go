// Package docker asks a Docker Engine what it calls its containers and networks, and what else
// mybr doctor looks at. It is for the operator's commands: `mybr serve` never speaks to the
// Engine, which waits for it.
//
// Some GETs of the Engine API are all that is needed. Docker's client library would bring
// some twenty modules for them, OpenTelemetry among them, into a binary that runs as root.
//
// Be aware: only unix sockets are spoken to, and no `docker context` is read. An endpoint
// exists only while its container runs, so stopped containers are not named.
package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// DefaultHost is where an Engine listens that is not told otherwise.
const DefaultHost = "unix:///var/run/docker.sock"

// within bounds all questions for names together: whoever waits for names can do without them.
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
	Containers map[string]string  // by endpoint ID
	Networks   map[string]string  // by network ID
	Gateways   map[string]Gateway // by the ID of each of the container's endpoints; a container without one has none
}

// Gateway is where Docker publishes a container's ports: its default route.
type Gateway struct {
	Endpoint string // ID
	Network  string // name, of whatever driver
}

// maxAnswer bounds an answer: a thousand containers are listed in some 2 MB.
const maxAnswer = 32 << 20

// Client asks the Engine that listens on a socket.
type Client struct{ Socket string }

// Names asks for all names.
func (c Client) Names(ctx context.Context) (Names, error) {
	var containers []struct {
		Names           []string
		NetworkSettings struct{ Networks map[string]attachment }
	}
	var networks []struct{ ID, Name string }
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer within %s", within))
	defer cancel()
	err := c.ask(ctx, func(get getter) error {
		if err := get.json("/containers/json", &containers); err != nil {
			return err
		}
		return get.json("/networks", &networks)
	})
	if err != nil {
		return Names{}, err
	}
	n := Names{Containers: map[string]string{}, Networks: map[string]string{}, Gateways: map[string]Gateway{}}
	for _, c := range containers {
		gateway := gatewayOf(c.NetworkSettings.Networks)
		for _, e := range c.NetworkSettings.Networks {
			if e.EndpointID != "" {
				n.Containers[e.EndpointID] = own(c.Names)
				if gateway.Endpoint != "" {
					n.Gateways[e.EndpointID] = gateway
				}
			}
		}
	}
	for _, v := range networks {
		n.Networks[v.ID] = v.Name
	}
	return n, nil
}

// attachment is a container's place on a network.
type attachment struct {
	EndpointID           string
	Gateway, IPv6Gateway string // "": none
	GwPriority           int    // from Engine 28 on
}

// families is how many families the attachment has a default route of.
func (a attachment) families() (n int) {
	for _, gateway := range []string{a.Gateway, a.IPv6Gateway} {
		if gateway != "" {
			n++
		}
	}
	return n
}

// gatewayOf is the one among a container's attachments, by network names, that the Engine takes for
// the default route (libnetwork, Endpoint.Less): of the highest priority, then of the most
// families, then the first by name; that of IPv4 where the families have two.
func gatewayOf(all map[string]attachment) (g Gateway) {
	names := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(-cmp.Compare(all[a].GwPriority, all[b].GwPriority), -cmp.Compare(all[a].families(), all[b].families()), cmp.Compare(a, b))
	})
	for _, of := range []func(attachment) string{func(a attachment) string { return a.Gateway }, func(a attachment) string { return a.IPv6Gateway }} {
		if i := slices.IndexFunc(names, func(name string) bool { return of(all[name]) != "" }); i >= 0 {
			return Gateway{Endpoint: all[names[i]].EndpointID, Network: names[i]}
		}
	}
	return g
}

// Network is one of the Engine's, of whatever driver.
type Network struct {
	ID, Name string
	Subnets  []string // as the Engine's IPAM configuration has them
}

// Networks asks for all networks.
func (c Client) Networks(ctx context.Context) (all []Network, err error) {
	var list []struct {
		ID, Name string
		IPAM     struct{ Config []struct{ Subnet string } }
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer within %s", within))
	defer cancel()
	err = c.ask(ctx, func(get getter) error { return get.json("/networks", &list) })
	for _, one := range list {
		n := Network{ID: one.ID, Name: one.Name}
		for _, s := range one.IPAM.Config {
			n.Subnets = append(n.Subnets, s.Subnet)
		}
		all = append(all, n)
	}
	return all, err
}

// Get returns what the Engine answers to a GET of a path of its API, such as "/info".
func (c Client) Get(ctx context.Context, path string) (body []byte, err error) {
	err = c.ask(ctx, func(get getter) error {
		body, err = get(path)
		return err
	})
	return body, err
}

// getter gets the answer to a path, of the newest version of the API that the Engine knows.
type getter func(path string) ([]byte, error)

func (get getter) json(path string, into any) error {
	body, err := get(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

// ask has fn ask some questions. The error says who was asked.
func (c Client) ask(ctx context.Context, fn func(get getter) error) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	// A path without a version is deprecated, and no version is known to all Engines: 20.10
	// ends at 1.41, and 29 begins at 1.44. The Engine says which it knows.
	_, header, err := get(ctx, client, "/_ping")
	version := header.Get("Api-Version")
	switch {
	case err != nil:
	case !versionNumber.MatchString(version):
		err = fmt.Errorf("API version %q is no number", version)
	default:
		err = fn(func(path string) ([]byte, error) {
			body, _, err := get(ctx, client, "/v"+version+path)
			return body, err
		})
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("ask Docker on %s: %w", c.Socket, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("ask Docker on %s: %w", c.Socket, err)
	}
	return nil
}

var versionNumber = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

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

// get asks one question.
func get(ctx context.Context, client *http.Client, path string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		var made *url.Error // its text has the made-up URL
		if errors.As(err, &made) {
			err = made.Err
		}
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // the status says enough if there is none
		return nil, nil, fmt.Errorf("GET %s: %s: %s", path, resp.Status, strings.TrimSpace(string(text)))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("more than %d bytes", maxAnswer)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("GET %s: %w", path, err)
	}
	return body, resp.Header, nil
}
