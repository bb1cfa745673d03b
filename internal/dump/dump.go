// Package dump has the kernel list things as they are at one moment.
//
// Be aware: it is for who looks once, such as the operator's commands. internal/link and
// internal/conntrack, which requests wait for, have limits of their own.
package dump

import (
	"errors"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tries is how often a list is asked for in all.
const tries = 10

// Whole asks for a list again while it changes as the kernel tells it (NLM_F_DUMP_INTR,
// netlink(7)): something may be missing then, or there twice. What never stands still is
// returned as it is, with netlink.ErrDumpInterrupted.
func Whole[T any](list func() (T, error)) (all T, err error) {
	for range tries {
		all, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return all, err
		}
	}
	return all, err
}
