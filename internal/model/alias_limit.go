package model

import (
	"net/url"
	"strings"
)

// limitsText is limits as an alias has them: PORTS>CLIENTS or PORTS<INTERFACES with ; between. Of
// clients that a list has there is the list's name alone. An older mybr reads limits with
// interfaces as ones that admit nobody.
func limitsText(all []Limit) string {
	var words []string
	for _, l := range all {
		word := l.Ports() + ">" + l.String()
		if l.ByInterface() {
			word = l.Ports() + "<" + url.QueryEscape(l.String())
		}
		words = append(words, word)
	}
	return strings.Join(words, ";")
}

// parseLimitsText reads what limitsText wrote. What had no room in the alias, or can't be read,
// admits nobody: that there were limits is known.
func parseLimitsText(text string) (all []Limit) {
	closed := []Limit{{}}
	for _, word := range strings.Split(text, ";") {
		l, ports, ok := parseLimitText(word)
		if !ok {
			return closed
		}
		if ports != "" {
			of, err := ParseLimitPorts(ports)
			if err != nil {
				return closed
			}
			l.Proto, l.Port = of.Proto, of.Port
		}
		all = append(all, l)
	}
	return all
}

// parseLimitText reads one limit, without its ports.
func parseLimitText(word string) (l Limit, ports string, ok bool) {
	ports, clients, ok := strings.Cut(word, ">")
	if ok {
		l, err := ParseLimit(clients)
		return l, ports, err == nil
	}
	ports, names, ok := strings.Cut(word, "<")
	names, err := url.QueryUnescape(names)
	if !ok || err != nil {
		return l, ports, false
	}
	l, err = ParseInterfaces(names)
	return l, ports, err == nil
}
