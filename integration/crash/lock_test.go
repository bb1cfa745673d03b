package crash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/reliability"
	lab "github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/firewall/iptables"
)

// commands gives mybr iptables of one kind (nft or legacy), and returns their directory.
func (w *world) commands(t *testing.T, kind string) (dir string) {
	t.Helper()
	dir, w.saves = t.TempDir(), nil
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			if err := os.Symlink("/usr/sbin/"+name+"-"+kind+suffix, filepath.Join(dir, name+suffix)); err != nil {
				t.Fatal(err)
			}
		}
		w.saves = append(w.saves, name+"-"+kind+"-save")
	}
	w.env = append(w.env, "PATH="+dir+":"+os.Getenv("PATH"))
	return dir
}

// busy has iptables-restore exit with 4, as it does when the lock is another's: once, or
// until the file is gone whose path is returned.
func (w *world) busy(t *testing.T, dir string, once bool) (marker string) {
	t.Helper()
	marker = filepath.Join(dir, "busy")
	script := `#!/bin/sh
if [ -e ` + marker + ` ]; then
	if ` + fmt.Sprint(once) + `; then rm ` + marker + `; fi
	echo "Another app is currently holding the xtables lock; waiting failed" >&2
	exit 4
fi
exec /usr/sbin/iptables-nft-restore "$@"
`
	restore := filepath.Join(dir, "iptables-restore")
	err := errors.Join(os.Remove(restore), os.WriteFile(restore, []byte(script), 0o755), os.WriteFile(marker, nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return marker
}

// iptables-restore exits with 4: once, and the call succeeds; or longer, and it is refused
// with what it says, changes nothing, and succeeds afterwards.
func TestIptablesBusy(t *testing.T) {
	reliability.Try(t, "iptables-restore exits with 4, once or all the time", func() time.Duration {
		for _, phase := range []int{0, 1, 2, 3} {
			for _, once := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, once=%v", life()[phase].name, once), func(t *testing.T) {
					t.Parallel()
					w := newWorldOf(t, iptables.Name)
					dir := w.commands(t, "nft")
					err := w.restart()
					for _, ph := range life()[:phase] {
						err = errors.Join(err, ph.do(w))
					}
					if err != nil {
						t.Fatalf("%v\n%s", err, w.log())
					}
					if err := w.settled(); err != nil {
						t.Fatal(err)
					}
					before := lasting(w.picture(t))
					marker := w.busy(t, dir, once)
					err = life()[phase].do(w)
					if once != (err == nil) && phase < 2 {
						t.Fatalf("have %v\n%s", err, w.log())
					}
					if err != nil && (!strings.Contains(err.Error(), "exit status 4") || !strings.Contains(err.Error(), "holding the xtables lock")) {
						t.Errorf("refused without the reason: %v", err)
					}
					if len(w.lost) > 0 {
						t.Errorf("refused: %v", w.lost)
					}
					if err := os.Remove(marker); err != nil && !errors.Is(err, os.ErrNotExist) {
						t.Fatal(err)
					}
					if err := w.settled(); err != nil {
						t.Fatal(err)
					}
					rest := life()[phase+1:]
					if err != nil {
						if d := differ(lasting(w.picture(t)), before); d != "" {
							t.Errorf("refused, and yet changed:%s", d)
						}
						rest = life()[phase:]
					}
					w.ends(t, rest)
				})
			}
		}
		return 0
	})
}

// ends plays the rest of a life, of which nothing must be left.
func (w *world) ends(t *testing.T, rest []phase) {
	t.Helper()
	for _, ph := range rest {
		if err := ph.do(w); err != nil || len(w.lost) > 0 {
			t.Fatalf("%s: %v, refused: %v\n%s", ph.name, err, w.lost, w.log())
		}
	}
	if _, err := w.quiet(); err != nil {
		t.Fatal(err)
	}
	left := slices.DeleteFunc(w.picture(t), func(line string) bool {
		return !isRule(line) && !strings.Contains(line, "br-") || strings.Contains(line, "MYBR-FORWARD-DROP") || isLast(line)
	})
	if left = append(left, w.records(t)...); len(left) > 0 {
		t.Errorf("left: %s", strings.Join(left, "\n"))
	}
}

// Another program holds the lock of the legacy iptables. A call waits for it, though not for
// ever: then it is refused, with the question that helps, and has changed nothing.
func TestXtablesLock(t *testing.T) {
	reliability.Try(t, "another program holds the lock of the legacy iptables", func() time.Duration {
		for _, long := range []bool{false, true} {
			t.Run(fmt.Sprintf("long=%v", long), func(t *testing.T) {
				if long {
					lab.Full(t)
				}
				t.Parallel()
				w := newWorldOf(t, iptables.Name)
				w.commands(t, "legacy")
				if err := w.restart(); err != nil {
					t.Fatal(err)
				}
				lock, err := os.OpenFile(filepath.Join(w.dir, "xtables.lock"), os.O_CREATE|os.O_RDWR, 0o600)
				if err == nil {
					err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
				}
				if err != nil {
					t.Fatal(err)
				}
				before := w.picture(t)
				answer := make(chan error, 1)
				go func() { answer <- w.createNetwork() }()
				if !long { // else the call gives up
					waits := func() error { return w.waiting() }
					if err := w.until(waits); err != nil {
						t.Fatal(err)
					}
					if err := lock.Close(); err != nil {
						t.Fatal(err)
					}
				}
				refused := <-answer
				if long != (refused != nil) {
					t.Fatalf("have %v\n%s", refused, w.log())
				}
				rest := life()[1:]
				if long {
					if !strings.Contains(refused.Error(), "does another program hold /run/xtables.lock?") {
						t.Errorf("refused without the reason: %v", refused)
					}
					if err := lock.Close(); err != nil {
						t.Fatal(err)
					}
					if err := w.settled(); err != nil {
						t.Fatal(err)
					}
					if d := differ(w.picture(t), before); d != "" {
						t.Errorf("refused, and yet changed:%s", d)
					}
					rest = life()
				}
				w.ends(t, rest)
			})
		}
		return 0
	})
}

// waiting is an error until a process waits for the lock (proc_locks(5): "->").
func (w *world) waiting() error {
	text, err := os.ReadFile("/proc/locks")
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(w.dir, "xtables.lock"))
	if err != nil {
		return err
	}
	inode := fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "->") && strings.Contains(line, inode) {
			return nil
		}
	}
	return errors.New("nobody waits for the lock")
}
