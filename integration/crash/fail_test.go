package crash

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// errnos are what an effect fails with; with -short one of them.
func errnos(point string) []syscall.Errno {
	if strings.HasPrefix(point, "store: ") {
		return []syscall.Errno{unix.ENOSPC, unix.EROFS, unix.EIO}
	}
	all := []syscall.Errno{unix.EBUSY, unix.ENOBUFS, unix.ENOSPC}
	if point != "link: before adding an address" { // of which EEXIST says that it is there
		all = append(all, unix.EEXIST)
	}
	if point != "sysctl: before writing disable_ipv6" { // which a pair does without where it must
		all = append(all, unix.EPERM)
	}
	return all
}

// changes reports whether what comes behind the place changes something, and can fail.
func (p passage) changes() bool {
	return regexp.MustCompile(`^(store|link|sysctl|conntrack|hostport|nftables): before |^iptables: before .*-restore`).MatchString(p.point) &&
		!strings.Contains(p.point, "closing")
}

// TestFail has each effect of each call fail, for as long as the call lasts and, with every
// other error, once: then
// the call succeeds all the same, or it is refused with a reason and has changed nothing.
// When the fault is over the host matches, and the life goes on to its end.
func TestFail(t *testing.T) {
	s := summary{fault: "an effect fails, once or as long as the call lasts: a write, a netlink message, a command"}
	var places []passage
	var seen map[string]pictures
	if !t.Run("record", func(t *testing.T) { places, seen = recordBoth(t) }) {
		return
	}
	places = slices.DeleteFunc(places, func(p passage) bool { return !p.changes() })
	turn := seed(t)
	t.Run("fail", func(t *testing.T) {
		for i, p := range places {
			for j, errno := range errnos(p.point) {
				if n := len(errnos(p.point)); testing.Short() && j != (i+turn)%n {
					continue
				}
				for times, how := range map[int]string{1: "once", 0: "always"} {
					if testing.Short() && (i+turn)%4 != 2*times || times == 1 && (i+j+turn)%2 != 0 {
						continue
					}
					s.try(t, p, fmt.Sprintf(", %s %s", unix.ErrnoName(errno), how), func(t *testing.T) {
						failed(t, p, order{Point: p.point, Nth: p.nth, Errno: errno, Times: times}, seen[p.firewall])
					})
				}
			}
		}
	})
	s.tell(t, places)
}

// failed plays a life in which one effect fails.
func failed(t *testing.T, p passage, fault order, seen pictures) {
	w := newWorldOf(t, p.firewall)
	if err := w.restart(); err != nil {
		t.Fatal(err)
	}
	for _, ph := range life() {
		if ph.name == p.phase {
			w.fails(t, p, fault)
		}
		w.at = 0
		err := ph.do(w)
		if err != nil && ph.name == p.phase && w.verdict == nil { // the user tries again
			err = ph.do(w)
		}
		w.aim, w.judge = nil, nil
		if err == nil {
			err = w.verdict
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", ph.name, err, w.log())
		}
		w.compare(t, ph.name, seen)
	}
}

// fails has an effect of the phase that begins fail, and looks at the call and the host then.
func (w *world) fails(t *testing.T, p passage, fault order) {
	var before []string
	done := false
	w.aim = func(n int, name string) error {
		if n != p.n || done {
			return nil
		}
		if name != p.call {
			return fmt.Errorf("call %d is %s, want %s", n, name, p.call)
		}
		_, err := w.quiet()
		before = lasting(w.picture(t))
		if err == nil {
			_, err = w.order(fault)
		}
		return err
	}
	w.judge = func(n int, name string, refused error) error {
		if n != p.n || done {
			return nil
		}
		done = true
		times, err := w.fired()
		if err == nil && times == 0 {
			err = errors.New("nothing has failed")
		}
		if err != nil {
			return err
		}
		if refused != nil && fault.Errno != unix.EEXIST && !strings.Contains(refused.Error(), fault.Errno.Error()) {
			return fmt.Errorf("refused without a reason: %w", refused)
		}
		if err := w.settled(); err != nil {
			return err
		}
		if refused == nil || removes(name) {
			return nil // removals are carried out as far as can be
		}
		err = w.until(func() error {
			if d := differ(lasting(w.picture(t)), before); d != "" {
				return errors.New(d)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("refused (%w), and yet changed:%w", refused, err)
		}
		return nil
	}
}

// lasting is a picture without what lasts once a container was asked for: that the host
// forwards, and what keeps it from being a router for everybody.
func lasting(picture []string) []string {
	picture = slices.Clone(picture)
	for i, line := range picture {
		picture[i] = regexp.MustCompile(` fwd=[46]+`).ReplaceAllString(line, "") // in the alias of a bridge
	}
	return slices.DeleteFunc(picture, func(line string) bool {
		return strings.HasPrefix(line, "setting ") || strings.Contains(line, "MYBR-FORWARD-DROP") || isLast(line)
	})
}

// removes reports whether a call takes something away.
func removes(call string) bool {
	return regexp.MustCompile(`\.(Release|Delete|Leave|Revoke)`).MatchString(call)
}
