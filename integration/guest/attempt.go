package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/mybr/mybr/integration/report"
	"golang.org/x/sys/unix"
)

// attempt makes each report.Attempt that it is given as JSON: all connections at once, and when they
// have ended, packets one after the other. So what packets do to neighbours' tables keeps no
// connection from being made. It prints why those have failed that did; whether something arrives is
// for watch to tell. It fails only when it can't try.
func attempt(args []string) error {
	var connections sync.WaitGroup
	var packets []report.Attempt
	for _, arg := range args {
		var a report.Attempt
		if err := json.Unmarshal([]byte(arg), &a); err != nil {
			return fmt.Errorf("%w: attempt: %q: %v", errUsage, arg, err)
		}
		switch a.Kind {
		case "frame", "ip":
			packets = append(packets, a)
		case "tcp", "udp":
			connections.Go(func() {
				if err := converse(a); err != nil {
					fmt.Printf("%s %s: %v\n", a.Kind, a.To, err)
				}
			})
		default:
			return fmt.Errorf("%w: attempt: kind %q", errUsage, a.Kind)
		}
	}
	connections.Wait()
	if len(packets) == 0 {
		return nil
	}
	return sendAll(packets)
}

// sendAll sends whole Ethernet frames out of eth0 (packet(7)), by one socket since each takes long
// to close, and packets that the kernel routes.
func sendAll(all []report.Attempt) error {
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer unix.Close(fd)
	for _, a := range all {
		if a.Kind == "frame" {
			err = unix.Sendto(fd, a.Data, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index, Halen: 6})
		} else {
			err = sendPacket(a.Data)
		}
		if err != nil {
			fmt.Printf("%s %x: %v\n", a.Kind, a.Data, err)
		}
	}
	return nil
}

// sendPacket has the kernel route a whole IP packet (raw(7)).
func sendPacket(b []byte) error {
	family, to := unix.AF_INET, unix.Sockaddr(nil)
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		to = &unix.SockaddrInet4{Addr: [4]byte(b[16:20])}
	case len(b) >= 40 && b[0]>>4 == 6:
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte(b[24:40])}
	default:
		return errors.New("no IP packet")
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, b, 0, to)
}

// converse sends data, and reads what comes back until that ends or the time has passed.
func converse(a report.Attempt) error {
	c, err := net.DialTimeout(a.Kind, a.To, max(a.Within, a.Connect))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(a.Within)); err != nil {
		return err
	}
	if _, err := c.Write(a.Data); err != nil {
		return err
	}
	buf := make([]byte, 65536)
	for {
		if _, err := c.Read(buf); err != nil || a.Once || a.Kind == "udp" {
			return err
		}
	}
}

// drip sends TOKEN.N by TCP or UDP each 20 ms with a number that grows, prints a report.Drip once it
// is sent, and goes on until SIGTERM whatever becomes of it.
func drip(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%w: drip tcp|udp ADDRESS:PORT TOKEN", errUsage)
	}
	to, err := netip.ParseAddrPort(args[1])
	if err != nil {
		return fmt.Errorf("%w: drip: %v", errUsage, err)
	}
	c, err := net.DialTimeout(args[0], to.String(), answerWithin)
	if err != nil {
		return err
	}
	defer c.Close()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("ready")
	for i := 1; ; i++ {
		one := report.Drip{Count: i, Sent: time.Now()}
		if _, err := fmt.Fprintf(c, "%s.%d\n", args[2], i); err != nil {
			one.Err = err.Error() // a connection that is ended goes on counting: nothing of it may arrive
		}
		if err := say(one); err != nil {
			return err
		}
		select {
		case <-ended:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}
