package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/mybr/mybr/integration/report"
)

// get asks a server once and prints its answer. UDP is asked again four times within
// the timeout.
func get(args []string) error {
	flags := flag.NewFlagSet("get", flag.ContinueOnError)
	timeout := flags.Duration("timeout", 5*time.Second, "for the whole request")
	port := flags.Int("source-port", 0, "0: the kernel's choice")
	if err := flags.Parse(args); err != nil || flags.NArg() != 2 {
		return fmt.Errorf("%w: get [flags] tcp|udp ADDRESS:PORT", errUsage)
	}
	line, err := ask(report.Probe{Network: flags.Arg(0), To: flags.Arg(1), Timeout: *timeout, SourcePort: *port})
	fmt.Print(line)
	return err
}

// ask asks a server once and gives its line.
func ask(p report.Probe) (line string, err error) {
	deadline := time.Now().Add(p.Timeout)
	c, err := dial(p, deadline)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if p.Network == "udp" {
		return askUDP(c, deadline, p.Timeout/4)
	}
	c.SetDeadline(deadline)
	line, err = bufio.NewReader(c).ReadString('\n')
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// The connection ended before the server said a word: docker-proxy and its like
		// accept first and find out later that no server is behind.
		err = fmt.Errorf("%w (%w)", syscall.ECONNREFUSED, err)
	}
	return line, err
}

func dial(p report.Probe, deadline time.Time) (net.Conn, error) {
	d := net.Dialer{Deadline: deadline}
	if p.SourcePort != 0 || p.Source.IsValid() {
		switch p.Network {
		case "tcp":
			d.LocalAddr = &net.TCPAddr{IP: p.Source.AsSlice(), Port: p.SourcePort}
		case "udp":
			d.LocalAddr = &net.UDPAddr{IP: p.Source.AsSlice(), Port: p.SourcePort}
		}
	}
	return d.Dial(p.Network, p.To)
}

func askUDP(c net.Conn, deadline time.Time, every time.Duration) (string, error) {
	buf := make([]byte, 2048)
	for {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
		next := time.Now().Add(every)
		if next.After(deadline) {
			next = deadline
		}
		c.SetReadDeadline(next)
		n, err := c.Read(buf)
		if err == nil {
			return string(buf[:n]), nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(deadline) {
			return "", err
		}
	}
}

// stream keeps one TCP connection busy: a line out and the same line back, every 20
// ms, each printed once it is back, until the connection or the process ends. It
// fails when a line takes longer than the timeout.
func stream(args []string) error {
	flags := flag.NewFlagSet("stream", flag.ContinueOnError)
	timeout := flags.Duration("timeout", 5*time.Second, "for each line")
	port := flags.Int("source-port", 0, "0: the kernel's choice")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return fmt.Errorf("%w: stream [flags] ADDRESS:PORT", errUsage)
	}
	c, err := dial(report.Probe{Network: "tcp", To: flags.Arg(0), SourcePort: *port}, time.Now().Add(*timeout))
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	c.SetDeadline(time.Now().Add(*timeout))
	line, err := in.ReadString('\n')
	for i := 0; err == nil; i++ {
		fmt.Println(strings.TrimSpace(line))
		time.Sleep(20 * time.Millisecond)
		want := fmt.Sprintf("line %d\n", i)
		c.SetDeadline(time.Now().Add(*timeout))
		if _, err = c.Write([]byte(want)); err != nil {
			return err
		}
		if line, err = in.ReadString('\n'); err == nil && line != want {
			return fmt.Errorf("sent %q, got back %q", want, line)
		}
	}
	return err
}
