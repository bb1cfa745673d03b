package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/mybr/mybr/integration/report"
	"golang.org/x/net/ipv4"
)

// sinkBuffer is what a sink's socket may hold, so that a receiver that sleeps for a moment
// loses nothing.
const sinkBuffer = 16 << 20

// sink takes what blast sends, on each of tcp:PORT, udp:PORT, tcp:ADDRESS:PORT…, of both
// families where no address is given.
func sink(args []string) error {
	flags := flag.NewFlagSet("sink", flag.ContinueOnError)
	cpu := flags.String("cpu", "", "the processor to run on: first, last, or the scheduler's choice")
	if err := flags.Parse(args); err != nil || flags.NArg() == 0 {
		return fmt.Errorf("%w: sink [flags] tcp:80 udp:80…", errUsage)
	}
	if err := keepTo(*cpu); err != nil {
		return err
	}
	args = flags.Args()
	failed := make(chan error, len(args))
	for _, arg := range args {
		network, at, _ := strings.Cut(arg, ":")
		if !strings.Contains(at, ":") {
			at = ":" + at
		}
		switch network {
		case "tcp":
			l, err := net.Listen(network, at)
			if err != nil {
				return err
			}
			go func() { failed <- sinkTCP(l) }()
		case "udp":
			c, err := net.ListenPacket(network, at)
			if err != nil {
				return err
			}
			if err := c.(*net.UDPConn).SetReadBuffer(sinkBuffer); err != nil {
				return err
			}
			go func() { failed <- sinkUDP(c.(*net.UDPConn)) }()
		default:
			return fmt.Errorf("%w: sink: %q is not tcp:PORT or udp:PORT", errUsage, arg)
		}
	}
	fmt.Println("ready")
	go func() { failed <- sleep(nil) }()
	return <-failed
}

func sinkUDP(c *net.UDPConn) error {
	batch := make([]ipv4.Message, blastBatch)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, 2048)}
	}
	in := ipv4.NewPacketConn(c)
	var got report.Blasted
	var first time.Time
	for {
		n, err := in.ReadBatch(batch, 0)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, m := range batch[:n] {
			answer := []byte(nil)
			switch m.Buffers[0][0] {
			case sinkData:
				if got.Count++; got.Count == 1 {
					first = now
				}
				got.Took = now.Sub(first)
				continue
			case sinkReset:
				got = report.Blasted{}
			case sinkTell:
				if answer, err = json.Marshal(got); err != nil {
					return err
				}
			}
			if _, err := c.WriteTo(append([]byte{m.Buffers[0][0]}, answer...), m.Addr); err != nil {
				return err
			}
		}
	}
}

func sinkTCP(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			drain(c)
		}()
	}
}

// drain answers one byte with one byte, a question with the processor time of this process,
// and data, once it has ended, with what it came to.
// A client that goes away is none of a sink's business.
func drain(c net.Conn) {
	first := make([]byte, 1)
	n, err := c.Read(first)
	if err != nil {
		return
	}
	switch first[0] {
	case sinkOnce:
		c.Write(first)
		c.Read(first) // until the client resets it
		return
	case sinkTell:
		json.NewEncoder(c).Encode(cpuTime())
		return
	}
	buf := make([]byte, 256<<10)
	began := time.Now()
	got := report.Blasted{Count: uint64(n)}
	for err == nil {
		n, err = c.Read(buf)
		got.Count += uint64(n)
	}
	got.Took = time.Since(began)
	if err == io.EOF {
		json.NewEncoder(c).Encode(got)
	}
}
