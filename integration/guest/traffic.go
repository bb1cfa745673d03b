package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/mybr/mybr/integration/report"
)

const (
	// trafficEvery is the time between two requests of a flow, and so what a gap can be
	// told by.
	trafficEvery = 20 * time.Millisecond
	// trafficReply is how long a datagram's answer is waited for before the next is sent. It
	// adds to a gap, so it is short, and longer than a loaded machine takes to answer.
	trafficReply = 100 * time.Millisecond
	// trafficDial is how long a connection is tried for. The kernel sends a SYN that got
	// lost again after 1 s (RFC 6298), when fifty others have been tried.
	trafficDial = 900 * time.Millisecond
	// trafficSettle bounds the wait for the first answer, and for one after the end.
	trafficSettle = 10 * time.Second
)

// traffic repeats requests, a JSON list of report.Flow, until SIGTERM. It prints "ready" once
// each has been answered (a closed and a late one: sent), and at the end a report.Flowed for each.
// The end of a flow is an answer to what it sent after SIGTERM.
func traffic(args []string) error {
	var flows []report.Flow
	if len(args) != 1 {
		return fmt.Errorf("%w: traffic JSON", errUsage)
	}
	if err := json.Unmarshal([]byte(args[0]), &flows); err != nil {
		return fmt.Errorf("%w: traffic: %w", errUsage, err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	watches := make([]*watch, len(flows))
	for i, f := range flows {
		run, err := flowKind(f.Kind)
		if err != nil {
			return err
		}
		watches[i] = newWatch(f)
		go run(watches[i], uint16(os.Getpid()+i))
	}
	if err := ready(watches, stop); err != nil {
		return err
	}
	if _, err := fmt.Println("ready"); err != nil {
		return err
	}
	<-stop
	for _, w := range watches {
		w.end()
	}
	late := make(chan time.Time)
	time.AfterFunc(trafficSettle, func() { close(late) }) // for all of them
	for _, w := range watches {
		if err := say(w.result(late)); err != nil {
			return err
		}
	}
	return nil
}

func flowKind(kind string) (func(*watch, uint16), error) {
	run, ok := map[string]func(*watch, uint16){
		report.Stream: streams, report.Connects: connects, report.UDP: datagrams, report.Ping: pings,
	}[kind]
	if !ok {
		return nil, fmt.Errorf("%w: traffic: kind %q", errUsage, kind)
	}
	return run, nil
}

func ready(watches []*watch, stop <-chan os.Signal) error {
	late := time.After(trafficSettle)
	for _, w := range watches {
		select {
		case <-w.began:
		case <-stop:
			return errors.New("stopped before it began")
		case <-late:
			w.mu.Lock()
			defer w.mu.Unlock()
			return fmt.Errorf("%s to %s: no answer within %v: %s", w.seen.Kind, w.seen.To, trafficSettle, w.seen.Err)
		}
	}
	return nil
}

// watch is what is known of one flow.
type watch struct {
	began, over chan struct{} // the first answer; the answer after the end

	mu          sync.Mutex
	seen        report.Flowed
	first, last time.Time // answers; last begins with the first request
	newest      time.Time // when the newest request was sent that was answered
	ended       time.Time // zero: it goes on
}

func newWatch(f report.Flow) *watch {
	return &watch{began: make(chan struct{}), over: make(chan struct{}), seen: report.Flowed{Flow: f}}
}

// sending counts a request and gives when it was sent.
func (w *watch) sending() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Sent++
	now := time.Now()
	if w.seen.Sent == 1 {
		w.last = now
		if w.seen.Closed || w.seen.Late {
			close(w.began)
		}
	}
	return now
}

// answered notes the answer to a request.
func (w *watch) answered(sent time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.seen.Answered++
	begins := w.first.IsZero()
	if begins {
		w.first = now
	}
	switch {
	case w.seen.Closed:
		w.seen.Gap = now.Sub(w.first)
	case begins && !w.seen.Late:
		close(w.began)
	default:
		w.seen.Gap = max(w.seen.Gap, now.Sub(w.last))
	}
	w.last = now
	if sent.After(w.newest) {
		w.newest = sent
	}
	w.done(sent, true)
}

// lost notes that a request is not answered any more, unless it was.
func (w *watch) lost(sent time.Time) {
	w.mu.Lock()
	answered := !sent.After(w.newest)
	w.mu.Unlock()
	if !answered {
		w.failed(sent, os.ErrDeadlineExceeded)
	}
}

// failed notes why a request was not answered.
func (w *watch) failed(sent time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Err = err.Error()
	if exitCode(err) == report.Refused {
		w.seen.Refused++
	}
	w.done(sent, false)
}

// broke notes a stream that ended.
func (w *watch) broke(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Broken++
	w.seen.Err = err.Error()
}

// done tells result of a request that was sent after the end and fared as it ought to.
func (w *watch) done(sent time.Time, answered bool) {
	if w.ended.IsZero() || !sent.After(w.ended) || answered == w.seen.Closed {
		return
	}
	select {
	case <-w.over:
	default:
		close(w.over)
	}
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = time.Now()
}

// result waits for a request that was sent after the end, and gives what was seen.
func (w *watch) result(late <-chan time.Time) report.Flowed {
	unsettled := false
	select {
	case <-w.over:
	case <-late:
		select {
		case <-w.over:
		default:
			unsettled = true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Unsettled = unsettled
	if unsettled && !w.seen.Closed {
		w.seen.Gap = max(w.seen.Gap, time.Since(w.last))
	}
	return w.seen
}
