package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mybr/mybr/integration/ask"
	"github.com/mybr/mybr/integration/bench"
	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/plugin"
)

// errSeen ends the reading of events.
var errSeen = errors.New("seen")

// patience bounds what mybr may take to get in step.
const patience = 2 * time.Minute

func (sub *subject) admin() plugin.Client {
	return plugin.Client{RunDir: sub.w.Path("/run/mybr")}
}

// heal measures a pass from nothing, and how soon rules are there again that are flushed.
func heal(s *session) {
	s.close()
	const endpoints, each = 500, 4
	subjects := s.callers(1)
	for _, sub := range subjects {
		s.fill(sub, 0, endpoints)
		for n := range endpoints {
			s.must(sub.mybr.publish(endpoint{0, n}, firstPort+each*n, each))
		}
	}
	s.rounds(15, 5, subjects, func(sub *subject) {
		s.took(sub.key("Resync"), func() error {
			_, err := sub.admin().Sync(context.Background())
			return err
		})
		s.took(sub.key("FlushToHealed"), func() error { return flush(sub) })
	})
	s.close()
}

// flush flushes all rules and returns when mybr says that it has put them back.
func flush(sub *subject) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reading, healed := make(chan struct{}), make(chan error, 1)
	go func() {
		first := true
		healed <- sub.admin().Events(ctx, 1, func(e event.Event) error {
			if first { // one that was: from now on what happens is read
				first = false
				close(reading)
				return nil
			}
			if e.Kind == event.Healed && e.Aspect == "firewall" {
				return errSeen
			}
			return nil
		})
	}()
	select {
	case <-reading:
	case err := <-healed:
		return fmt.Errorf("events: %w", err)
	}
	sub.w.Host.Run("nft", "flush", "ruleset")
	if err := <-healed; !errors.Is(err, errSeen) {
		return fmt.Errorf("after a flush: %w", err)
	}
	return nil
}

// serves measures mybr's start with many networks and endpoints.
func serves(s *session) {
	s.close()
	const networks, endpoints = 100, 10 // of each
	subjects := s.callers(1)
	for _, sub := range subjects {
		for n := range networks {
			if n > 0 {
				s.must(sub.mybr.network(n))
			}
			s.fill(sub, n, endpoints)
		}
		sub.w.StopMybr()
	}
	measure := func(host string) func(*subject) {
		return func(sub *subject) {
			listening, ready := s.starts(sub)
			s.record.Add(bench.SizeKey("Listening", sub.version, sub.driver, "host", host), bench.Nanoseconds, float64(listening))
			s.record.Add(bench.SizeKey("Reconciled", sub.version, sub.driver, "host", host), bench.Nanoseconds, float64(ready))
		}
	}
	s.rounds(11, 3, subjects, measure("matches"))
	s.rounds(5, 3, subjects, func(sub *subject) {
		keep, err := os.MkdirTemp("", "bench-")
		s.must(err)
		defer os.RemoveAll(keep)
		records := sub.w.StateDir()
		s.must(os.CopyFS(keep+"/records", os.DirFS(records)))
		s.empty(sub)
		measure("empty")(sub)
		s.must(os.RemoveAll(records)) // a start removes the endpoints whose links are gone
		s.must(os.CopyFS(records, os.DirFS(keep+"/records")))
	})
	s.close()
}

// empty takes all from the host that mybr has there: links as one group, for which the kernel
// waits once.
func (s *session) empty(sub *subject) {
	sub.w.Host.Run("rm", "-rf", "/run/mybr")
	sub.w.Host.Run("nft", "flush", "ruleset")
	links, err := sub.w.Host.Handle().LinkList()
	s.must(err)
	const group = 4242
	var batch strings.Builder
	for _, link := range links {
		a := link.Attrs()
		if link.Type() == "bridge" && strings.HasPrefix(a.Name, "br-") || link.Type() == "veth" && a.MasterIndex != 0 {
			fmt.Fprintf(&batch, "link set dev %s group %d\n", a.Name, group)
		}
	}
	fmt.Fprintf(&batch, "link del group %d\n", group)
	s.must(sub.w.Host.Feed(batch.String(), "ip", "-batch", "-"))
}

// starts starts mybr, gives how long it took until it listened, and until the host matched,
// and ends it. It runs without its unit's confinement, which would cost the start of another
// process.
func (s *session) starts(sub *subject) (listening, ready time.Duration) {
	backend := strings.TrimPrefix(sub.driver, bench.MybrPrefix)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	socket := sub.w.Path(pluginSocket)
	begun := time.Now()
	errs := make(chan error, 2)
	go func() {
		errs <- until(ctx, &listening, begun, func() error {
			c, err := net.Dial("unix", socket)
			if err == nil {
				c.Close()
			}
			return err
		})
		// A call of Docker's waits for the first pass, and for the check behind it. To ask for
		// the status again and again would have the host compared each time.
		err := sub.mybr.mybr.Call(ctx, "NetworkDriver.EndpointOperInfo", endpoint{0, 0}.body(nil), nil)
		if refused := new(ask.Refused); errors.As(err, &refused) && refused.Err != "" {
			err = nil // where the host was emptied there is no such endpoint any more
		}
		ready = time.Since(begun)
		errs <- err
	}()
	run := sub.w.Host.Start("mybr", "serve", "--firewall", backend, "--state-dir", sub.w.StateDir())
	s.must(<-errs)
	s.must(<-errs)
	if code, lines := run.Stop(); code != 0 {
		s.Fatalf("mybr serve ended with %d: %s", code, strings.Join(lines, "\n"))
	}
	return listening, ready
}

// until asks each millisecond, and notes when it was so.
func until(ctx context.Context, took *time.Duration, begun time.Time, ask func() error) error {
	every := time.NewTicker(time.Millisecond)
	defer every.Stop()
	for {
		err := ask()
		if err == nil {
			*took = time.Since(begun)
			return nil
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}
