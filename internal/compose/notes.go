package compose

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ifname is the option by which Compose hands interface_name on (docs.docker.com, "Compose
// file reference", networks).
const ifname = "com.docker.network.endpoint.ifname"

// notes tells what differs with the other driver, refusals first.
func (f *file) notes() []Note {
	var all []Note
	for _, n := range f.networks {
		all = append(all, f.ofNetwork(n)...)
	}
	for _, s := range f.services {
		all = append(all, f.ofService(s)...)
	}
	for _, key := range []string{"include", "extends"} {
		if get(f.root, key) != nil {
			all = append(all, Note{About: key, Text: "the files that it names are not read: convert them, too"})
		}
	}
	if strings.Contains(string(f.text.text), "$") && len(f.changes) > 0 {
		all = append(all, Note{Text: "values with variables are not looked at"})
	}
	slices.SortStableFunc(all, func(a, b Note) int {
		switch {
		case a.Refused == b.Refused:
			return 0
		case a.Refused:
			return -1
		}
		return 1
	})
	return all
}

// changed reports whether the network has another driver now.
func (f *file) changed(name string) bool { return slices.Contains(f.names(), name) }

func (f *file) ofNetwork(n named) (all []Note) {
	note := func(format string, args ...any) {
		all = append(all, Note{About: "network " + n.name, Text: fmt.Sprintf(format, args...)})
	}
	driver := word(n.body, "driver")
	switch {
	case isExternal(n.body):
		note("is made outside of this project, and keeps its driver: to change it, remove it and create it with docker network create -d %s", f.to)
	case f.changed(n.name):
		if f.to == Bridge {
			all = append(all, f.backNotes(n)...)
		} else {
			all = append(all, f.optionNotes(n)...)
		}
	case driver != f.to && driver != "" && driver != Bridge:
		note("keeps its driver %s", driver)
	}
	return all
}

// optionNotes is about the options of a network that becomes one of mybr's.
func (f *file) optionNotes(n named) (all []Note) {
	note := func(refused bool, text string) {
		all = append(all, Note{Refused: refused, About: "network " + n.name, Text: text})
	}
	options := map[string]string{}
	if opts := get(n.body, "driver_opts"); opts != nil && opts.Kind == yaml.MappingNode {
		for _, key := range mappingKeys(opts) {
			if value := word(opts, key); !strings.Contains(value, "$") {
				options[key] = value
			}
		}
	}
	internal := isTrue(n.body, "internal")
	if err := f.check(options, internal, isTrue(n.body, "enable_ipv6")); err != nil {
		note(true, err.Error())
	}
	if internal {
		note(false, "is internal: its containers reach the host neither by IPv6 link-local addresses nor by ports that others publish")
	}
	for _, family := range []string{"4", "6"} {
		if strings.HasPrefix(options["com.docker.network.bridge.gateway_mode_ipv"+family], "routed") {
			note(false, "is routed by IPv"+family+": hosts that may not connect to a container can't ping it either, and published ports are open on each of its networks")
		}
	}
	return all
}

// backNotes is about a network that goes back to Docker's own driver.
func (f *file) backNotes(n named) (all []Note) {
	note := func(text string) { all = append(all, Note{About: "network " + n.name, Text: text}) }
	for _, key := range mappingKeys(get(n.body, "driver_opts")) {
		if strings.HasPrefix(key, "mybr.") {
			note("the option " + key + " has no effect with Docker's own driver")
		}
	}
	if ipam := get(n.body, "ipam"); ipam != nil && isMybr(word(ipam, "driver")) {
		note("gets its addresses from Docker, from other pools")
	}
	return all
}

func (f *file) ofService(s named) (all []Note) {
	note := func(refused bool, text string) {
		all = append(all, Note{Refused: refused, About: "service " + s.name, Text: text})
	}
	if get(s.body, "extends") != nil {
		note(false, "extends another one: what that brings is not looked at")
	}
	mode := word(s.body, "network_mode")
	if mode == Bridge && f.to != Bridge {
		note(false, "network_mode: bridge is docker0, which stays Docker's: give it a network of its own for mybr")
	}
	if f.to == Bridge || !slices.ContainsFunc(f.names(), func(network string) bool { return slices.Contains(f.users(network), s.name) }) {
		return all
	}
	if ports := get(s.body, "ports"); ports != nil && len(ports.Content) > 0 {
		note(false, "docker ps, docker port and docker compose ps show its published ports through mybr docker-proxy alone; mybr ports lists them")
		if slices.ContainsFunc(ports.Content, hostPortChosen) {
			note(false, "has a port without a host port: Docker does not learn which one was chosen, mybr ports shows it")
		}
	}
	if label := traefik(get(s.body, "labels")); label != "" {
		note(false, "Traefik reads the port from Docker through mybr docker-proxy alone; without it, add the label "+label)
	}
	if networks := get(s.body, "networks"); networks != nil && networks.Kind == yaml.MappingNode {
		for _, name := range keys(networks) {
			end := get(networks, name)
			if f.changed(name) && (word(end, "interface_name") != "" || word(get(end, "driver_opts"), ifname) != "") {
				note(true, "names its interface in "+name+", which Docker does not let a plugin do: leave it out, or set the beginning of all names with the network's option com.docker.network.container_iface_prefix")
			}
		}
	}
	return all
}

// users lists the services that are on a network.
func (f *file) users(network string) (names []string) {
	for _, s := range f.services {
		on := keys(get(s.body, "networks"))
		if len(on) == 0 && word(s.body, "network_mode") == "" {
			on = []string{defaultNetwork}
		}
		if slices.Contains(on, network) {
			names = append(names, s.name)
		}
	}
	return names
}

// hostPortChosen reports whether an entry of ports leaves the host's port to the driver:
// `80`, `80/udp`, `127.0.0.1::80`, or a mapping without published.
func hostPortChosen(port *yaml.Node) bool {
	port = follow(port)
	if port.Kind == yaml.MappingNode {
		published := word(port, "published")
		return published == "" || published == "0"
	}
	text := port.Value
	if i := strings.LastIndexByte(text, ']'); i >= 0 { // an IPv6 address
		text = text[i+1:]
	}
	return !strings.Contains(text, ":") || strings.Contains(text, "::")
}

// traefik is the label that a service lacks which Traefik is to find the port of; "": none.
func traefik(labels *yaml.Node) string {
	all := keys(labels)
	if labels != nil && labels.Kind == yaml.MappingNode {
		for i, key := range all {
			all[i] = key + "=" + word(labels, key)
		}
	}
	enabled := false
	for _, label := range all {
		key, value, _ := strings.Cut(label, "=")
		if strings.HasPrefix(key, "traefik.") && strings.HasSuffix(key, ".loadbalancer.server.port") {
			return ""
		}
		enabled = enabled || key == "traefik.enable" && value == "true" || strings.HasPrefix(key, "traefik.http.routers.")
	}
	if !enabled {
		return ""
	}
	return "traefik.http.services.NAME.loadbalancer.server.port"
}

// mappingKeys lists the keys of a mapping.
func mappingKeys(m *yaml.Node) []string {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	return slices.DeleteFunc(keys(m), func(key string) bool { return key == "<<" })
}
