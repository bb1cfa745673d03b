package crash

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// phase is one command of the user's, and what there must be behind it.
type phase struct {
	name string
	do   func(w *world) error
}

// life is a network with a container, from the beginning to the end. A command that fails
// because mybr ended in it, and Docker's retry was empty, is given once more, as a user would.
func life() []phase {
	again := func(do func(w *world) error) func(w *world) error {
		return func(w *world) error {
			starts := w.starts
			err := do(w)
			if err != nil && w.starts > starts && !w.whole {
				err = w.untold(do(w), do)
			}
			return err
		}
	}
	return []phase{
		{"create", again((*world).createNetwork)},
		{"run", again((*world).run)},
		{"stop", func(w *world) error { w.stop(); return nil }},
		{"remove", func(w *world) error { w.removeNetwork(); return nil }},
	}
}

// untold is for the one place at which mybr can't know: it has recorded that the network is
// answered for, and ends before the answer is out. The network stays, and so does its pool,
// until it is removed.
func (w *world) untold(err error, do func(w *world) error) error {
	if err == nil || !strings.Contains(err.Error(), "overlaps") || w.unknown == "" {
		return err
	}
	w.gaps++
	if _, err := w.call("NetworkDriver.DeleteNetwork", object{"NetworkID": w.unknown}); err != nil {
		return err
	}
	return do(w)
}

// resend sends what Docker has given up, whole: so that nothing is left of it.
func (w *world) resend() error {
	var errs []error
	for _, c := range w.lost {
		_, err := w.call(c.name, c.body)
		errs = append(errs, err)
	}
	w.lost = nil
	return errors.Join(errs...)
}

// passage is one place in one call of one phase.
type passage struct {
	firewall    string // the backend
	phase, call string
	n           int // of the call in its phase
	point       string
	nth         int
}

func (p passage) String() string {
	return fmt.Sprintf("%s %d %s: %s#%d", p.phase, p.n, p.call, p.point, p.nth)
}

// pictures are what there is behind each phase.
type pictures map[string][]string

// record plays a life without any fault and returns the places that it passes, and the
// pictures behind each phase.
func record(t *testing.T, firewall string) (all []passage, seen pictures) {
	w := newWorldOf(t, firewall)
	if err := w.restart(); err != nil {
		t.Fatal(err)
	}
	seen = pictures{}
	for _, ph := range life() {
		w.notes(ph.name, &all)
		if _, err := w.quiet(); err != nil {
			t.Fatal(err)
		}
		if err := ph.do(w); err != nil {
			t.Fatalf("%s: %v\n%s", ph.name, err, w.log())
		}
		if len(w.lost) > 0 {
			t.Fatalf("%s: refused: %v\n%s", ph.name, w.lost, w.log())
		}
		w.past = nil
		if err := w.settled(); err != nil {
			t.Fatal(err)
		}
		seen[ph.name] = w.picture(t)
	}
	return all, seen
}

// recordBoth records a life with each backend: all places of the usual one, those of the
// other one that only it has, and the pictures of each.
func recordBoth(t *testing.T) (all []passage, seen map[string]pictures) {
	places, of := record(t, usual())
	others, ofOther := record(t, other())
	return ofBoth(places, others), map[string]pictures{usual(): of, other(): ofOther}
}

// notes adds what each call of a phase passes to a list.
func (w *world) notes(phase string, all *[]passage) {
	w.at = 0
	w.past = func(n int, name string) error {
		seen, err := w.quiet()
		*all = append(*all, w.numbered(phase, name, n, seen)...)
		return err
	}
}

// numbered tells the passages of one point from each other.
func (w *world) numbered(phase, call string, n int, seen []string) (all []passage) {
	count := map[string]int{}
	for _, point := range seen {
		count[point]++
		all = append(all, passage{w.firewall, phase, call, n, point, count[point]})
	}
	return all
}

// recordActivation is record for the calls that change nothing. The passes that Docker's
// start causes soon after them are left out.
func recordActivation(t *testing.T) (all []passage) {
	w := newWorld(t)
	if err := w.restart(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.quiet(); err != nil {
		t.Fatal(err)
	}
	w.notes("activate", &all)
	if err := w.activate(); err != nil {
		t.Fatalf("%v\n%s", err, w.log())
	}
	return slices.DeleteFunc(all, func(p passage) bool { return !strings.HasPrefix(p.point, "plugin: ") })
}
