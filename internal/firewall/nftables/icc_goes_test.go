package nftables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/spoof"
)

// Where containers may begin nothing to each other instead of what a list says, bridges keep ports apart
// before the list goes: no frame passes in between. And if that can't be had, the list stays.
func TestICCListGoes(t *testing.T) {
	refused := ether(macBen, macEve, 0x800, ip4(evesAddr, bensAddr, 6, 0, append(segmentOf(40000, 5433, syn), "refused"...)))
	list := iccSet(t, "client>server:5432", "client", "server")
	none := spoof.Set{Ports: slices.Clone(list.Ports), Apart: []string{"vethben", "vetheve"}}
	for i := range none.Ports {
		none.Ports[i].Listed, none.Ports[i].Class = false, ""
	}
	unchecked := spoof.Set{Apart: none.Apart} // and no sender is checked any more
	other := spoof.Set{
		Ports:    []spoof.Port{{Link: "vethother", Bridge: "br8", MAC: macHost, Listed: true}},
		Networks: []spoof.Network{spoof.NewNetwork("br8", list.Networks[0].Rules(), nil, nil, nil)},
	}
	for _, test := range []struct {
		name       string
		have, want spoof.Set
		known      bool
	}{
		{"the only list", list, none, true},
		{"beside another list", list.With(other), other.With(none), true},
		{"with nothing known", list, none, false},
		{"no sender is checked any more", list, unchecked, true},
		{"beside another list no sender is checked any more", list.With(other), other.With(unchecked), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSegment(t)
			have := &test.have
			s.apply(nil, *have)
			if !test.known {
				have = nil
			}
			failed := errors.New("the kernel does not")
			s.spoof.Isolate = func(context.Context, []string) error { return failed }
			if err := s.spoof.Apply(t.Context(), have, test.want); !errors.Is(err, failed) {
				t.Errorf("ports can't be kept apart: %v", err)
			}
			s.drops("what is not listed, when ports can't be kept apart", refused)

			var apart []string
			s.spoof.Isolate = func(_ context.Context, links []string) error {
				s.drops("what is not listed, before ports are kept apart", refused)
				for _, l := range links {
					s.host.Run("ip", "link", "set", l, "type", "bridge_slave", "isolated", "on")
				}
				apart = links
				return nil
			}
			sending, sent := make(chan struct{}), make(chan int)
			go func() {
				for n := 0; ; n++ {
					select {
					case <-sending:
						sent <- n
						return
					default:
						_, _ = unix.Write(s.tx, refused) // ENOBUFS: it has sent a lot
					}
				}
			}()
			s.apply(have, test.want)
			close(sending)
			if n := <-sent; n == 0 || !slices.Equal(apart, none.Apart) {
				t.Errorf("%d frames were sent; kept apart are %q", n, apart)
			}
			if s.seen(refused) {
				t.Error("a frame passes that neither the list nor ports that are kept apart let through")
			}
		})
	}

	// Where they may begin everything, nothing is kept apart.
	s := newSegment(t)
	s.apply(nil, list)
	s.spoof.Isolate = func(_ context.Context, links []string) error { return fmt.Errorf("%q are kept apart", links) }
	all := none
	all.Apart = nil
	s.apply(&list, all)
	s.passes("what was not listed", refused)
}
