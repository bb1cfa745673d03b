package dockerproxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// span is a part of a text: the bytes of one JSON value.
type span struct{ from, to int }

func (s span) in(text []byte) []byte { return text[s.from:s.to] }

// members finds the values of a JSON object, by their names.
func members(text []byte, object span) (map[string]span, error) {
	found := map[string]span{}
	err := values(text, object, '{', func(name string, at span) { found[name] = at })
	return found, err
}

// elements finds the values of a JSON array.
func elements(text []byte, array span) (found []span, err error) {
	err = values(text, array, '[', func(_ string, at span) { found = append(found, at) })
	return found, err
}

// values finds the values of an object or array.
func values(text []byte, whole span, opening json.Delim, tell func(name string, at span)) error {
	d := json.NewDecoder(bytes.NewReader(whole.in(text)))
	first, err := d.Token()
	if err != nil {
		return err
	}
	if first != opening {
		return fmt.Errorf("have %v, want %v", first, opening)
	}
	for d.More() {
		var name string
		if opening == '{' {
			token, err := d.Token()
			if err != nil {
				return err
			}
			name = token.(string) // what comes before a value in an object is a string
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		end := whole.from + int(d.InputOffset())
		tell(name, span{end - len(value), end})
	}
	_, err = d.Token() // the closing one
	return err
}

// replacement is what a part of a text becomes.
type replacement struct {
	at   span
	with []byte
}

// replace makes a text anew with some parts replaced, which don't overlap.
func replace(text []byte, parts []replacement) []byte {
	slices.SortFunc(parts, func(a, b replacement) int { return a.at.from - b.at.from })
	out := make([]byte, 0, len(text))
	done := 0
	for _, p := range parts {
		out = append(append(out, text[done:p.at.from]...), p.with...)
		done = p.at.to
	}
	return append(out, text[done:]...)
}
