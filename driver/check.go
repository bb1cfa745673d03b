package driver

import "github.com/mybr/mybr/internal/model"

// CheckOptions says whether a network can have these -o options on an engine that is not
// older than any option. What they need of the host, such as an existing interface, is seen
// only when a network is created.
func CheckOptions(options map[string]string, internal, ipv6 bool) error {
	user := map[string]any{}
	for key, value := range options {
		user[key] = value
	}
	_, err := parseNetOptions(map[string]any{
		optGeneric: user, optInternal: internal,
		enableKey(model.IPv4): true, enableKey(model.IPv6): ipv6,
	})
	return err
}
