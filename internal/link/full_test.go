package link

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// many returns the pair of endpoint n, of thousands.
func many(n int, on Bridge) Veth {
	return Veth{
		Host: fmt.Sprintf("veth%010d", n), Peer: fmt.Sprintf("veth%010dc", n), Bridge: on.Name,
		Alias: fmt.Sprintf("%s%04d", model.AliasEndpoint, n), MAC: model.MAC{2, 0x43, 0, 0, byte(n >> 8), byte(n)},
	}
}

// A bridge that is full refuses a pair with an error that says what to do. It is about that
// pair alone: the others are there, another bridge takes it, and there is room once one goes.
func TestFullBridge(t *testing.T) {
	h := nettest.New(t)
	full, other := bridge(1), bridge(2)
	var pairs []Veth
	for n := range maxPorts {
		pairs = append(pairs, many(n, full))
	}
	want := set([]Bridge{full, other}, pairs...)
	apply(t, nil, want)
	more := set(want.Bridges, append(pairs, many(5000, full), many(6000, other))...)
	for what, from := range map[string]*Set{"a difference": &want, "everything": nil} {
		errs := refused(t, from, more)
		err := errs[many(5000, full).Host]
		if len(errs) != 1 || !errors.Is(err, unix.EXFULL) || !strings.Contains(err.Error(), "bridge mybr1 is full: it has the 1023 ports") || !strings.Contains(err.Error(), "a second network") {
			t.Errorf("%s: %v", what, errs)
		}
		links := ipLinks(t, h)
		if there := links[many(6000, other).Host]; there.Master != other.Name {
			t.Errorf("%s: the pair of another bridge: %+v", what, there)
		}
		if _, left := links[many(5000, full).Host]; left {
			t.Errorf("%s: a pair that was refused is there", what)
		}
	}
	apply(t, &want, set(want.Bridges, values(want.Veths[1:])...))
	apply(t, nil, set(more.Bridges, values(more.Veths[1:])...))
	if there := ipLinks(t, h)[many(5000, full).Host]; there.Master != full.Name {
		t.Errorf("once there is room: %+v", there)
	}
}
