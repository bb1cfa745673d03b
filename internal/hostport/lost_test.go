package hostport

import (
	"errors"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// A port that was held for both families, and can't be held again for the one that stays, is
// told of, and a look at everything finds it missing.
func TestLostHalf(t *testing.T) {
	withContainer(t)
	var lost []error
	m := start(t, Config{Lost: func(err error) { lost = append(lost, err) }})
	want := publish(t, m, both(model.TCP, 8080, 8080, 80))
	one := Set{Bindings: want.Bindings[:1]}
	refused := errors.New("no more")
	stop := fault.Set(func(point string) error {
		if point == "hostport: before binding a socket" {
			return refused
		}
		return nil
	})
	p, err := m.Plan(t.Context(), &want, one)
	if err == nil {
		err = p.Do(t.Context())
	}
	stop()
	if err != nil {
		t.Fatal(err)
	}
	if len(lost) != 1 || !errors.Is(lost[0], refused) || !strings.Contains(lost[0].Error(), "tcp 0.0.0.0:8080") {
		t.Errorf("told of %v", lost)
	}
	if p, err := m.Plan(t.Context(), nil, one); err != nil || len(p) != 1 {
		t.Errorf("a look at everything finds %q, %v", p.Changes(), err)
	}
}
