package model

import "strings"

// limitsText is limits as an alias has them: PORTS>CLIENTS with ; between. Of clients that a list
// has there is the list's name alone.
func limitsText(all []Limit) string {
	var words []string
	for _, l := range all {
		words = append(words, l.Ports()+">"+l.String())
	}
	return strings.Join(words, ";")
}

// parseLimitsText reads what limitsText wrote. What had no room in the alias, or can't be read,
// admits nobody: that there were limits is known.
func parseLimitsText(text string) (all []Limit) {
	closed := []Limit{{}}
	for _, word := range strings.Split(text, ";") {
		ports, clients, ok := strings.Cut(word, ">")
		l, err := ParseLimit(clients)
		if !ok || err != nil {
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
