package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mybr/mybr/integration/bench"
)

// The drivers have their turns, and none always comes after the same other one.
func TestRounds(t *testing.T) {
	subjects := []*subject{{driver: "a"}, {driver: "b"}, {driver: "c"}}
	turns := func(s *session) (order string) {
		s.rounds(4, 3, subjects, func(sub *subject) { order += sub.driver })
		return order
	}
	for _, c := range []struct {
		opts options
		want string
	}{
		{options{rounds: 1}, "abccbaabccba"},
		{options{rounds: 2}, "abccbaabccbaabccbaabccba"},
		{options{rounds: 0.1}, "abccbaabc"}, // not fewer than make an interval
		{options{rounds: 5, quick: true}, "abccbaabc"},
	} {
		if have := turns(&session{opts: c.opts}); have != c.want {
			t.Errorf("%+v: %s, want %s", c.opts, have, c.want)
		}
	}
}

// A row that fails takes its worlds down, and says why; what comes after it goes on.
func TestPlay(t *testing.T) {
	s := &session{out: io.Discard}
	var order []string
	err := s.play(bench.Row{ID: "first"}, func(s *session) {
		s.Cleanup(func() { order = append(order, "engine") })
		s.Cleanup(func() { order = append(order, "daemon") })
		s.must(errors.New("no such thing"))
		order = append(order, "not reached")
	})
	if err == nil || err.Error() != "first: no such thing" || !slices.Equal(order, []string{"daemon", "engine"}) {
		t.Errorf("%v, %v", err, order)
	}
	if err := s.play(bench.Row{ID: "second"}, func(*session) {}); err != nil || s.Failed() {
		t.Error(err)
	}
}

// What can't be done is noted once for each key.
func TestFail(t *testing.T) {
	s := &session{out: io.Discard, record: &bench.Record{}}
	for range 2 {
		s.fail("A", errors.New("too many"))
	}
	s.fail("B", errors.New("too few"))
	if len(s.record.Failures) != 2 {
		t.Errorf("%+v", s.record.Failures)
	}
}

func TestEach(t *testing.T) {
	var sum atomic.Int64
	if err := each(4, 100, func(n int) error { sum.Add(int64(n)); return nil }); err != nil || sum.Load() != 4950 {
		t.Errorf("%v, %d", err, sum.Load())
	}
	if err := each(4, -1, func(int) error { return errors.New("called") }); err != nil {
		t.Error(err)
	}
	if err := each(4, 10, func(n int) error { return fmt.Errorf("call %d", n) }); err == nil {
		t.Error("no error")
	}
}

// The rules of the first port are there for each other one, where Docker would have put
// them, and no other rule is.
func TestCopies(t *testing.T) {
	text, copied := copies(`# Generated
*nat
:DOCKER - [0:0]
-A POSTROUTING -s 10.0.0.0/24 -j MASQUERADE
-A DOCKER -p tcp -m tcp --dport 20001 -j DNAT --to-destination 10.0.0.2:20001
COMMIT
*filter
-A DOCKER -d 10.0.0.2/32 -p tcp -m tcp --dport 20001 -j ACCEPT
-A DOCKER ! -i br0 -o br0 -j DROP
COMMIT
`, 3)
	want := `*nat
-A DOCKER -p tcp -m tcp --dport 20003 -j DNAT --to-destination 10.0.0.2:20003
-A DOCKER -p tcp -m tcp --dport 20005 -j DNAT --to-destination 10.0.0.2:20005
COMMIT
*filter
-I DOCKER -d 10.0.0.2/32 -p tcp -m tcp --dport 20003 -j ACCEPT
-I DOCKER -d 10.0.0.2/32 -p tcp -m tcp --dport 20005 -j ACCEPT
COMMIT
`
	if copied != 2 || text != want {
		t.Errorf("%d rules copied:\n%s", copied, text)
	}
}

// Which backends there are is what the binary says.
func TestBackends(t *testing.T) {
	program := filepath.Join(t.TempDir(), "mybr")
	answer := func(script string) {
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	answer(`echo "mybr: invalid argument \"$3\" for \"--firewall\" flag: want one of auto, iptables, nftables" >&2; exit 1`)
	if have, err := backends(program); err != nil || !slices.Equal(have, []string{"iptables", "nftables"}) {
		t.Errorf("%v, %v", have, err)
	}
	for _, script := range []string{"exit 0", "echo unknown command; exit 1"} {
		answer(script)
		if have, err := backends(program); err == nil {
			t.Errorf("%s: %v", script, have)
		}
	}
}

// The ports of a kind are so many, and adjacent or not.
func TestPublished(t *testing.T) {
	for kind, step := range map[string]int{bench.RangeTCP: 1, bench.ScatteredIn: 2, bench.RangeUDP: 1} {
		all := published(kind, bench.ManyPorts)
		if len(all) != bench.ManyPorts || all[1].host-all[0].host != step || all[len(all)-1].host > 65535 {
			t.Errorf("%s: %d ports from %+v to %+v", kind, len(all), all[0], all[len(all)-1])
		}
		if (all[0].proto == "udp") != strings.HasSuffix(kind, "udp") {
			t.Errorf("%s is %s", kind, all[0].proto)
		}
	}
}

func TestCPUOfAProcess(t *testing.T) {
	before, err := cpuNanoseconds("/proc/self")
	if err != nil || before <= 0 {
		t.Fatal(before, err)
	}
	if _, err := cpuNanoseconds("/proc/nobody"); err == nil {
		t.Error("a process that isn't there has had a processor")
	}
}
