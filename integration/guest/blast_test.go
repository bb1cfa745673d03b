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
	for kind, run := range map[string]func(string, time.Duration) (report.Blasted, error){
		report.BlastUDP: blastUDP, report.BlastTCP: blastTCP, report.BlastConns: blastConns,
	} {
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
