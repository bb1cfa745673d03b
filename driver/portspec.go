package driver

import (
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// parsePortSpecs reads ports as parsePortSpec does, into entries as Docker would send them.
func parsePortSpecs(specs []string) (all []portEntry, err error) {
	if len(specs) == 0 {
		return nil, model.Invalid("no port is named: want [ADDRESS:]HOST:CONTAINER[/PROTOCOL], such as 8080:80")
	}
	for _, spec := range specs {
		entries, err := parsePortSpec(spec)
		if err != nil {
			return nil, model.Invalid("port %q: %w", shorten(spec), err)
		}
		if all = append(all, entries...); len(all) > maxEntries {
			return nil, model.Invalid("port %q: there are more than %d ports: a container has no more", shorten(spec), maxEntries)
		}
	}
	return all, nil
}

// parsePortSpec reads `[[ADDRESS:][HOST]:]CONTAINER[/PROTOCOL]` as `docker run -p` does
// (docs.docker.com, "Port publishing and mapping"): HOST and CONTAINER are a port or a range,
// without HOST any port is chosen, and of a range of them for one port of the container the first
// that is free.
func parsePortSpec(spec string) (all []portEntry, err error) {
	text, word, named := strings.Cut(spec, "/")
	proto := model.TCP
	if named {
		if proto, err = model.ParseProto(strings.ToLower(word)); err != nil {
			return nil, err
		}
	}
	address, host, container := splitPort(text)
	entry := portEntry{Proto: uint8(proto)}
	if entry.HostIP, err = unbracket(address); err != nil {
		return nil, err
	}
	if _, err := entry.host(); err != nil {
		return nil, err
	}
	first, last, err := parsePortRange("container", container)
	if err != nil {
		return nil, err
	}
	if host != "" && host != "0" { // 0 is any port, as for Docker
		if entry.HostPort, entry.HostPortEnd, err = parsePortRange("host", host); err != nil {
			return nil, err
		}
	}
	switch count, hosts := last-first, entry.HostPortEnd-entry.HostPort; {
	case entry.HostPort == 0:
	case count == 0:
		entry.Port = first
		return []portEntry{entry}, nil
	case count != hosts:
		return nil, model.Invalid("%s has %d ports of the host for %d of the container: want as many, or one of the container", quoted(text), int(hosts)+1, int(count)+1)
	}
	for i := range int(last-first) + 1 {
		one := entry
		one.Port = first + uint16(i)
		if entry.HostPort != 0 {
			one.HostPort += uint16(i)
			one.HostPortEnd = one.HostPort
		}
		all = append(all, one)
	}
	return all, nil
}

// splitPort splits `ADDRESS:HOST:CONTAINER` at its last two colons.
func splitPort(text string) (address, host, container string) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return "", "", text
	}
	host, container = text[:i], text[i+1:]
	if j := strings.LastIndexByte(host, ':'); j >= 0 && !strings.HasSuffix(host, "]") {
		address, host = host[:j], host[j+1:]
	}
	return address, host, container
}

// unbracket takes the brackets off an IPv6 address.
func unbracket(address string) (string, error) {
	inner, open := strings.CutPrefix(address, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if open != closed || open && !strings.Contains(inner, ":") {
		return "", model.Invalid("%s is no address: want one such as 192.0.2.7 or [2001:db8::7]", quoted(address))
	}
	return inner, nil
}

// parsePortRange reads `80` or `80-89`.
func parsePortRange(whose, text string) (first, last uint16, err error) {
	if text == "" {
		return 0, 0, model.Invalid("the %s port is missing", whose)
	}
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	b, err2 := strconv.ParseUint(to, 10, 16)
	if err != nil || err2 != nil || a == 0 || a > b {
		return 0, 0, model.Invalid("%s is no %s port: want a number from 1 to 65535, or a range such as 8000-8010", quoted(text), whose)
	}
	return uint16(a), uint16(b), nil
}
