package main

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
)

// What is sent on the loopback arrives, is counted where it arrives, and takes time.
func TestBlast(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	ended := make(chan error, 1)
	go func() { ended <- sink([]string{"tcp:" + at, "udp:" + at}) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err = sinkCPU(at); err == nil {
			break
		}
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for kind, run := range blasts() {
		for range 2 { // each counts from nothing
			got, err := run(at, 50*time.Millisecond)
			if err != nil || got.Count == 0 || got.Took <= 0 || got.Took > 10*time.Second {
				t.Errorf("%s: %+v, %v", kind, got, err)
			}
		}
	}
	for _, wrong := range [][]string{{}, {"udp"}, {"sctp", at}, {"-for", "x", "udp", at}} {
		if err := blast(wrong); err == nil {
			t.Errorf("blast %q is accepted", wrong)
		}
	}
	for _, wrong := range [][]string{{}, {"sctp:80"}, {fmt.Sprint("tcp:", at)}} { // the last has the port in use
		if err := sink(wrong); err == nil {
			t.Errorf("sink %q is accepted", wrong)
		}
	}
}

// What is sent one way is never answered: only another flow is.
func TestOneWay(t *testing.T) {
	for kind, oneWay := range map[string]bool{report.BlastUDP: false, report.BlastOneWay: true} {
		sink, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer sink.Close()
		asked, sent := make(chan string, 1), make(chan string, 1) // from where
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := sink.ReadFrom(buf)
				if err != nil {
					return
				}
				who := asked
				if buf[0] == sinkData {
					who = sent
				}
				select {
				case who <- from.String():
				default:
				}
				if answer := `{"Count":1,"Took":1}`; n > 0 && buf[0] == sinkTell {
					sink.WriteTo(append([]byte{sinkTell}, answer...), from)
				} else if buf[0] != sinkData {
					sink.WriteTo(buf[:n], from)
				}
			}
		}()
		if _, err := blasts()[kind](sink.LocalAddr().String(), time.Millisecond); err != nil {
			t.Fatal(kind, err)
		}
		if of, by := <-sent, <-asked; (of != by) != oneWay {
			t.Errorf("%s: datagrams of %s, questions of %s", kind, of, by)
		}
	}
}
