package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// longestValue is how many bytes of a request or a command line are repeated in an error.
const longestValue = 64

// decode reads one JSON object into the struct that into points at. Its errors are of the
// kind model.ErrInvalid; that of a field with a value of another type names the field and
// ends with the value. Fields that the struct does not have are ignored, since newer
// engines send more than older ones.
//
// What is no object is refused: encoding/json takes null for an empty one, and a call must
// never be carried out with the zero value of its request.
func decode(body []byte, into any) error {
	body = bytes.TrimSpace(body)
	if !bytes.HasPrefix(body, []byte("{")) {
		return model.Invalid("the request is %q: want a JSON object (when its connection to mybr breaks, Docker repeats the call without a body: try again)", shorten(string(body)))
	}
	err := json.Unmarshal(body, into)
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil:
		return checkKeys(body)
	case errors.As(err, &mismatch):
		// Up to the end of a string or number, or the beginning of an array or object.
		read := body[max(0, int(mismatch.Offset)-longestValue):mismatch.Offset]
		return model.Invalid("the request's %s: want %s, have %s: …%s", mismatch.Field, mismatch.Type, mismatch.Value, read)
	default:
		return model.Invalid("the request is not JSON: %v", err)
	}
}

// mapFields are the fields of requests that are maps, in small letters.
var mapFields = []string{"options", "auxaddresses", "discoverydata"}

// checkKeys refuses an object that has a key twice: encoding/json would mix what the two
// have, and no two programs agree on which of them counts (RFC 8259, section 4). The names of
// the request's fields are the same to it in capitals and small letters; those in its maps are
// not. The text is known to be JSON.
func checkKeys(text []byte) error {
	type object struct {
		keys   map[string]bool // nil: an array
		value  bool            // a value comes next, behind its key
		fields bool            // the names are those of fields
		isMap  bool            // the last name was that of a map
	}
	var within []object // the objects and arrays around what comes next
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return model.Invalid("the request is not JSON: %v", err)
		}
		if last := len(within) - 1; last >= 0 && within[last].keys != nil && token != json.Delim('}') {
			o := &within[last]
			if key, ok := token.(string); ok && !o.value {
				name := key
				if o.fields {
					name = strings.ToLower(strings.ToUpper(key)) // ſ is s, too
					o.isMap = slices.Contains(mapFields, name)
				}
				if o.keys[name] {
					return model.Invalid("the request has the key %q twice in one object", shorten(key))
				}
				o.keys[name] = true
			}
			o.value = !o.value
		}
		fields := len(within) == 0 || within[len(within)-1].fields && !within[len(within)-1].isMap
		switch token {
		case json.Delim('{'):
			within = append(within, object{keys: map[string]bool{}, fields: fields})
		case json.Delim('['):
			within = append(within, object{fields: fields})
		case json.Delim('}'), json.Delim(']'):
			within = within[:len(within)-1]
		}
	}
}

// shorten cuts a value that is repeated in an error or the log.
func shorten(s string) string { return model.Shorten(s, longestValue) }
