package dockerproxy

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// portFilter is what docker ps --filter publish= and expose= ask for. The engine compares
// them with the ports that it knows, so that it is asked without them, and the list is
// filtered when the ports are in it.
type portFilter struct {
	publish, expose map[port]bool
	limit           int // how many containers are wanted; 0: all
}

type filterKey struct{}

func filterOf(ctx context.Context) *portFilter {
	f, _ := ctx.Value(filterKey{}).(*portFilter)
	return f
}

// filtered takes the filters of ports out of a request for the list of containers. A
// request that is not one, or that the engine would refuse, stays as it is.
func filtered(r *http.Request) *http.Request {
	if r.Method != http.MethodGet || !listPath.MatchString(r.URL.Path) {
		return r
	}
	query := r.URL.Query()
	rest, f, ok := parseFilters(query.Get("filters"))
	if !ok {
		return r
	}
	query.Set("filters", rest)
	if limit := query.Get("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil {
			return r
		}
		if n > 0 { // then the engine counts what it has filtered, of all that there are
			f.limit = n
			query.Set("all", "1")
			query.Del("limit")
		}
	}
	r = r.WithContext(context.WithValue(r.Context(), filterKey{}, f))
	u := *r.URL
	u.RawQuery = query.Encode()
	r.URL = &u
	return r
}

// parseFilters takes the filters of ports from the others, which keep the form that they
// have: {"name":{"value":true}}, in API 1.21 and older {"name":["value"]}.
func parseFilters(text string) (rest string, f *portFilter, ok bool) {
	var all map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &all) != nil {
		return "", nil, false
	}
	f = &portFilter{publish: map[port]bool{}, expose: map[port]bool{}}
	for name, ports := range map[string]map[port]bool{"publish": f.publish, "expose": f.expose} {
		value, there := all[name]
		if !there {
			continue
		}
		var set map[string]bool
		var list []string
		if json.Unmarshal(value, &set) != nil && json.Unmarshal(value, &list) != nil {
			return "", nil, false
		}
		for one := range set {
			list = append(list, one)
		}
		for _, one := range list {
			if !addPorts(ports, one) {
				return "", nil, false
			}
		}
		delete(all, name)
	}
	if len(f.publish)+len(f.expose) == 0 {
		return "", nil, false
	}
	out, err := json.Marshal(all)
	return string(out), f, err == nil
}

// addPorts reads 80, 80/udp or 80-90/tcp.
func addPorts(to map[port]bool, text string) bool {
	numbers, proto, named := strings.Cut(text, "/")
	if !named || proto == "" {
		proto = "tcp"
	}
	from, until, isRange := strings.Cut(numbers, "-")
	if !isRange {
		until = from
	}
	first, err := strconv.ParseUint(from, 10, 16)
	last, errLast := strconv.ParseUint(until, 10, 16)
	if err != nil || errLast != nil || first > last || strings.Contains(text, ":") {
		return false
	}
	for n := first; n <= last; n++ {
		to[port{uint16(n), proto}] = true
	}
	return true
}

// apply leaves the containers in a list that the engine would leave: those with a port
// that one of the filters names.
func (f *portFilter) apply(text []byte) ([]byte, error) {
	all, err := elements(text, span{0, len(text)})
	if err != nil {
		return nil, err
	}
	kept := []json.RawMessage{} // never null
	for _, at := range all {
		var c struct{ Ports []listedPort }
		if err := json.Unmarshal(at.in(text), &c); err != nil {
			return nil, err
		}
		if f.limit > 0 && len(kept) == f.limit {
			break
		}
		for _, p := range c.Ports {
			if f.publish[port{p.PublicPort, p.Type}] || f.expose[port{p.PrivatePort, p.Type}] {
				kept = append(kept, at.in(text))
				break
			}
		}
	}
	return joinList(kept), nil
}

// joinList is a JSON array of values, which stay byte for byte as they are, with the
// line's end that the engine puts behind its answers.
func joinList(values []json.RawMessage) []byte {
	out := []byte{'['}
	for i, v := range values {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, v...)
	}
	return append(out, "]\n"...)
}
