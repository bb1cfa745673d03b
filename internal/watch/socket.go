package watch

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// receiveBuffer is how much the kernel keeps of a socket's events, in bytes as it counts
// them. A flush of the rules for a thousand published ports is a third of it.
const receiveBuffer = 4 << 20

// message is one netlink message: its header, and what follows.
type message = syscall.NetlinkMessage

// socket receives the events of some multicast groups of one netlink protocol.
type socket struct {
	*os.File
	conn syscall.RawConn
	port uint32 // its address
	buf  []byte
	lost bool // the kernel has dropped events, and may go on until all others are read
}

// subscribe opens a socket in the network namespace of the calling thread.
func subscribe(protocol int, groups ...uint) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "netlink")
	var mask uint32
	for _, g := range groups {
		mask |= 1 << (g - 1)
	}
	// Without the privilege to go beyond net.core.rmem_max the buffer is smaller.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("set the size of the buffer: %w", err), file.Close())
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: mask}); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to groups %v: %w", groups, err), file.Close())
	}
	s := &socket{File: file, buf: make([]byte, 1<<16)}
	address, err := unix.Getsockname(fd)
	if err == nil {
		s.port = address.(*unix.SockaddrNetlink).Pid
		s.conn, err = file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

// receive waits for events. ENOBUFS says that some were lost, and comes once all others
// have been read: until then the kernel drops more without telling again (netlink_overrun
// of net/netlink/af_netlink.c). The messages are valid until the next call.
func (s *socket) receive() ([]message, error) {
	var n int
	var from unix.Sockaddr
	var err error
	waited := s.conn.Read(func(fd uintptr) bool {
		for {
			n, from, err = unix.Recvfrom(int(fd), s.buf, unix.MSG_TRUNC)
			switch {
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.ENOBUFS):
				s.lost = true
			case errors.Is(err, unix.EAGAIN) && s.lost:
				s.lost, err = false, unix.ENOBUFS
				return true
			default:
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if waited != nil {
		return nil, waited
	}
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	if n > len(s.buf) {
		return nil, fmt.Errorf("an event of %d bytes does not fit: %w", n, unix.ENOBUFS)
	}
	if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
		return nil, nil // not from the kernel
	}
	return syscall.ParseNetlinkMessage(s.buf[:n])
}

// send sends a request.
func (s *socket) send(request []byte) error {
	var err error
	waited := s.conn.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	return errors.Join(waited, err)
}
