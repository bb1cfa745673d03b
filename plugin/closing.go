package plugin

import (
	"fmt"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/internal/sysctl"
)

// forwarding are the settings with which the host forwards packets (ip-sysctl.rst).
const (
	forwarding4 = "net/ipv4/ip_forward"
	forwarding6 = "net/ipv6/conf/all/forwarding"
)

// closing says in which families mybr has the host forward that did not before, since it
// was booted. In those it must not become a router for everybody. Docker closes FORWARD
// itself when it turns forwarding on, and finds it on when mybr was first; who had
// forwarding on for reasons of his own is left alone.
//
// It is recorded before forwarding is turned on, for afterwards nobody could tell.
type closing struct {
	get     func(path string) (string, error)
	records *store.Store
	said    func(format string, args ...any)
	known   map[string]bool // by setting: whether mybr turned it on
}

func newClosing(settings *sysctl.Applier, records *store.Store, said func(format string, args ...any)) *closing {
	return &closing{get: settings.Get, records: records, said: said, known: map[string]bool{}}
}

// families is for one caller at a time.
func (c *closing) families(want sysctl.Set) (f firewall.Families, err error) {
	if f.V4, err = c.mine(forwarding4, want); err != nil {
		return f, err
	}
	f.V6, err = c.mine(forwarding6, want)
	return f, err
}

// mine reports whether mybr has turned a setting on, or is about to.
func (c *closing) mine(path string, want sysctl.Set) (bool, error) {
	if mine, known := c.known[path]; known {
		return mine, nil
	}
	var mine bool
	err := c.records.View(func(tx *store.Tx) error {
		mine = tx.TurnedOn(path)
		return nil
	})
	if err != nil || !mine && want[path] != "1" {
		return mine, err
	}
	if !mine {
		value, err := c.get(path)
		if err != nil {
			return false, err
		}
		if mine = value == "0"; mine {
			c.said("%s is 0: mybr turns it on for its containers, and sees to it that nothing is forwarded that no rule accepts (chain MYBR-FORWARD-DROP, at the end of FORWARD)", path)
			if _, err := c.records.Update(func(tx *store.Tx) error { return tx.SetTurnedOn(path) }); err != nil {
				return false, fmt.Errorf("turn %s on: %w", path, err)
			}
		}
	}
	c.known[path] = mine
	return mine, nil
}
