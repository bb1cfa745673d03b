package plugin

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/internal/sysctl"
)

// Who turned forwarding on is decided when it is first wanted, and kept until the host
// is booted, whatever restarts.
func TestClosing(t *testing.T) {
	both := sysctl.Set{forwarding4: "1", forwarding6: "1"}
	for _, c := range []struct {
		name   string
		v4, v6 string // as the host has it
		want   sysctl.Set
		closed firewall.Families
		later  firewall.Families // when all is on, after a restart
		reboot firewall.Families // then the host is booted with all on
	}{
		{"somebody else's", "1", "1", both, firewall.Families{}, firewall.Families{}, firewall.Families{}},
		{"Docker's IPv4", "1", "0", both, firewall.Families{V6: true}, firewall.Families{V6: true}, firewall.Families{}},
		{"mybr's", "0", "0", both, firewall.Families{V4: true, V6: true}, firewall.Families{V4: true, V6: true}, firewall.Families{}},
		{"not wanted", "0", "0", sysctl.Set{}, firewall.Families{}, firewall.Families{}, firewall.Families{}},
		{"IPv4 alone is wanted", "0", "0", sysctl.Set{forwarding4: "1"}, firewall.Families{V4: true}, firewall.Families{V4: true}, firewall.Families{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := &sysctl.Applier{Root: t.TempDir()}
			set := func(path, value string) {
				t.Helper()
				file := filepath.Join(settings.Root, path)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			records, err := store.Open(filepath.Join(t.TempDir(), "mybr.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer records.Close()
			boot := func(id string) {
				t.Helper()
				if _, err := records.Boot(id); err != nil {
					t.Fatal(err)
				}
			}
			check := func(when string, closing *closing, want firewall.Families) {
				t.Helper()
				if have, err := closing.families(c.want); err != nil || have != want {
					t.Errorf("%s: %+v, %v, want %+v", when, have, err, want)
				}
			}
			start := func() *closing { return newClosing(settings, records, t.Logf) }

			boot("first")
			set(forwarding4, c.v4)
			set(forwarding6, c.v6)
			running := start()
			check("at first", running, c.closed)
			set(forwarding4, "1")
			set(forwarding6, "1")
			check("once it is on", running, c.closed)
			boot("first")
			check("after a restart", start(), c.later)
			boot("second")
			check("after a reboot", start(), c.reboot)
		})
	}
}

// A host whose settings can't be read is not made a router.
func TestClosingUnknown(t *testing.T) {
	records, err := store.Open(filepath.Join(t.TempDir(), "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	c := newClosing(&sysctl.Applier{Root: t.TempDir()}, records, t.Logf)
	if _, err := c.families(sysctl.Set{forwarding6: "1"}); err == nil {
		t.Error("no error")
	}
	if f, err := c.families(sysctl.Set{}); err != nil || f != (firewall.Families{}) {
		t.Errorf("nothing wanted: %+v, %v", f, err)
	}
}
