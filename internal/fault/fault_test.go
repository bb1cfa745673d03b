package fault_test

import (
	"errors"
	"testing"

	"github.com/mybr/mybr/internal/fault"
)

func TestPoint(t *testing.T) {
	if err := fault.Point("nobody listens"); err != nil {
		t.Error(err)
	}
	full := errors.New("no space left")
	var seen []string
	restore := fault.Set(func(point string) error {
		seen = append(seen, point)
		return full
	})
	if err := fault.Point("store: before the commit"); !errors.Is(err, full) {
		t.Error(err)
	}
	fault.Set(nil)()
	if err := fault.Point("again"); !errors.Is(err, full) || len(seen) != 2 {
		t.Error(err, seen)
	}
	if fault.Passed("store: after the commit"); len(seen) != 3 {
		t.Error(seen)
	}
	seen = seen[:2]
	restore()
	if err := fault.Point("over"); err != nil || len(seen) != 2 {
		t.Error(err, seen)
	}
}
