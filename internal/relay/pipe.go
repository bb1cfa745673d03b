package relay

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is what one splice(2) moves at most. A user may have 64 MiB of pipes in all
	// programs together (pipe(7), pipe-user-pages-soft): who has more gets pipes of two
	// pages, save with a capability that mybr hasn't.
	pipeSize = 1 << 20
	// leastPipe is the size from which on a pipe is worth its while.
	leastPipe = 64 << 10
	// maxPipes is how many connections can be in the middle of a splice(2) at a time; the
	// others copy.
	maxPipes = 16
	// keptPipes are kept open for the next who needs one.
	keptPipes = 4
	// pipeAgain is when a pipe is asked for again that could not be had.
	pipeAgain = time.Second
)

// pipe is where splice(2) puts pages on their way from one socket to another one.
type pipe struct {
	ends [2]int // to read and to write
	size int
}

// pipes are those of a Relay. One that waits in it is empty.
type pipes struct {
	most int

	mu    sync.Mutex
	made  int // those that are in use, too
	free  []*pipe
	later time.Time // until when no other one is tried to be made
}

// get returns an empty pipe; nil if there is none to be had.
func (p *pipes) get() *pipe {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		one := p.free[n-1]
		p.free = p.free[:n-1]
		return one
	}
	if p.made >= p.most || !p.later.IsZero() && time.Now().Before(p.later) {
		return nil
	}
	one := newPipe()
	if one == nil {
		p.later = time.Now().Add(pipeAgain)
		return nil
	}
	p.made++
	return one
}

// newPipe makes a pipe; nil if it can't be made, or only one that is too small.
func newPipe() *pipe {
	var one pipe
	if err := unix.Pipe2(one.ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil
	}
	size, err := unix.FcntlInt(uintptr(one.ends[0]), unix.F_SETPIPE_SZ, pipeSize)
	if err != nil {
		size, err = unix.FcntlInt(uintptr(one.ends[0]), unix.F_GETPIPE_SZ, 0)
	}
	if err != nil || size < leastPipe {
		one.close()
		return nil
	}
	one.size = size
	return &one
}

func (one *pipe) close() { _, _ = unix.Close(one.ends[0]), unix.Close(one.ends[1]) }

// put takes a pipe back. One that isn't empty is closed.
func (p *pipes) put(one *pipe, empty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !empty || len(p.free) >= keptPipes {
		p.made--
		one.close()
		return
	}
	p.free = append(p.free, one)
}

// close closes those that are not in use.
func (p *pipes) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.free {
		p.made--
		one.close()
	}
	p.free = nil
}
