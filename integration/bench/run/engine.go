package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// engine is Docker's API. The docker command would add its own start to each call.
type engine struct{ client http.Client }

type object = map[string]any

func newEngine(w *world.World) *engine {
	return &engine{http.Client{Timeout: 15 * time.Minute, Transport: &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", w.Path(w.DockerSocket()))
		}}}}
}

// call makes one request and reads its answer to the end.
func (e *engine) call(method, path string, body, into any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, "http://docker"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(answer))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

func (e *engine) createNetwork(name, driver, subnet string) error {
	return e.call("POST", "/networks/create", object{
		"Name": name, "Driver": driver, "CheckDuplicate": true,
		"IPAM": object{"Config": []object{{"Subnet": subnet}}},
	}, nil)
}

func (e *engine) removeNetwork(name string) error {
	return e.call("DELETE", "/networks/"+name, nil, nil)
}

func (e *engine) connect(network, container string) error {
	return e.call("POST", "/networks/"+network+"/connect", object{"Container": container}, nil)
}

func (e *engine) disconnect(network, container string) error {
	return e.call("POST", "/networks/"+network+"/disconnect", object{"Container": container}, nil)
}

// ports is published ports as Docker's API has them.
type ports []struct {
	proto           string
	host, container int
}

// add publishes a port.
func (p ports) add(proto string, host, container int) ports {
	return append(p, struct {
		proto           string
		host, container int
	}{proto, host, container})
}

// create makes a container of the guest's image.
func (e *engine) create(name, network string, published ports, command ...string) error {
	exposed, bound := object{}, object{}
	for _, p := range published {
		at := fmt.Sprintf("%d/%s", p.container, p.proto)
		exposed[at] = object{}
		bound[at] = []object{{"HostPort": fmt.Sprint(p.host)}}
	}
	return e.call("POST", "/containers/create?name="+name, object{
		"Image": world.Image, "Cmd": command, "ExposedPorts": exposed,
		"HostConfig": object{"NetworkMode": network, "PortBindings": bound},
	}, nil)
}

func (e *engine) start(name string) error {
	return e.call("POST", "/containers/"+name+"/start", nil, nil)
}

func (e *engine) remove(name string) error {
	return e.call("DELETE", "/containers/"+name+"?force=1&v=1", nil, nil)
}

// run is create and start.
func (e *engine) run(name, network string, published ports, command ...string) error {
	if err := e.create(name, network, published, command...); err != nil {
		return err
	}
	return e.start(name)
}
