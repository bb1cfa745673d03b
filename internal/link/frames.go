package link

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
)

// frameSocket is a socket that frames are sent by. It stays open: closing a packet socket
// waits for every processor to have done with it (synchronize_net in the kernel's
// packet_release), which takes longer than all else that is done for a new pair.
type frameSocket struct {
	mu        sync.Mutex
	file      *os.File // nil: there is none yet
	namespace uint64   // that it is of, by the inode
}

// send sends frames by a link: those to all ports of a bridge by the bridge itself, which
// therefore does not learn the MAC at a wrong port.
func (s *frameSocket) send(frames [][]byte, link int) error {
	if len(frames) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil {
		return err
	}
	if err := fault.Point("link: before an announcement"); err != nil {
		return err
	}
	for _, frame := range frames {
		to := &unix.SockaddrLinklayer{Ifindex: link, Halen: 6}
		copy(to.Addr[:], frame[:6])
		if err := unix.Sendto(int(s.file.Fd()), frame, 0, to); err != nil {
			return err
		}
	}
	return nil
}

// open sees to a socket of the calling thread's network namespace.
func (s *frameSocket) open() error {
	var here unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &here); err != nil {
		return fmt.Errorf("look at the network namespace: %w", err)
	}
	if s.file != nil && s.namespace == here.Ino {
		return nil
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // 0: receives nothing (packet(7))
	if err != nil {
		return err
	}
	before := s.file
	s.file, s.namespace = os.NewFile(uintptr(fd), "packet socket"), here.Ino
	if before != nil {
		return before.Close()
	}
	return nil
}
