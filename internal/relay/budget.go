package relay

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/mybr/mybr/internal/model"
)

// What relayed traffic takes, in descriptors.
const (
	perConnection = 2
	perFlow       = 1

	// maxRelayed is 32,768 connections, some 300 MB in the kernel.
	maxRelayed = 32768 * perConnection
)

// maxReserve is how many descriptors are left to the rest of the process: its own sockets
// and files (some twenty), and for each request that is served at the same time a
// connection and the three pipes of a command such as iptables-save. Of a limit below
// four times as much it is a quarter.
const maxReserve = 256

// Budget divides the descriptors that the process may have: a reserve for the process's
// own work; sockets that are held (Hold); and what is left, for relayed traffic, so that
// clients can't use up what the process needs.
type Budget struct {
	fixed bool // the limit is not the process's
	warn  func(format string, args ...any)

	mu             sync.Mutex
	limit, reserve int
	held, relayed  int
	warned         time.Time
}

// NewBudget divides limit descriptors. 0: what the process may have (RLIMIT_NOFILE,
// getrlimit(2)), which is looked up again for each socket: an administrator can change it
// (prlimit(1)). warn is told, once a minute at most, that clients were turned away.
func NewBudget(limit int, warn func(format string, args ...any)) *Budget {
	b := &Budget{fixed: limit > 0, limit: limit, warn: warn}
	b.look()
	return b
}

// look finds the limit. The caller holds b.mu, or b alone.
func (b *Budget) look() {
	var r syscall.Rlimit
	if !b.fixed && syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) == nil { // it fails for bad arguments only
		b.limit = int(min(r.Cur, math.MaxInt32))
	}
	b.reserve = min(maxReserve, b.limit/4)
}

// pipes is how many pipes relayed traffic may have for itself, two descriptors each.
func (b *Budget) pipes() int { return min(maxPipes, b.reserve/8) }

// Hold counts one more socket that is held, before it is made. Errors: *LimitError, and
// then it is not counted.
func (b *Budget) Hold() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.look()
	if b.reserve+b.held+b.relayed >= b.limit {
		return &LimitError{Limit: b.limit, Reserve: b.reserve, Held: b.held, Relayed: b.relayed}
	}
	b.held++
	return nil
}

// Release counts one socket less that is held.
func (b *Budget) Release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held--
}

// LimitError says that the process may not have another socket: a socket more would be at
// the expense of the process's own work. It is model.ErrConflict to errors.Is.
type LimitError struct {
	Limit   int // RLIMIT_NOFILE
	Reserve int // kept for the process's own work
	Held    int // sockets that hold ports
	Relayed int // descriptors of relayed traffic
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("too few file descriptors: RLIMIT_NOFILE is %d, of which %d hold ports, %d serve clients and %d are kept for mybr's own work; raise it with LimitNOFILE= in the systemd unit (of a managed plugin: containerd's), or with ulimit -n",
		e.Limit, e.Held, e.Relayed, e.Reserve)
}

// Unwrap makes the error a conflict.
func (e *LimitError) Unwrap() error { return model.ErrConflict }

// account is what one session has taken.
type account struct {
	budget  *Budget
	network string
	at      netip.AddrPort // of the socket, for messages
	own     int
}

// take reports whether the session may have n more. It may have as many as are left to all
// others: half of everything for the first, so that no session can starve the rest.
func (a *account) take(n int) bool {
	b := a.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.own+n <= min(b.limit-b.reserve-b.held, maxRelayed)-b.relayed {
		a.own += n
		b.relayed += n
		return true
	}
	if now := time.Now(); now.Sub(b.warned) > time.Minute {
		b.warned = now
		b.warn("%s/%s: too many clients to relay: RLIMIT_NOFILE is %d, relayed traffic has %d descriptors, %d of them for this port, and %d hold ports; raise it with LimitNOFILE= in the systemd unit (of a managed plugin: containerd's), or with ulimit -n",
			a.at, a.network, b.limit, b.relayed, a.own, b.held)
	}
	return false
}

// give hands back what take gave.
func (a *account) give(n int) {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	a.own -= n
	a.budget.relayed -= n
}
