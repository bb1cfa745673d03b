package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/mybr/mybr/integration/report"
	"golang.org/x/sys/unix"
)

// pump sends small datagrams and prints how much of the processor's time each of them takes:
// what the kernel does with it on the way, up to the socket that it is for, is done on the
// thread that sends. So other work of the machine counts for little. With -answered the flow
// has been answered before.
func pump(args []string) error {
	flags := flag.NewFlagSet("pump", flag.ContinueOnError)
	packets, rounds := flags.Int("packets", 2000, "in each round"), flags.Int("rounds", 10, "")
	answered := flags.Bool("answered", false, "ask first")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return fmt.Errorf("%w: pump [flags] ADDRESS:PORT", errUsage)
	}
	c, err := net.Dial("udp", flags.Arg(0))
	if err != nil {
		return err
	}
	defer c.Close()
	if *answered {
		if _, err := askUDP(c, time.Now().Add(5*time.Second), time.Second); err != nil {
			return err
		}
	}
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var out report.Pumped
	if err2 := raw.Control(func(fd uintptr) {
		for range *rounds {
			var spent int64
			if spent, err = sendAll(int(fd), *packets); err != nil {
				return
			}
			out.Nanos = append(out.Nanos, float64(spent)/float64(*packets))
		}
	}); err2 != nil {
		return err2
	}
	if err != nil {
		return err
	}
	return say(out)
}

// sendAll sends datagrams of 18 bytes, which make the shortest frames of Ethernet, and returns
// the nanoseconds that the thread has worked.
func sendAll(fd, packets int) (int64, error) {
	var begun, ended unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &begun); err != nil {
		return 0, err
	}
	for range packets {
		// A port unreachable is told to the next call; a full queue loses the datagram.
		if _, err := unix.Write(fd, make([]byte, 18)); err != nil && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EAGAIN) {
			return 0, err
		}
	}
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ended)
	return ended.Nano() - begun.Nano(), err
}
