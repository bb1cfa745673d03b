package plugin

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// It is told of the first refusals of each link, and then of twice as many; of a count that has
// begun anew, as of the first.
func TestRefusals(t *testing.T) {
	r := refusals{}
	for i, c := range []struct {
		now  map[string]uint64
		want string
	}{
		{map[string]uint64{"a": 0, "b": 0}, "[]"},
		{map[string]uint64{"a": 3, "b": 0}, "[a]"},
		{map[string]uint64{"a": 5, "b": 1}, "[b]"},
		{map[string]uint64{"a": 6, "b": 1}, "[a]"},
		{map[string]uint64{"a": 2, "b": 1}, "[a]"}, // flushed, and refused again
		{map[string]uint64{"b": 1}, "[]"},          // a has gone
		{map[string]uint64{"a": 1, "b": 2}, "[a b]"},
		{nil, "[]"},
		{map[string]uint64{"b": 2}, "[b]"},
	} {
		if got := fmt.Sprint(r.news(c.now)); got != c.want {
			t.Errorf("step %d: %s, want %s", i, got, c.want)
		}
	}
}

// Whoever has asked for it is told that it can't be had; who has not, how not to be told, and that
// Docker's own driver does no more. Who wants nobody checked is told nothing.
func TestUnchecked(t *testing.T) {
	lacks := errors.New("no bridges")
	for _, c := range []struct {
		mode  string
		asked bool
		lacks error
		want  string
	}{
		{model.SpoofRefuse, true, lacks, "--spoof refuse does nothing: no bridges"}, {model.SpoofAudit, true, lacks, "--spoof audit does nothing: no bridges"},
		{model.SpoofRefuse, false, lacks, "--spoof refuse, the default, does nothing on this host, which is as with Docker's own driver (--spoof allow says that this is meant): no bridges"},
		{model.SpoofRefuse, true, nil, ""}, {model.SpoofRefuse, false, nil, ""}, {model.SpoofAllow, true, lacks, ""}, {"", false, lacks, ""},
	} {
		err := Config{Spoof: c.mode, SpoofAsked: c.asked}.unchecked(c.lacks)
		if (err == nil) != (c.want == "") || err != nil && (err.Error() != c.want || !errors.Is(err, lacks)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
