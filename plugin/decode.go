package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"github.com/mybr/mybr/internal/model"
)

// longestValue is how many bytes of a wrong value are repeated in an error.
const longestValue = 64

// decode reads one JSON object into the struct that into points at. Its errors wrap
// model.ErrInvalid and name the field, the place (bytes from the body's start) and
// the value. Fields that the struct does not have are passed over, since newer
// engines send more than older ones.
//
// null is refused, although encoding/json takes it for an empty object: a call must
// never be carried out with the zero value of its request.
func decode(body []byte, into any) error {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return invalid("the request has no body: Docker lost its connection to mybr, and its retries are empty; try again")
	}
	if kind := kindOf(body[0]); kind != "" && json.Valid(body) {
		return invalid("the request is %s: want an object", kind)
	}
	err := json.Unmarshal(body, into)
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return invalid("the request is not JSON: %v (byte %d)", syntax, syntax.Offset)
	case errors.As(err, &mismatch):
		return invalid("the request's %s (byte %d) is %s: want %s", mismatch.Field, mismatch.Offset,
			valueAt(body, mismatch.Offset), wanted(mismatch.Type))
	default:
		return invalid("the request: %v", err)
	}
}

// invalidError is an error whose text does not repeat that of model.ErrInvalid.
type invalidError struct{ text string }

func (e *invalidError) Error() string { return e.text }

func (e *invalidError) Unwrap() error { return model.ErrInvalid }

func invalid(format string, args ...any) error {
	return &invalidError{text: fmt.Sprintf(format, args...)}
}

// kindOf says what JSON value begins with c; "" is an object or no JSON at all.
func kindOf(c byte) string {
	switch c {
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 'n':
		return "null"
	case 't', 'f':
		return "a truth value"
	}
	if c == '-' || c >= '0' && c <= '9' {
		return "a number"
	}
	return ""
}

// valueAt returns the JSON value that ends at, or for arrays and objects begins
// with, the token at offset, in the words of an error.
func valueAt(body []byte, offset int64) string {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if err != nil {
			return "of another type"
		}
		if dec.InputOffset() < offset {
			continue
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '[' || v == ']' {
				return "an array"
			}
			return "an object"
		case string:
			return strconv.Quote(shorten(v))
		default:
			return shorten(fmt.Sprint(v))
		}
	}
}

func shorten(s string) string {
	if len(s) <= longestValue {
		return s
	}
	return s[:longestValue] + "…"
}

// wanted says which JSON value a Go type takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a string in base64"
		}
		return "an array"
	default:
		return "a number (" + t.String() + ")"
	}
}
