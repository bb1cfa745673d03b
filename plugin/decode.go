package plugin

import (
	"bytes"
	"encoding/json"
	"errors"

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
		return nil
	case errors.As(err, &mismatch):
		// Up to the end of a string or number, or the beginning of an array or object.
		read := body[max(0, int(mismatch.Offset)-longestValue):mismatch.Offset]
		return model.Invalid("the request's %s: want %s, have %s: …%s", mismatch.Field, mismatch.Type, mismatch.Value, read)
	default:
		return model.Invalid("the request is not JSON: %v", err)
	}
}

func shorten(s string) string {
	if len(s) <= longestValue {
		return s
	}
	return s[:longestValue] + "…"
}
