package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/mybr/mybr/integration/report"
)

// connects makes a connection after the other, without waiting for the ones before: one
// whose SYN gets lost says nothing for a second.
func connects(w *watch, _ uint16) {
	for range time.Tick(trafficEvery) {
		sent := w.sending()
		go func() {
			if _, err := ask(report.Probe{Network: "tcp", To: w.seen.To, Timeout: trafficDial}); err != nil {
				w.failed(sent, err)
			} else {
				w.answered(sent)
			}
		}()
	}
}

// datagrams sends from one source port, so that what the kernel remembers of the flow
// (conntrack) is used again.
func datagrams(w *watch, _ uint16) {
	buf := make([]byte, 2048)
	var c net.Conn
	for range time.Tick(trafficEvery) {
		sent := w.sending()
		err := error(nil)
		if c == nil {
			if c, err = net.Dial("udp", w.seen.To); err != nil {
				w.failed(sent, err)
				continue
			}
		}
		if _, err = c.Write([]byte("?")); err == nil {
			c.SetReadDeadline(sent.Add(trafficReply))
			_, err = c.Read(buf)
		}
		if err != nil {
			w.failed(sent, err)
		} else {
			w.answered(sent)
		}
	}
}

// pings sends echo requests with one identifier.
func pings(w *watch, id uint16) {
	addr, err := netip.ParseAddr(w.seen.To)
	var p *pinger
	for seq := range ticks() {
		sent := w.sending()
		if p == nil && err == nil {
			p, err = newPinger(addr, id)
		}
		if p == nil {
			w.failed(sent, err)
			return
		}
		if _, lost := p.once(seq, 56, trafficReply); lost != nil {
			w.failed(sent, lost)
		} else {
			w.answered(sent)
		}
	}
}

// ticks counts the times to send at.
func ticks() func(func(uint16) bool) {
	return func(yield func(uint16) bool) {
		seq := uint16(0)
		for range time.Tick(trafficEvery) {
			if !yield(seq) {
				return
			}
			seq++
		}
	}
}

// streams keeps one connection busy, and makes another when that breaks.
func streams(w *watch, _ uint16) {
	for range time.Tick(trafficEvery) {
		sent := w.sending()
		c, err := dial(report.Probe{Network: "tcp", To: w.seen.To}, sent.Add(trafficDial))
		if err != nil {
			w.failed(sent, err)
			continue
		}
		in := bufio.NewReader(c)
		c.SetReadDeadline(sent.Add(trafficDial))
		if _, err := in.ReadString('\n'); err != nil {
			c.Close()
			w.failed(sent, err)
			continue
		}
		c.SetReadDeadline(time.Time{})
		w.answered(sent)
		began := time.Now()
		go write(w, c, began)
		w.broke(read(w, in, began))
		c.Close()
	}
}

// write sends numbered lines, with the time since the stream began, until the connection
// breaks, which its reader notices.
func write(w *watch, c net.Conn, began time.Time) {
	for n := range ticks() {
		sent := w.sending()
		if _, err := fmt.Fprintf(c, "%d %d\n", n, sent.Sub(began)); err != nil {
			return
		}
		if w.seen.Closed { // of the others the gaps tell
			time.AfterFunc(trafficDial, func() { w.lost(sent) })
		}
	}
}

// read reads the lines as they come back and gives why no more do. A line that is not the
// next one is as bad as an end.
func read(w *watch, in io.Reader, began time.Time) error {
	for want := uint16(0); ; want++ {
		var n uint16
		var sent time.Duration
		if _, err := fmt.Fscanf(in, "%d %d\n", &n, &sent); err != nil {
			return fmt.Errorf("line %d did not come back: %w", want, err)
		}
		if n != want {
			return fmt.Errorf("line %d came back where line %d was next", n, want)
		}
		w.answered(began.Add(sent))
	}
}
