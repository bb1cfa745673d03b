package link

import (
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/nettest"
)

// What a bridge forwards to nobody would tell it where somebody is, and pass no rule.
func TestBridgeLearnsNothingFromItsOwnLink(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	apply(t, nil, set([]Bridge{br}))
	if text := h.Run("ip", "-d", "link", "show", br.Name); !strings.Contains(text, "no_linklocal_learn 1") {
		t.Errorf("it learns: %s", text)
	}
}
