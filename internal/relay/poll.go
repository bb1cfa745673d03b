package relay

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// maxWorkers is enough for what one host's network carries: a worker copies some
	// Gbit/s.
	maxWorkers = 8
	// takeEvents is how many events a worker takes at once.
	takeEvents = 16
)

// poll tells handlers of what happens at their descriptors, by a few workers that share
// them. The runtime's own poller has a goroutine for each descriptor; it is told here of
// the workers' descriptors alone.
type poll struct {
	workers  []*worker
	wake     int // an eventfd(2), readable when all workers are to end
	running  atomic.Int32
	sessions int // that use it; the Relay's mu guards it

	mu       sync.RWMutex
	handlers map[uint64]handler
	last     uint64 // an id; none comes again, so that an event that is late meets nobody
}

// handler is told of events at a descriptor that it has added, by the name it gave that.
type handler interface {
	ready(w *worker, name side, events uint32)
}

// side tells the descriptors of a handler apart. It is the last bit of an id.
type side uint64

const (
	first side = iota
	second
)

// worker waits for some of the descriptors, and has the memory that is worked with.
type worker struct {
	epoll *os.File // an epoll(7) instance, which is readable when something has happened
	fd    int      // its descriptor

	buffer []byte // of streams; nil until it is needed, as the others
	batch  *batch // of datagrams
}

// stream is memory for a part of a stream.
func (w *worker) stream() []byte {
	if w.buffer == nil {
		w.buffer = make([]byte, copySize)
	}
	return w.buffer
}

// datagrams is memory for datagrams.
func (w *worker) datagrams() *batch {
	if w.batch == nil {
		w.batch = newBatch()
	}
	return w.batch
}

// join counts one session more, and begins to poll for the first one.
func (r *Relay) join() (*poll, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.poll == nil {
		p, err := newPoll()
		if err != nil {
			return nil, err
		}
		r.poll = p
	}
	r.poll.sessions++
	return r.poll, nil
}

// leave counts one session less. Without sessions nothing is left.
func (r *Relay) leave(p *poll) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.sessions--; p.sessions == 0 {
		p.end()
		r.poll = nil
		r.pipes.close()
	}
}

func newPoll() (_ *poll, err error) {
	p := &poll{handlers: map[uint64]handler{}}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	for range min(runtime.GOMAXPROCS(0), maxWorkers) {
		w, err := newWorker(p.wake)
		if err != nil {
			p.close()
			return nil, err
		}
		p.workers = append(p.workers, w)
	}
	p.running.Store(int32(len(p.workers)))
	for _, w := range p.workers {
		go p.work(w)
	}
	return p, nil
}

func newWorker(wake int) (*worker, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(fd, true); err == nil { // so that the runtime waits for it
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return &worker{epoll: os.NewFile(uintptr(fd), "epoll"), fd: fd}, nil
}

// end has the workers end, the last of which closes what they wait at.
func (p *poll) end() {
	one := [8]byte{1}
	_, _ = unix.Write(p.wake, one[:])
}

func (p *poll) close() {
	for _, w := range p.workers {
		_ = w.epoll.Close()
	}
	_ = unix.Close(p.wake)
}

func (p *poll) work(w *worker) {
	defer func() {
		if p.running.Add(-1) == 0 {
			p.close()
		}
	}()
	var events [takeEvents]unix.EpollEvent
	for {
		for _, e := range events[:w.wait(events[:])] {
			id := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
			if id == 0 {
				return
			}
			p.mu.RLock()
			h := p.handlers[id]
			p.mu.RUnlock()
			if h != nil {
				h.ready(w, side(id&1), e.Events)
			}
		}
	}
}

// wait returns how many events there are, when there are some.
func (w *worker) wait(events []unix.EpollEvent) (n int) {
	raw, err := w.epoll.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Read(func(fd uintptr) bool {
			n, failed = again(func() (int, error) { return unix.EpollWait(int(fd), events, 0) })
			return n > 0 || failed != nil
		})
		err = errors.Join(err, failed)
	}
	if err != nil {
		panic(fmt.Errorf("wait for events: %w", err)) // they are this package's own descriptors
	}
	return n
}

// interest is all that can happen. It is told when it begins (EPOLLET), so that nobody need
// say after each event what is waited for next; who is told goes on until EAGAIN.
const interest = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// add has h told of a descriptor, and at once if it is ready already. The id is there before
// h is told of anything.
func (p *poll) add(fd int, h handler, name side, id *uint64) error {
	p.mu.Lock()
	p.last += 2
	*id = p.last | uint64(name)
	p.handlers[*id] = h
	p.mu.Unlock()
	err := p.control(unix.EPOLL_CTL_ADD, fd, *id, interest)
	if err != nil {
		p.forget(*id)
	}
	return err
}

// again has the handler told once more of what is ready, behind the others.
func (p *poll) again(fd int, id uint64) { _ = p.control(unix.EPOLL_CTL_MOD, fd, id, interest) }

// remove ends what add began, for a descriptor that stays open.
func (p *poll) remove(fd int, id uint64) {
	p.forget(id)
	_ = p.control(unix.EPOLL_CTL_DEL, fd, id, 0)
}

// forget is remove for a descriptor that is closed.
func (p *poll) forget(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.handlers, id)
}

// control has the descriptors divided among the workers in turn.
func (p *poll) control(op, fd int, id uint64, events uint32) error {
	w := p.workers[id>>1%uint64(len(p.workers))]
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(w.fd, op, fd, &unix.EpollEvent{Events: events, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32))}))
}

// turn has one worker at a time about something; whoever comes meanwhile leaves the work to
// that one. The zero value is ready for use.
type turn struct {
	mu    sync.Mutex
	asked atomic.Bool
}

// stepper does what there is to do.
type stepper interface{ step(w *worker) }

// run has s step until nobody has asked since it began.
func (t *turn) run(s stepper, w *worker) {
	t.asked.Store(true)
	t.rest(s, w)
}

// rest is for who has held mu: what others have left meanwhile is done.
func (t *turn) rest(s stepper, w *worker) {
	for t.asked.Load() && t.mu.TryLock() {
		for t.asked.Swap(false) {
			s.step(w)
		}
		t.mu.Unlock()
	}
}
