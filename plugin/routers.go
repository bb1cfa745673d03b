package plugin

import (
	"strings"

	"github.com/mybr/mybr/internal/sysctl"
)

// warnOfRouters returns what warns, before IPv6 forwarding is turned on, that the host
// is about to lose what routers have told it: a host that forwards ignores them, unless
// accept_ra is 2 (ip-sysctl.rst), and drops the default routes that it has from them.
// Whether it should go on believing them is the administrator's to say.
func warnOfRouters(settings *sysctl.Applier, learned func() ([]string, error), warn func(format string, args ...any)) func(path, want string) {
	return func(path, want string) {
		if path != "net/ipv6/conf/all/forwarding" || want != "1" {
			return
		}
		links, err := learned()
		if err != nil {
			warn("IPv6 forwarding is being turned on, and where the host has its routes from can't be told: %v", err)
			return
		}
		var losing, remedy []string
		for _, link := range links {
			setting := "net/ipv6/conf/" + link + "/accept_ra"
			if value, err := settings.Get(setting); err == nil && value == "1" {
				losing = append(losing, link)
				remedy = append(remedy, setting+"=2")
			}
		}
		if len(losing) > 0 {
			warn("IPv6 forwarding is being turned on, with which the kernel ignores router advertisements: the host loses the IPv6 default route or address that it has from them on %s; keep them with `sysctl -w %s`",
				strings.Join(losing, ", "), strings.Join(remedy, " "))
		}
	}
}
