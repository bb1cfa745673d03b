package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dumpTries is how often an interrupted dump is asked for again. Each try takes about
// a millisecond for a thousand links, so that only unceasing changes use them all up.
const dumpTries = 50

// dumpPart is how much of a dump is received at a time, in bytes: the kernel sends no more
// than 32 KiB at once (netlink_dump in af_netlink.c).
const dumpPart = 64 << 10

// errInterrupted says that something has changed between two parts of a dump.
var errInterrupted = errors.New("interrupted by changes")

// dump asks for every object of a sort and returns what parse makes of the messages of the
// answer; a message lasts until parse returns. A header that names a link asks for the
// objects of that link only, which kernels before 4.20 don't know: they answer with all.
//
// The kernel sends a dump in several parts, and when something changes between two of
// them it says so (NLM_F_DUMP_INTR): an object may then be missing or doubled. Hosts that
// start and stop containers see this daily, and the only remedy is to ask again.
//
// It is not the library's, which takes 64 KiB for each part: with a thousand links that was
// most of the memory that a start took.
func dump[T any](k kernel, ask int, answer uint16, header nl.NetlinkRequestData, parse func(m []byte) (T, error)) ([]T, error) {
	fd, err := dumpSocket()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	part := make([]byte, dumpPart)
	for range dumpTries {
		req := nl.NewNetlinkRequest(ask, unix.NLM_F_DUMP)
		req.AddData(header)
		if k.asked != nil {
			k.asked(req)
		}
		var all []T
		err := receive(fd, req, part, answer, func(m []byte) error {
			one, err := parse(m)
			all = append(all, one)
			return err
		})
		switch {
		case err == nil:
			return all, nil
		case !errors.Is(err, errInterrupted):
			return nil, err
		}
	}
	return nil, fmt.Errorf("%d times %w", dumpTries, errInterrupted)
}

// dumpSocket opens a socket in the network namespace of the calling thread.
func dumpSocket() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	// Without NETLINK_GET_STRICT_CHK the kernel does not look at what the header asks for.
	err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	if errors.Is(err, unix.ENOPROTOOPT) {
		err = nil
	}
	timeout := nl.SocketTimeoutTv
	err = errors.Join(err, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// receive sends a request for a dump and passes on what is answered, to the end: what is
// interrupted, or can't be read, has come to its end too.
func receive(fd int, req *nl.NetlinkRequest, part []byte, answer uint16, each func(m []byte) error) error {
	if err := again(func() error {
		return unix.Sendto(fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}); err != nil {
		return err
	}
	var failed error
	for {
		n := 0
		var flags int
		var from unix.Sockaddr
		err := again(func() (err error) {
			n, _, flags, from, err = unix.Recvmsg(fd, part, nil, 0)
			return err
		})
		if err != nil {
			return err
		}
		if flags&unix.MSG_TRUNC != 0 {
			return fmt.Errorf("a part of the answer has more than %d bytes", len(part))
		}
		if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 {
			continue // another process's
		}
		for b := part[:n]; len(b) > 0; {
			h, m, rest, err := nextMessage(b)
			if err != nil {
				return err
			}
			b = rest
			switch {
			case h.Seq != req.Seq:
				continue
			case h.Flags&unix.NLM_F_DUMP_INTR != 0 && failed == nil:
				failed = errInterrupted
			}
			switch {
			case h.Type == unix.NLMSG_DONE || h.Type == unix.NLMSG_ERROR:
				return errors.Join(failed, numbered(m))
			case h.Type == answer && failed == nil:
				failed = each(m)
			}
		}
	}
}

// again repeats what a signal has interrupted.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// nextMessage takes the first of several messages (struct nlmsghdr of linux/netlink.h).
func nextMessage(b []byte) (h unix.NlMsghdr, message, rest []byte, err error) {
	if len(b) >= unix.SizeofNlMsghdr {
		h = unix.NlMsghdr{
			Len: binary.NativeEndian.Uint32(b), Type: binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]), Seq: binary.NativeEndian.Uint32(b[8:]),
		}
	}
	if h.Len < unix.SizeofNlMsghdr || int(h.Len) > len(b) {
		return h, nil, nil, fmt.Errorf("a message of %d bytes in %d", h.Len, len(b))
	}
	return h, b[unix.SizeofNlMsghdr:h.Len], b[min(aligned(int(h.Len)), len(b)):], nil
}

// numbered is the error that ends an answer: a negative number, or none.
func numbered(m []byte) error {
	if len(m) < 4 {
		return nil
	}
	switch n := int32(binary.NativeEndian.Uint32(m)); {
	case n == 0:
		return nil
	case unix.Errno(-n) == unix.EINTR: // of a dump that has changed, before it had a flag for that
		return errInterrupted
	default:
		return unix.Errno(-n)
	}
}

// aligned is a length with the padding behind it: NLMSG_ALIGN and RTA_ALIGN.
func aligned(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// attributes passes each attribute of a message on (struct rtattr of linux/rtnetlink.h). It
// takes no memory, for a message about a link has a hundred of them.
func attributes(b []byte, each func(kind uint16, value []byte)) error {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return fmt.Errorf("an attribute of %d bytes in %d", n, len(b))
		}
		each(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:n])
		b = b[min(aligned(n), len(b)):]
	}
	return nil
}

// number is an attribute of 4 bytes; 0 if it has fewer.
func number(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}

// isSet reads an attribute of one byte that says yes or no.
func isSet(value []byte) bool { return len(value) > 0 && value[0] != 0 }

// text is an attribute that a zero byte ends, if it has one.
func text(value []byte) string {
	value, _, _ = bytes.Cut(value, []byte{0})
	return string(value)
}
