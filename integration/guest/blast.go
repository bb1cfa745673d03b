package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mybr/mybr/integration/report"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// What begins a datagram or a connection to a sink.
const (
	sinkData  = 'D' // count me; of a connection: all that follows
	sinkReset = 'R' // count anew
	sinkTell  = 'T' // say what has come
	sinkOnce  = 'O' // a connection that wants one byte back
)

const (
	// blastBatch is how many datagrams one system call takes (sendmmsg(2)): by then what a
	// call costs is small beside what the kernel does with a datagram.
	blastBatch = 64
	// blastSize makes the least Ethernet frame of a datagram: 60 bytes less the headers of
	// Ethernet, IPv4 and UDP (RFC 894).
	blastSize = 18
	// blastThreads is how many connections are made at a time. More than processors, so
	// that none of them waits for an answer.
	blastThreads = 8
	blastAsk     = 50 * time.Millisecond // until a datagram is said to be lost
	blastGiveUp  = 5 * time.Second       // for a sink that says nothing
)

// blast sends as much as goes for a time, and prints the report.Blasted of it, as the sink
// at the other end saw it. A sink for UDP has one for TCP at the same port.
func blast(args []string) error {
	flags := flag.NewFlagSet("blast", flag.ContinueOnError)
	long := flags.Duration("for", 300*time.Millisecond, "how long")
	cpu := flags.String("cpu", "", "the processor to run on: first, last, or the scheduler's choice")
	if err := flags.Parse(args); err != nil || flags.NArg() != 2 {
		return fmt.Errorf("%w: blast [flags] udp|one-way|tcp|connect ADDRESS:PORT", errUsage)
	}
	if err := keepTo(*cpu); err != nil {
		return err
	}
	run, ok := blasts()[flags.Arg(0)]
	if !ok {
		return fmt.Errorf("%w: blast: kind %q", errUsage, flags.Arg(0))
	}
	before, err := sinkCPU(flags.Arg(1))
	if err != nil {
		return err
	}
	mine := cpuTime()
	got, err := run(flags.Arg(1), *long)
	if err == nil && (got.Count == 0 || got.Took <= 0) {
		err = fmt.Errorf("%s to %s: nothing arrived", flags.Arg(0), flags.Arg(1))
	}
	if err != nil {
		return err
	}
	mine = cpuTime() - mine
	after, err := sinkCPU(flags.Arg(1))
	if err != nil {
		return err
	}
	got.CPU = mine
	if kind := flags.Arg(0); kind != report.BlastUDP && kind != report.BlastOneWay {
		got.CPU += after - before
	}
	return say(got)
}

func blasts() map[string]func(to string, long time.Duration) (report.Blasted, error) {
	return map[string]func(string, time.Duration) (report.Blasted, error){
		report.BlastUDP: blastUDP, report.BlastOneWay: blastOneWay, report.BlastTCP: blastTCP, report.BlastConns: blastConns,
	}
}

// sinkCPU asks a sink, by TCP, what it has had of processors so far.
func sinkCPU(at string) (used time.Duration, err error) {
	c, err := net.DialTimeout("tcp", at, blastGiveUp)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(blastGiveUp))
	if _, err := c.Write([]byte{sinkTell}); err != nil {
		return 0, err
	}
	err = json.NewDecoder(c).Decode(&used)
	return used, err
}

func blastUDP(to string, long time.Duration) (got report.Blasted, err error) {
	c, err := net.Dial("udp", to)
	if err != nil {
		return got, err
	}
	defer c.Close()
	return sendFrom(c, c, long)
}

// blastOneWay asks the sink on another flow than that of the datagrams.
func blastOneWay(to string, long time.Duration) (got report.Blasted, err error) {
	asks, err := net.Dial("udp", to)
	if err != nil {
		return got, err
	}
	defer asks.Close()
	c, err := net.Dial("udp", to)
	if err != nil {
		return got, err
	}
	defer c.Close()
	return sendFrom(c, asks, long)
}

// sendFrom sends datagrams on c, and asks their sink on asks.
func sendFrom(c, asks net.Conn, long time.Duration) (got report.Blasted, err error) {
	if _, err := askSink(asks, sinkReset); err != nil {
		return got, err
	}
	batch := make([]ipv4.Message, blastBatch)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, blastSize)}
		batch[i].Buffers[0][0] = sinkData
	}
	out := ipv4.NewPacketConn(c.(*net.UDPConn))
	sent := uint64(0)
	for end := time.Now().Add(long); time.Now().Before(end); {
		n, err := out.WriteBatch(batch, 0)
		if err != nil {
			return got, err
		}
		sent += uint64(n)
	}
	answer, err := askSink(asks, sinkTell)
	if err != nil {
		return got, err
	}
	err = json.Unmarshal(answer, &got)
	got.Carried = sent
	return got, err
}

// cpuTime is what this process has had of processors.
func cpuTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err) // there is no such kernel
	}
	return time.Duration(t.Nano())
}

// askSink asks until the sink answers.
func askSink(c net.Conn, what byte) ([]byte, error) {
	buf := make([]byte, 2048)
	for end := time.Now().Add(blastGiveUp); ; {
		if _, err := c.Write([]byte{what}); err != nil {
			return nil, err
		}
		c.SetReadDeadline(time.Now().Add(blastAsk))
		n, err := c.Read(buf)
		if err == nil && n > 0 && buf[0] == what {
			return buf[1:n], nil
		}
		if err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end)) {
			return nil, err
		}
	}
}

func blastTCP(to string, long time.Duration) (got report.Blasted, err error) {
	c, err := net.DialTimeout("tcp", to, blastGiveUp)
	if err != nil {
		return got, err
	}
	defer c.Close()
	buf := make([]byte, 128<<10)
	buf[0] = sinkData
	end := time.Now().Add(long)
	c.SetDeadline(end.Add(blastGiveUp))
	for time.Now().Before(end) {
		if _, err := c.Write(buf); err != nil {
			return got, err
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return got, err
	}
	err = json.NewDecoder(c).Decode(&got)
	return got, err
}

// blastConns makes connections. Each ends with a reset, so that no port is kept for it
// (tcp(7), TIME_WAIT).
func blastConns(to string, long time.Duration) (got report.Blasted, err error) {
	at, err := netip.ParseAddrPort(to)
	if err != nil {
		return got, err
	}
	var made atomic.Uint64
	var threads sync.WaitGroup
	failed := make(chan error, blastThreads)
	began := time.Now()
	for range blastThreads {
		threads.Go(func() {
			for time.Since(began) < long {
				if err := once(at); err != nil {
					failed <- err
					return
				}
				made.Add(1)
			}
		})
	}
	threads.Wait()
	select {
	case err := <-failed:
		return got, err
	default:
		return report.Blasted{Count: made.Load(), Took: time.Since(began)}, nil
	}
}

// once makes a connection, has the server say a byte, and ends it: by system calls alone, so
// that little of what a connection takes is this program's. They have no limit: with one, the
// runtime's own signals would interrupt them (signal(7), SO_RCVTIMEO), and who runs this
// program has a limit for all of it.
func once(to netip.AddrPort) error {
	family := unix.AF_INET6
	var server unix.Sockaddr = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if to.Addr().Is4() {
		family, server = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Connect(fd, server); err != nil {
		return os.NewSyscallError("connect", err)
	}
	if _, err := unix.Write(fd, []byte{sinkOnce}); err != nil {
		return os.NewSyscallError("write", err)
	}
	n, err := unix.Read(fd, make([]byte, 1))
	if err == nil && n == 0 {
		return io.ErrUnexpectedEOF
	}
	return os.NewSyscallError("read", err)
}
