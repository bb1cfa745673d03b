package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// Events that nobody reads in time are lost, which is told, and later ones are told of again.
func TestLost(t *testing.T) {
	h := nettest.New(t)
	told := &told{t: t, h: h, own: map[int]bool{}}
	w, err := Open(told.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*socket{w.links, w.rules} {
		if err := s.resize(1); err != nil { // the kernel has a least size
			t.Fatal(err)
		}
	}
	var links, rules strings.Builder
	rules.WriteString("*filter\n")
	for i := range 20 {
		fmt.Fprintf(&links, "link add d%d type bridge\n", i)
		fmt.Fprintf(&rules, ":MYBR-%d - [0:0]\n-A MYBR-%d -j ACCEPT\n", i, i)
	}
	rules.WriteString("COMMIT\n")
	h.Feed(links.String(), "ip", "-batch", "-")
	h.Feed(rules.String(), "iptables-nft-restore", "--noflush")
	for _, s := range []*socket{w.links, w.rules} {
		if err := s.resize(receiveBuffer); err != nil {
			t.Fatal(err)
		}
	}
	told.run(w)
	told.until("lost links", "lost rules")
	round := 0
	nettest.Eventually(t, within, func() error { // all names are learnt again, soon
		was, name := fmt.Sprintf("d%d", round), fmt.Sprintf("e%d", round)
		h.Run("ip", "link", "set", was, "name", name)
		round++
		if slices.Contains(told.links(), "link "+was) {
			return nil
		}
		return fmt.Errorf("%s was renamed, and nothing told of %s", was, was)
	})
	pid := told.pid([]string{"iptables-nft", "-F"})
	told.until(fmt.Sprintf("rules by iptables-nft (pid %d)", pid))
}

// resize changes the size of a socket's buffer.
func (s *socket) resize(bytes int) (err error) {
	controlErr := s.conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
	})
	if controlErr != nil {
		return controlErr
	}
	return err
}

// Events that can't be read for a while are lost, which is told; then later ones are told of.
func TestCannotRead(t *testing.T) {
	h := nettest.New(t)
	told := &told{t: t, h: h}
	w, err := Open(told.config())
	if err != nil {
		t.Fatal(err)
	}
	defer w.links.Close()
	defer w.rules.Close()
	w.links.lost = true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := 0
	w.read(ctx, w.links, "links", func(message) {}, func() error {
		switch begun++; begun {
		case 1:
			return nil
		case 2, 3:
			if got := w.Trouble(); begun == 3 && !errors.Is(got, unix.ENOMEM) {
				t.Errorf("in trouble: %v", got)
			}
			return unix.ENOMEM
		case 4:
			w.links.lost = true // so that it is read once more
			return nil
		}
		if got := w.Trouble(); got != nil {
			t.Errorf("after the trouble: %v", got)
		}
		cancel()
		return nil
	}, w.cfg.LostLinks)
	all := told.all()
	lost := slices.DeleteFunc(slices.Clone(all), func(line string) bool { return line != "lost links" })
	if len(lost) != begun-1 || len(all) != begun || !strings.Contains(strings.Join(all, "\n"), "warning: ") {
		t.Errorf("told %q in %d rounds, want that events were lost in each but the first, and one warning", all, begun)
	}
}
