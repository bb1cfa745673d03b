package crash

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
)

// TestCrash ends mybr with SIGKILL at each place that a life passes, has Docker do what it
// does then, and compares with a life in which nothing went wrong. Of lives with the other
// backend of the firewall these are the places that only they have. With -short, of the
// places between two effects one is taken, and of those every other one; Docker's two ways
// come by turns.
func TestCrash(t *testing.T) {
	s := summary{fault: "mybr is killed between two effects of a call or of its start, and started again"}
	var places, starts []passage
	var seen map[string]pictures
	if !t.Run("record", func(t *testing.T) {
		places, seen = recordBoth(t)
		places = append(places, recordActivation(t)...)
		starts = ofBoth(recordStarts(t, usual()), recordStarts(t, other()))
	}) {
		return
	}
	t.Run("gaps", func(t *testing.T) { gaps(t, slices.Concat(places, starts)) })
	if testing.Short() {
		places = slices.DeleteFunc(places, func(p passage) bool { return !p.follows() })
		starts = slices.DeleteFunc(starts, func(p passage) bool { return !p.follows() })
	}
	turn := seed(t)
	t.Run("kill", func(t *testing.T) {
		for i, p := range places {
			for j, whole := range []bool{false, true} {
				if testing.Short() && (i+turn)%4 != 2*j {
					continue
				}
				s.try(t, p, map[bool]string{false: ", empty retry", true: ", good retry"}[whole], func(t *testing.T) { killed(t, p, whole, seen[p.firewall]) })
			}
		}
		for i, p := range starts {
			if testing.Short() && (i+turn)%2 != 0 {
				continue
			}
			s.try(t, p, "", func(t *testing.T) { killedAtStart(t, p, seen[p.firewall]) })
		}
	})
	s.tell(t, slices.Concat(places, starts))
}

// summary counts what was tried; go test -v lists it, by call and point.
type summary struct {
	fault           string // its row in docs/reliability.md
	tries, survived atomic.Int64
}

func (s *summary) try(t *testing.T, p passage, how string, play func(t *testing.T)) {
	t.Run(p.String()+how, func(t *testing.T) {
		t.Parallel()
		s.tries.Add(1)
		reliability.Try(t, s.fault, func() time.Duration {
			play(t)
			return 0
		})
		s.survived.Add(1)
	})
}

func (s *summary) tell(t *testing.T, all []passage) {
	calls, points := map[string]map[string]int{}, map[string]bool{}
	for _, p := range all {
		if calls[p.call] == nil {
			calls[p.call] = map[string]int{}
		}
		calls[p.call][p.point]++
		points[p.point] = true
	}
	t.Logf("%d calls, %d kinds of point, %d places, %d tries, %d survived", len(calls), len(points), len(all), s.tries.Load(), s.survived.Load())
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		t.Logf("%s:", call)
		for _, point := range slices.Sorted(maps.Keys(calls[call])) {
			t.Logf("%4d × %s", calls[call][point], point)
		}
	}
}

