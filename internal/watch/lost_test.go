package watch

import (
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

// That events were lost is told also if reading can't go on.
func TestLostForGood(t *testing.T) {
	h := nettest.New(t)
	told := &told{t: t, h: h}
	w, err := Open(told.config())
	if err != nil {
		t.Fatal(err)
	}
	defer w.links.Close()
	defer w.rules.Close()
	w.links.lost = true
	begun := 0
	w.read(t.Context(), w.links, "links", func(message) {}, func() error {
		if begun++; begun > 1 {
			return unix.ENOMEM
		}
		return nil
	}, w.cfg.LostLinks)
	all := told.all()
	if len(all) != 2 || !slices.Contains(all, "lost links") || !strings.Contains(strings.Join(all, "\n"), "warning: ") {
		t.Errorf("told %q, want that events were lost, and a warning", all)
	}
}
