package dump

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestWhole(t *testing.T) {
	other := errors.New("no such device")
	for name, c := range map[string]struct {
		errs  []error // of each list; behind them all are well
		err   error
		asked int
	}{
		"at once":                  {nil, nil, 1},
		"changed while it is told": {[]error{netlink.ErrDumpInterrupted, unix.EINTR}, nil, 3},
		"never stands still":       {repeated(netlink.ErrDumpInterrupted, 2*tries), netlink.ErrDumpInterrupted, tries},
		"fails":                    {[]error{netlink.ErrDumpInterrupted, other}, other, 2},
	} {
		asked := 0
		all, err := Whole(func() (int, error) {
			asked++
			if asked <= len(c.errs) {
				return asked, c.errs[asked-1]
			}
			return asked, nil
		})
		if !errors.Is(err, c.err) || all != c.asked || asked != c.asked {
			t.Errorf("%s: %d, %v after %d lists, want %v after %d", name, all, err, asked, c.err, c.asked)
		}
	}
}

func repeated(err error, times int) (all []error) {
	for range times {
		all = append(all, err)
	}
	return all
}
