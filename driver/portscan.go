package driver

import (
	"strconv"

	"github.com/mybr/mybr/internal/jsonwalk"
)

// scanEntries reads the text of optPortMap, which is JSON, if it is as Docker writes it; ok is
// false if not. It gives what readEntries does, in a tenth of the time: a container with 10,000
// ports has them read three times while it starts.
func scanEntries(text []byte) (entries []portEntry, ok bool) {
	w := jsonwalk.New(text)
	if token := w.Next(); token == nil || token[0] != '[' {
		return nil, false
	}
	entries = make([]portEntry, 0, min(len(text)/shortestEntry, maxEntries))
	for token := w.Next(); token != nil; token = w.Next() {
		switch token[0] {
		case ']':
			return entries, true
		case '{':
			var e portEntry
			if n := len(entries); n > 0 {
				e.HostIP = entries[n-1].HostIP // nearly always the same, so that it needs no memory of its own
			}
			if !e.scan(w) {
				return nil, false
			}
			entries = append(entries, e)
		default:
			return nil, false
		}
	}
	return nil, false
}

// shortestEntry is the length of an entry as Docker writes it, with the shortest values.
const shortestEntry = len(`{"Proto":6,"IP":"","Port":1,"HostIP":"","HostPort":1,"HostPortEnd":1}`)

// scan reads an object whose beginning is passed.
func (p *portEntry) scan(w *jsonwalk.Walker) bool {
	ip := p.HostIP
	p.HostIP = ""
	for key := w.Next(); key != nil; key = w.Next() {
		if key[0] == '}' {
			return true
		}
		value := w.Next()
		if value == nil {
			return false
		}
		ok := true
		switch string(key) {
		case `"Proto"`:
			ok = number(value, &p.Proto)
		case `"Port"`:
			ok = number(value, &p.Port)
		case `"HostPort"`:
			ok = number(value, &p.HostPort)
		case `"HostPortEnd"`:
			ok = number(value, &p.HostPortEnd)
		case `"HostIP"`:
			said, plain := jsonwalk.Text(value)
			if p.HostIP = ip; string(said) != ip {
				p.HostIP = string(said)
			}
			ok = plain && value[0] == '"'
		case `"IP"`: // the container's, which the endpoint's record has
			_, ok = jsonwalk.Text(value)
			ok = ok && value[0] == '"'
		default:
			ok = false // it may be one of these in other letters
		}
		if !ok {
			return false
		}
	}
	return false
}

// number reads a number without sign, fraction and exponent.
func number[T uint8 | uint16](token []byte, into *T) bool {
	bits := 8
	if ^T(0) > 1<<8-1 {
		bits = 16
	}
	n, err := strconv.ParseUint(string(token), 10, bits)
	*into = T(n)
	return err == nil
}