// seed is what decides what -short leaves out; MYBR_TEST_SEED repeats it.
func seed(t *testing.T) int {
	n := int(time.Now().Unix())
	if text := os.Getenv("MYBR_TEST_SEED"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("MYBR_TEST_SEED=%d", n)
	return n % 60
}

// follows reports whether a place comes right behind an effect, or is the first of a call:
// at the next places up to the next effect the host is the same.
func (p passage) follows() bool {
	return p.point == "plugin: before the call" ||
		regexp.MustCompile(`^(store|link|sysctl|conntrack|hostport|nftables): after |^iptables: after .*-restore|^plugin: after the answer`).MatchString(p.point)
}

// killed plays a life in which mybr ends at one place.
func killed(t *testing.T, p passage, whole bool, seen pictures) {
	w := newWorldOf(t, p.firewall)
	w.whole = whole
	if err := w.restart(); err != nil {
		t.Fatal(err)
	}
	phases := life()
	if p.phase == "activate" {
		phases = slices.Insert(phases, 0, phase{"activate", (*world).activate})
	}
	for _, ph := range phases {
		if ph.name == p.phase {
			w.kills(p)
		}
		w.at = 0
		err := ph.do(w)
		fired := w.aim == nil
		w.aim, w.past = nil, nil
		if err != nil {
			t.Fatalf("%s: %v\n%s", ph.name, err, w.log())
		}
		if ph.name == p.phase && (!fired || w.starts < 2) {
			t.Fatal("mybr was not killed")
		}
		w.compare(t, ph.name, seen)
	}
	// From the moment on that the second commit is on the disk: it says that the call is answered.
	committed := slices.Contains([]string{"store: at the end of the commit", "store: before the commit of the copy", "store: after the commit"}, p.point)
	if answered := p.call == "NetworkDriver.CreateNetwork" && (committed && p.nth == 2 || p.point == "plugin: before the answer"); w.gaps > 0 && !answered {
		t.Error("a network that Docker was not told of is in the way of the next")
	}
}

// compare fails the test unless the host is as it was behind a phase of the life without a
// crash.
func (w *world) compare(t *testing.T, phase string, seen pictures) {
	t.Helper()
	if phase == "remove" {
		if err := w.resend(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.settled(); err != nil {
		t.Fatalf("behind %s: %v", phase, err)
	}
	want, ok := seen[phase]
	if !ok {
		return
	}
	err := w.until(func() error {
		if d := differ(w.bearable(w.picture(t)), w.bearable(want)); d != "" {
			return errors.New(d)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("behind %s the host, or what is recorded, is not as without a fault:%v\nlost: %v\n%s", phase, err, w.lost, w.log())
	}
}

// bearable is a picture without what mybr can't know: an endpoint or an address that Docker
// has given up without a word stays, until the network goes.
func (w *world) bearable(picture []string) []string {
	kept := slices.DeleteFunc(slices.Clone(picture), func(line string) bool {
		if w.unheard && strings.HasPrefix(line, "lease ") && strings.Contains(line, `"endpoint"`) {
			return true
		}
		return slices.ContainsFunc(w.given, func(e endpoint) bool {
			recorded := slices.ContainsFunc(picture, func(l string) bool {
				return strings.HasPrefix(l, "endpoint ") && strings.Contains(l, e.id)
			})
			return recorded && strings.Contains(line, e.id[:10]) || e.has(line) && (recorded || strings.HasPrefix(line, "lease "))
		})
	})
	checked := func(line string) bool { return strings.HasPrefix(line, "nft bridge set ports: ") }
	if slices.ContainsFunc(picture, checked) && !slices.ContainsFunc(kept, checked) { // the table is there for these endpoints alone
		kept = slices.DeleteFunc(kept, func(line string) bool { return strings.HasPrefix(line, "nft bridge ") })
	}
	return kept
}

// has reports whether a line is about an address of the endpoint.
func (e endpoint) has(line string) bool {
	return slices.ContainsFunc(e.addresses, func(a string) bool {
		address, _, _ := strings.Cut(a, "/")
		return regexp.MustCompile(regexp.QuoteMeta(address) + `\b`).MatchString(line)
	})
}

// kills has the process end at a place of the phase that begins.
func (w *world) kills(p passage) {
	starts := w.starts
	w.aim = func(n int, name string) error {
		if n != p.n {
			return nil
		}
		if name != p.call {
			return fmt.Errorf("call %d is %s, want %s", n, name, p.call)
		}
		_, err := w.quiet()
		if err == nil {
			_, err = w.order(order{Point: p.point, Nth: p.nth})
		}
		w.aim = nil
		return err
	}
	w.past = func(n int, name string) error {
		if n != p.n || w.starts > starts {
			return nil
		}
		return errors.Join(w.died(), w.restart()) // it ends behind its answer
	}
}
