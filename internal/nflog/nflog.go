// Package nflog hears of packets that rules of the packet filter log to a group of
// nfnetlink_log (NFLOG of iptables-extensions(8), "log group" of nft(8)).
//
// Where the kernel can, it tells the flow with each packet (CONFIG_NETFILTER_NETLINK_GLUE_CT), and so
// where the sender has sent it, whatever a published port has made of that.
//
// It needs CAP_NET_ADMIN in the network namespace of the thread that opens a Listener, and nothing
// else. It is written on the socket itself: the messages are two, and what reads bytes that anybody
// can send is better short and here.
//
// Be aware: what is in a packet is its sender's to say. A Listener that is not read loses packets,
// and says so (ErrLost).
package nflog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Messages of nfnetlink_log (linux/netfilter/nfnetlink_log.h).
const (
	msgPacket = unix.NFNL_SUBSYS_ULOG << 8 // | 0
	msgConfig = unix.NFNL_SUBSYS_ULOG<<8 | 1

	cfgCommand = 1 // struct nfulnl_msg_config_cmd
	cfgMode    = 2 // struct nfulnl_msg_config_mode
	cfgTimeout = 4 // in hundredths of a second
	cfgFlags   = 6

	commandBind   = 1
	modePacket    = 2
	flagConntrack = 4 // Linux 4.4
)

const (
	// gather is how long the kernel gathers packets before it tells of them, so that many are one
	// message.
	gather = 100 * time.Millisecond

	// answerWithin bounds the kernel's answers to what a Listener is set up by, which come at once.
	answerWithin = 5 * time.Second

	// maxMessage is more than what the kernel puts into one message: at most 64 KiB of packets
	// (NFULNL_NLBUFSIZ_DEFAULT is a page or two), and what is about them.
	maxMessage = 1 << 17
)

// ErrLost says that packets came faster than they were read, and that some are lost. A Listener can
// be read on.
var ErrLost = errors.New("packets were lost, for they came faster than they were read")

// Listener hears of the packets of a group.
type Listener struct {
	file *os.File
	conn interface {
		Read(func(fd uintptr) bool) error
	}
	buf    []byte
	closed atomic.Bool

	// NoFlows says why the kernel does not tell the flow with each packet; nil: it does.
	NoFlows error
}

// Listen binds a group, of each packet of which so many bytes are told at most. unix.EPERM: another
// program listens to it, which the kernel says so, or CAP_NET_ADMIN is missing. An error that Lacking
// knows says that the kernel can't do it at all.
func Listen(group uint16, length uint32) (l *Listener, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("listen to packets that are logged: %w", err)
	}
	file := os.NewFile(uintptr(fd), "nflog") // which closes it, and can be read with a deadline
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("listen to group %d of packets that are logged: %w", group, err), file.Close())
		}
	}()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	l = &Listener{file: file, conn: raw, buf: make([]byte, maxMessage)}
	mode := append(binary.BigEndian.AppendUint32(nil, length), modePacket, 0)
	if err := l.configure(fd, group, attribute(cfgCommand, []byte{commandBind})); errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("another program listens to it, or CAP_NET_ADMIN is missing: %w", err)
	} else if err != nil {
		return nil, err
	}
	timeout := binary.BigEndian.AppendUint32(nil, uint32(gather/(10*time.Millisecond)))
	if err := l.configure(fd, group, append(attribute(cfgMode, mode), attribute(cfgTimeout, timeout)...)); err != nil {
		return nil, err
	}
	l.NoFlows = l.configure(fd, group, attribute(cfgFlags, binary.BigEndian.AppendUint16(nil, flagConntrack)))
	return l, nil
}

// Lacking reports whether an error of Listen says that the kernel has no nfnetlink_log: it says
// EOPNOTSUPP or EINVAL for a subsystem that it does not know (nfnetlink_rcv_msg), and
// EPROTONOSUPPORT where it has no nfnetlink.
func Lacking(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT)
}

// configure asks for something and waits for the answer. Packets that come before it are not told.
func (l *Listener) configure(fd int, group uint16, attributes []byte) error {
	const length = unix.SizeofNlMsghdr + sizeofNfgenmsg
	msg := binary.NativeEndian.AppendUint32(nil, uint32(length+len(attributes)))
	msg = binary.NativeEndian.AppendUint16(msg, msgConfig)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	msg = append(msg, make([]byte, 8)...) // no number, and the kernel fills in whose it is
	msg = append(msg, unix.AF_UNSPEC, 0)  // struct nfgenmsg
	msg = binary.BigEndian.AppendUint16(msg, group)
	if err := unix.Sendto(fd, append(msg, attributes...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if err := l.file.SetReadDeadline(time.Now().Add(answerWithin)); err != nil {
		return err
	}
	for {
		data, err := l.receive()
		if errors.Is(err, ErrLost) {
			continue
		}
		if err != nil {
			return err
		}
		answered := false
		var answer error
		messages(data, func(kind uint16, body []byte) {
			if kind != unix.NLMSG_ERROR || len(body) < 4 {
				return
			}
			answered = true
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				answer = unix.Errno(-code)
			}
		})
		if answered {
			return errors.Join(answer, l.file.SetReadDeadline(time.Time{}))
		}
	}
}

// attribute is one of netlink's (struct nlattr), padded.
func attribute(kind uint16, data []byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(sizeofNlattr+len(data)))
	a = binary.NativeEndian.AppendUint16(a, kind)
	a = append(a, data...)
	return append(a, make([]byte, align(len(a))-len(a))...)
}

// Read waits for packets and calls fn with each; what is malformed is not told. ErrLost: some were
// lost. os.ErrClosed: the Listener is closed. It is for one goroutine at a time.
func (l *Listener) Read(fn func(Packet)) error {
	data, err := l.receive()
	if err != nil {
		return err
	}
	Packets(data, fn)
	return nil
}

// receive reads the messages of one datagram of the kernel's.
func (l *Listener) receive() ([]byte, error) {
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := l.conn.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), l.buf, 0)
			return failed != unix.EAGAIN && failed != unix.EINTR
		})
		switch {
		case l.closed.Load():
			return nil, os.ErrClosed
		case err != nil:
			return nil, err
		case failed == unix.ENOBUFS: // netlink(7)
			return nil, ErrLost
		case failed != nil:
			return nil, failed
		}
		if kernel, ok := from.(*unix.SockaddrNetlink); ok && kernel.Pid == 0 {
			return l.buf[:n], nil
		}
	}
}

// Close ends a Read that is under way. The kernel then tells nobody, and the rules go on.
func (l *Listener) Close() error {
	l.closed.Store(true)
	return l.file.Close()
}
