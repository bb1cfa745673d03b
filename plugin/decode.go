package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/mybr/mybr/internal/jsonwalk"
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
//
// An array of more than largeOption bytes among the Options is left as it is written, a
// json.RawMessage: who wants it knows what it should be, and can read it into that.
func decode(body []byte, into any) error { return decodeWith(body, into, largeOption) }

// largeOption is some 40 published ports.
const largeOption = 4096

// decodeWith is decode with another largeOption.
func decodeWith(body []byte, into any, largeOption int) error {
	body = bytes.TrimSpace(body)
	if !bytes.HasPrefix(body, []byte("{")) {
		return model.Invalid("the request is %q: want a JSON object (when its connection to mybr breaks, Docker repeats the call without a body: try again)", shorten(string(body)))
	}
	text, large := body, map[string]json.RawMessage(nil)
	if len(body) > largeOption && optionsOf(into) != nil && json.Valid(body) {
		text, large = withoutLarge(body, largeOption)
	}
	err := json.Unmarshal(text, into)
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil:
		if err := checkKeys(body); err != nil || len(large) == 0 {
			return err
		}
		options := *optionsOf(into)
		if options == nil { // none of them was taken
			return nil
		}
		for key, value := range large {
			options[key] = value
		}
		return nil
	case errors.As(err, &mismatch):
		// Up to the end of a string or number, or the beginning of an array or object.
		read := text[max(0, int(mismatch.Offset)-longestValue):mismatch.Offset]
		return model.Invalid("the request's %s: want %s, have %s: …%s", mismatch.Field, mismatch.Type, mismatch.Value, read)
	default:
		return model.Invalid("the request is not JSON: %v", err)
	}
}

// optionsOf is the field for options of a request, nil if it has none.
func optionsOf(request any) *map[string]any {
	field := reflect.Indirect(reflect.ValueOf(request))
	if field.Kind() != reflect.Struct {
		return nil
	}
	if field = field.FieldByName("Options"); !field.IsValid() {
		return nil
	}
	options, _ := field.Addr().Interface().(*map[string]any)
	return options
}

// withoutLarge returns a request with null for each large array of its Options, and these. The
// text is known to be a JSON object.
func withoutLarge(body []byte, largeOption int) (text []byte, large map[string]json.RawMessage) {
	large = map[string]json.RawMessage{}
	w := jsonwalk.New(body)
	w.Next()
	copied := 0
	for key := w.Next(); key != nil && key[0] != '}'; key = w.Next() {
		value := w.Next()
		if name, _ := jsonwalk.Text(key); value[0] != '{' || !strings.EqualFold(string(name), "options") {
			w.Rest(value)
			continue
		}
		for key := w.Next(); key != nil && key[0] != '}'; key = w.Next() {
			if array := w.Rest(w.Next()); array[0] == '[' && len(array) > largeOption {
				name, _ := jsonwalk.Text(key)
				large[string(name)] = array
				text = append(append(text, body[copied:w.At()-len(array)]...), "null"...)
				copied = w.At()
			}
		}
	}
	return append(text, body[copied:]...), large
}

// fieldName is the same for all names that encoding/json takes for one field, which are those that
// strings.EqualFold does (ſ is s, too, and ı is not i): of each letter the least that is the same,
// and of ASCII the small one.
func fieldName(name []byte) string {
	return strings.Map(func(r rune) rune {
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		if 'A' <= least && least <= 'Z' {
			least += 'a' - 'A'
		}
		return least
	}, string(name))
}

// mapFields are the fields of requests that are maps, in small letters.
var mapFields = []string{"options", "auxaddresses", "discoverydata"}

// checkKeys refuses an object that has a key twice: encoding/json would mix what the two
// have, and no two programs agree on which of them counts (RFC 8259, section 4). The names of
// the request's fields are the same to it in capitals and small letters; those in its maps are
// not. The text is known to be JSON.
func checkKeys(text []byte) error {
	var within []nesting // the objects and arrays around what comes next
	w := jsonwalk.New(text)
	for token := w.Next(); token != nil; token = w.Next() {
		last := len(within) - 1
		if last >= 0 && within[last].object && token[0] != '}' {
			o := &within[last]
			if !o.value {
				if key, twice := o.key(token); twice {
					return model.Invalid("the request has the key %q twice in one object", shorten(key))
				}
			}
			o.value = !o.value
		}
		switch token[0] {
		case '{', '[':
			fields := last < 0 || within[last].fields && !within[last].isMap
			if last+1 < cap(within) {
				within = within[:last+2] // with the memory of an object that has ended
			} else {
				within = append(within, nesting{})
			}
			within[last+1].begin(token[0] == '{', fields)
		case '}', ']':
			within = within[:last]
		}
	}
	return nil
}

// nesting is an object or an array.
type nesting struct {
	object bool
	fields bool // the names are those of fields
	isMap  bool // the last name was that of a map
	value  bool // a value comes next, behind its key

	few  [][]byte        // the names of an object
	many map[string]bool // instead of few, where there are more than it is good for
}

// manyKeys is from how many names on a map is faster than a look at each.
const manyKeys = 16

func (o *nesting) begin(object, fields bool) {
	*o = nesting{object: object, fields: fields, few: o.few[:0]}
}

// key notes a name, and reports whether the object has it already.
func (o *nesting) key(token []byte) (key string, twice bool) {
	name, _ := jsonwalk.Text(token)
	written := name
	if o.fields {
		name = []byte(fieldName(name))
		o.isMap = slices.Contains(mapFields, string(name))
	}
	if o.many == nil && len(o.few) == manyKeys {
		o.many = make(map[string]bool, 2*manyKeys)
		for _, k := range o.few {
			o.many[string(k)] = true
		}
	}
	if o.many != nil {
		twice = o.many[string(name)]
		o.many[string(name)] = true
	} else {
		twice = slices.ContainsFunc(o.few, func(k []byte) bool { return bytes.Equal(k, name) })
		o.few = append(o.few, name)
	}
	if twice {
		key = string(written)
	}
	return key, twice
}

// shorten cuts a value that is repeated in an error or the log.
func shorten(s string) string { return model.Shorten(s, longestValue) }
