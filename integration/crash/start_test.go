package crash

import (
	"slices"
	"testing"
)

// situation is what a start finds.
type situation struct {
	name string
	make func(t *testing.T, w *world) // what happens while mybr is away; nil: it never ran
	then string                       // the phase whose picture there must be behind it
}

func situations() []situation {
	return []situation{
		{"for the first time", nil, ""},
		{"with a container", func(*testing.T, *world) {}, "run"},
		{"with a container that ended", func(t *testing.T, w *world) {
			w.container.Run("ip", "link", "delete", "eth0")
			w.ep.joined = false
		}, ""},
		{"with a firewall that was flushed, and the bridge gone", func(t *testing.T, w *world) {
			w.host.Run("ip", "link", "delete", "br-"+w.net.id[:12])
			w.flushed()
		}, "run"},
	}
}

// before brings a situation about.
func (s situation) before(t *testing.T, w *world) {
	t.Helper()
	if s.make == nil {
		return
	}
	err := w.restart()
	for _, ph := range life()[:2] {
		if err == nil {
			err = ph.do(w)
		}
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, w.log())
	}
	w.kill()
	s.make(t, w)
}

// recordStarts lists what the starts pass.
func recordStarts(t *testing.T, firewall string) (all []passage) {
	for _, s := range situations() {
		t.Run("start "+s.name+", "+firewall, func(t *testing.T) {
			w := newWorldOf(t, firewall)
			s.before(t, w)
			seen, err := w.restarted()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, w.numbered("start", s.name, 0, seen)...)
		})
	}
	return all
}

// killedAtStart has mybr end at one place of its start, and start once more.
func killedAtStart(t *testing.T, p passage, seen pictures) {
	all := situations()
	s := all[slices.IndexFunc(all, func(s situation) bool { return s.name == p.call })]
	w := newWorldOf(t, p.firewall)
	s.before(t, w)
	err := w.start(order{Point: p.point, Nth: p.nth})
	if err == nil {
		err = w.died()
	}
	if err == nil {
		err = w.restart()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, w.log())
	}
	w.compare(t, s.then, seen)
	rest := life()
	if s.make != nil {
		rest = rest[2:]
	}
	for _, ph := range rest {
		if err := ph.do(w); err != nil {
			t.Fatalf("%s: %v\n%s", ph.name, err, w.log())
		}
		if len(w.lost) > 0 {
			t.Fatalf("%s: refused: %v\n%s", ph.name, w.lost, w.log())
		}
		w.compare(t, ph.name, seen)
	}
}
