package hostport

import (
	"sync"
	"syscall"
	"time"
)

// What carried traffic takes, in descriptors.
const (
	perConnection = 6 // two sockets and, while splice(2) runs in both directions, two pipes
	perFlow       = 1

	// maxDescriptors is 32,768 connections, some 500 MB in the process and the kernel.
	maxDescriptors = 32768 * perConnection
)

// budget bounds what the carried traffic of all ports takes, so that clients can't use
// up the descriptors that the process needs to do its work. Half of what it may have is
// left for that.
type budget struct {
	total int
	warn  func(format string, args ...any)

	mu     sync.Mutex
	used   int
	warned time.Time
}

func newBudget(total int, warn func(format string, args ...any)) *budget {
	var limit syscall.Rlimit
	if total == 0 {
		total = maxDescriptors
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur/2 < maxDescriptors {
			total = int(limit.Cur / 2)
		}
	}
	return &budget{total: total, warn: warn}
}

// account is what one port has taken.
type account struct {
	budget *budget
	port   string // for messages
	own    int
}

// take reports whether the port may have n more. It may have as many as are left to all
// others: half of everything for the first, so that no port can starve the rest.
func (a *account) take(n int) bool {
	b := a.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.own+n <= b.total-b.used {
		a.own += n
		b.used += n
		return true
	}
	if now := time.Now(); now.Sub(b.warned) > time.Minute {
		b.warned = now
		b.warn("%s: too many clients for the process to carry: %d descriptors of %d are in use, %d by this port", a.port, b.used, b.total, a.own)
	}
	return false
}

// give hands back what take gave.
func (a *account) give(n int) {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	a.own -= n
	a.budget.used -= n
}
