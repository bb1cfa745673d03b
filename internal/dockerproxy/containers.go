package dockerproxy

import (
	"encoding/json"
	"fmt"
)

// networkSettings is what of a container's answer says which endpoints it has.
type networkSettings struct {
	Networks map[string]*struct{ EndpointID string }
}

// endpoints are those of the container that are mybr's.
func (n networkSettings) endpoints(known map[string]Endpoint) (ids []string) {
	for _, attached := range n.Networks {
		if attached == nil {
			continue
		}
		if _, ok := known[attached.EndpointID]; ok {
			ids = append(ids, attached.EndpointID)
		}
	}
	return ids
}

// list changes the list of containers: a JSON array.
func (a *answer) list(text []byte) ([]byte, error) {
	parts, err := a.containers(text, span{0, len(text)})
	if err != nil {
		return nil, err
	}
	text = replace(text, parts)
	if a.filter == nil {
		return text, nil
	}
	return a.filter.apply(text)
}

// usage changes the disk usage, which lists containers: as Containers, from API 1.52 on
// as ContainerUsage.Items too.
func (a *answer) usage(text []byte) ([]byte, error) {
	all, err := members(text, span{0, len(text)})
	if err != nil {
		return nil, err
	}
	lists := []span{all["Containers"]}
	if newer, ok := all["ContainerUsage"]; ok && text[newer.from] == '{' {
		inside, err := members(text, newer)
		if err != nil {
			return nil, err
		}
		lists = append(lists, inside["Items"])
	}
	var parts []replacement
	for _, list := range lists {
		if list.to == 0 || text[list.from] != '[' {
			continue // not there, or null
		}
		more, err := a.containers(text, list)
		if err != nil {
			return nil, err
		}
		parts = append(parts, more...)
	}
	return replace(text, parts), nil
}

// containers finds what to replace in a list of containers.
func (a *answer) containers(text []byte, list span) ([]replacement, error) {
	found, err := elements(text, list)
	if err != nil {
		return nil, err
	}
	var ours []listed
	var known map[string]Endpoint
	for _, at := range found {
		c := listed{at: at}
		if err := json.Unmarshal(at.in(text), &c); err != nil {
			return nil, err
		}
		if !c.NetworkSettings.attached() {
			continue
		}
		if known == nil {
			var ok bool
			if known, ok = a.published(a.ctx); !ok {
				return nil, nil
			}
		}
		if c.endpoints = c.NetworkSettings.endpoints(known); len(c.endpoints) > 0 {
			ours = append(ours, c)
		}
	}
	a.learn(a.ctx, ours)
	var parts []replacement
	for _, c := range ours {
		fields, err := members(text, c.at)
		if err != nil {
			return nil, err
		}
		at, ok := fields["Ports"]
		if !ok {
			continue
		}
		with, err := listPorts(at.in(text), a.portsOf(a.specs.get(c.endpoints), c.endpoints, known))
		if err != nil {
			return nil, fmt.Errorf("container %s: Ports: %w", c.ID, err)
		}
		parts = append(parts, replacement{at, with})
	}
	return parts, nil
}

// attached reports whether a container has an endpoint of any driver.
func (n networkSettings) attached() bool {
	for _, attached := range n.Networks {
		if attached != nil && attached.EndpointID != "" {
			return true
		}
	}
	return false
}

// listed is a container of a list.
type listed struct {
	ID              string `json:"Id"`
	NetworkSettings networkSettings

	at        span
	endpoints []string // mybr's
}

// inspected is a container that is inspected.
type inspected struct {
	ID              string `json:"Id"`
	NetworkSettings networkSettings
	spec
}

// inspect changes what is said of one container: a JSON object.
func (a *answer) inspect(text []byte) ([]byte, error) {
	var c inspected
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	if c.NetworkSettings.Networks == nil {
		// API 1.20 and older say nothing of networks.
		newer, err := a.ask(a.ctx, c.ID)
		if err != nil {
			return nil, err
		}
		c = newer
	}
	if !c.NetworkSettings.attached() {
		return text, nil
	}
	known, ok := a.published(a.ctx)
	endpoints := c.NetworkSettings.endpoints(known)
	if !ok || len(endpoints) == 0 {
		return text, nil
	}
	top, err := members(text, span{0, len(text)})
	if err != nil {
		return nil, err
	}
	settings, err := members(text, top["NetworkSettings"])
	if err != nil {
		return nil, fmt.Errorf("NetworkSettings: %w", err)
	}
	at, ok := settings["Ports"]
	if !ok {
		return text, nil
	}
	with, err := inspectPorts(at.in(text), a.portsOf(&c.spec, endpoints, known))
	if err != nil {
		return nil, fmt.Errorf("NetworkSettings.Ports: %w", err)
	}
	return replace(text, []replacement{{at, with}}), nil
}
