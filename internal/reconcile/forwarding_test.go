package reconcile

import (
	"errors"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// recordedForwarding is a Forwarding over settings and records of the test.
func recordedForwarding(t *testing.T, settings map[string]string, records map[string]bool) *Forwarding {
	return &Forwarding{
		Get: func(path string) (string, error) {
			v, ok := settings[path]
			if !ok {
				return "", errors.New("no such setting")
			}
			return v, nil
		},
		Enabled: func(path string) (bool, error) { return records[path], nil },
		Enable: func(path string) error {
			if settings[path] != "0" {
				t.Errorf("%s is recorded after it was turned on", path)
			}
			records[path] = true
			return nil
		},
		Info: t.Logf,
	}
}

// That mybr turned forwarding on is decided when it is first needed, and kept until the
// host is booted, whatever restarts.
func TestDefaultDrop(t *testing.T) {
	both := firewall.Families{V4: true, V6: true}
	for _, c := range []struct {
		name           string
		v4, v6         string // as the host has it
		needed         firewall.Families
		drop           firewall.Families
		later          firewall.Families // when all is on, after a restart
		neededThenMore firewall.Families // both are needed later, with all on
	}{
		{"on for other reasons", "1", "1", both, firewall.Families{}, firewall.Families{}, firewall.Families{}},
		{"Docker's IPv4", "1", "0", both, firewall.Families{V6: true}, firewall.Families{V6: true}, firewall.Families{V6: true}},
		{"mybr's", "0", "0", both, both, both, both},
		{"not needed", "0", "0", firewall.Families{}, firewall.Families{}, firewall.Families{}, firewall.Families{}},
		{"IPv4 alone is needed", "0", "0", firewall.Families{V4: true}, firewall.Families{V4: true}, firewall.Families{V4: true}, firewall.Families{V4: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings, records := map[string]string{forwarding4: c.v4, forwarding6: c.v6}, map[string]bool{}
			check := func(when string, f *Forwarding, needed, want firewall.Families) {
				t.Helper()
				if have, err := f.DefaultDrop(needed, true); err != nil || have != want {
					t.Errorf("%s: %+v, %v, want %+v", when, have, err, want)
				}
			}
			running := recordedForwarding(t, settings, records)
			check("at first", running, c.needed, c.drop)
			settings[forwarding4], settings[forwarding6] = "1", "1"
			check("once it is on", running, c.needed, c.drop)
			check("after a restart", recordedForwarding(t, settings, records), c.needed, c.later)
			check("both are needed", running, both, c.neededThenMore)
			clear(records)
			check("after a reboot", recordedForwarding(t, settings, records), c.needed, firewall.Families{})
		})
	}
}

// Where forwarding was on and others have turned it off, it is mybr that turns it on again,
// which is recorded then, and not when the host is only looked at.
func TestDefaultDropWhenForwardingWasTurnedOff(t *testing.T) {
	both := firewall.Families{V4: true, V6: true}
	settings, records := map[string]string{forwarding4: "1", forwarding6: "1"}, map[string]bool{}
	f := recordedForwarding(t, settings, records)
	if drop, err := f.DefaultDrop(both, true); err != nil || drop != (firewall.Families{}) {
		t.Fatalf("on: %+v, %v", drop, err)
	}
	settings[forwarding4] = "0"
	for _, decide := range []bool{false, true} {
		if drop, err := f.DefaultDrop(both, decide); err != nil || drop != (firewall.Families{V4: true}) {
			t.Errorf("off: %+v, %v", drop, err)
		}
		if records[forwarding4] != decide || records[forwarding6] {
			t.Errorf("recorded: %v, decide %t", records, decide)
		}
	}
	if drop, err := f.DefaultDrop(firewall.Families{}, true); err != nil || drop != (firewall.Families{V4: true}) {
		t.Errorf("not needed any more: %+v, %v", drop, err)
	}
}

// A host whose settings or records can't be read is not made a router.
func TestDefaultDropUnknown(t *testing.T) {
	f := recordedForwarding(t, nil, map[string]bool{})
	if _, err := f.DefaultDrop(firewall.Families{V6: true}, true); err == nil {
		t.Error("no error")
	}
	if drop, err := f.DefaultDrop(firewall.Families{}, true); err != nil || drop != (firewall.Families{}) {
		t.Errorf("nothing needed: %+v, %v", drop, err)
	}
	f.Enabled = func(path string) (bool, error) {
		if path == forwarding4 {
			return false, errors.New("the disk is gone")
		}
		return true, nil
	}
	if drop, err := f.DefaultDrop(firewall.Families{}, true); err == nil || !drop.V6 {
		t.Errorf("what is known of IPv6 is lost with IPv4: %+v, %v", drop, err)
	}
	f.Enabled = func(string) (bool, error) { return false, errors.New("the disk is gone") }
	if _, err := f.DefaultDrop(firewall.Families{}, true); err == nil {
		t.Error("no error without records")
	}
}

// In doubt nothing is taken away that keeps the host from being a router.
func TestRenderInDoubt(t *testing.T) {
	r := New(Config{
		Snapshot: func() model.Snapshot { return model.Snapshot{} },
		Forwarding: func(firewall.Families, bool) (firewall.Families, error) {
			return firewall.Families{V6: true}, errors.New("the disk is gone")
		},
	})
	h, failures := r.render(true)
	if len(failures) != 1 || h.Firewall.DefaultDrop != (firewall.Families{V6: true}) || h.Firewall.DropInDoubt != (firewall.Families{V4: true}) {
		t.Errorf("have %+v, %v", h.Firewall, failures)
	}
}
