package plugin

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/sysctl"
)

// Who is about to lose what a router has told the host is warned before that happens, once,
// with the command that keeps it; nobody else is.
func TestWarnOfRouters(t *testing.T) {
	const forwarding = "net/ipv6/conf/all/forwarding"
	for _, c := range []struct {
		name     string
		learned  []string
		err      error
		acceptRA map[string]string
		set      sysctl.Set
		warning  string
	}{
		{"one loses", []string{"eth0", "eth1"}, nil, map[string]string{"eth0": "1", "eth1": "2"}, sysctl.Set{forwarding: "1"},
			"on eth0; keep them with `sysctl -w net/ipv6/conf/eth0/accept_ra=2`"},
		{"two lose", []string{"eth0", "eth1"}, nil, map[string]string{"eth0": "1", "eth1": "1"}, sysctl.Set{forwarding: "1"},
			"on eth0, eth1; keep them with `sysctl -w net/ipv6/conf/eth0/accept_ra=2 net/ipv6/conf/eth1/accept_ra=2`"},
		{"a program listens to routers", []string{"eth0"}, nil, map[string]string{"eth0": "0"}, sysctl.Set{forwarding: "1"}, ""},
		{"nothing is learned", nil, nil, nil, sysctl.Set{forwarding: "1"}, ""},
		{"a link that has gone", []string{"gone0"}, nil, nil, sysctl.Set{forwarding: "1"}, ""},
		{"it can't be told", nil, errors.New("no"), nil, sysctl.Set{forwarding: "1"}, "can't be told: no"},
		{"other settings", []string{"eth0"}, nil, map[string]string{"eth0": "1"}, sysctl.Set{"net/ipv4/ip_forward": "1"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := nettest.New(t)
			h.Sysctl("net/ipv4/ip_forward", "0")
			for _, link := range []string{"eth0", "eth1"} {
				h.Run("ip", "link", "add", link, "type", "bridge")
				if value, ok := c.acceptRA[link]; ok {
					h.Sysctl("net/ipv6/conf/"+link+"/accept_ra", value)
				}
			}
			var warnings []string
			settings := &sysctl.Applier{}
			settings.Before = warnOfRouters(settings, func() ([]string, error) {
				if h.ReadSysctl(forwarding) != "0" {
					t.Error("warned when it was too late")
				}
				return c.learned, c.err
			}, func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) })
			for range 2 {
				if err := settings.Apply(t.Context(), nil, c.set); err != nil {
					t.Fatal(err)
				}
			}
			if c.warning == "" && len(warnings) > 0 || c.warning != "" && (len(warnings) != 1 || !strings.HasSuffix(warnings[0], c.warning)) {
				t.Errorf("warnings %q, want %q", warnings, c.warning)
			}
		})
	}
}
