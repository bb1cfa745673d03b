package link

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/sysctl"
)

// A host that is about to lose what a router has told it is warned of before that happens,
// once, with the command that keeps it; no other is.
func TestWarnsBeforeForwarding(t *testing.T) {
	for _, c := range []struct {
		name     string
		acceptRA string // of the two links with a route from a router
		set      sysctl.Set
		warning  string
	}{
		{"one loses", "12", sysctl.Set{forwarding: "1"}, "on eth0; keep them with `sysctl -w net/ipv6/conf/eth0/accept_ra=2`"},
		{"two lose", "11", sysctl.Set{forwarding: "1"}, "on eth0, eth1; keep them with `sysctl -w net/ipv6/conf/eth0/accept_ra=2 net/ipv6/conf/eth1/accept_ra=2`"},
		{"a program listens to routers", "00", sysctl.Set{forwarding: "1"}, ""},
		{"nothing is learned", "", sysctl.Set{forwarding: "1"}, ""},
		{"forwarding is off", "11", sysctl.Set{forwarding: "0"}, ""},
		{"other settings", "11", sysctl.Set{"net/ipv4/ip_forward": "1"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := nettest.New(t)
			h.Sysctl("net/ipv4/ip_forward", "0")
			for i, value := range c.acceptRA {
				name := fmt.Sprintf("eth%d", i)
				h.Connect(nettest.End{Name: name}, h.Peer("router"), nettest.End{Name: "r0"})
				h.Sysctl("net/ipv6/conf/"+name+"/accept_ra", string(value))
				h.Run("ip", "-6", "route", "add", "default", "via", "fe80::5", "dev", name, "proto", "ra", "metric", fmt.Sprint(1024+i))
			}
			settings := &sysctl.Applier{}
			var warnings []string
			a := &Applier{Settings: settings, Warn: func(format string, args ...any) {
				if h.ReadSysctl(forwarding) != "0" {
					t.Error("warned when it was too late")
				}
				warnings = append(warnings, fmt.Sprintf(format, args...))
			}}
			settings.Before = a.BeforeSetting
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
