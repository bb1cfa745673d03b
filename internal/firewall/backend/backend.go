// Package backend opens the packet filter's backends by their names.
//
// Be aware: it is a package of its own because each backend imports package firewall for
// the values, which therefore can't import the backends.
package backend

import (
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/iptables"
	"github.com/mybr/mybr/internal/model"
)

// Auto chooses among the backends: iptables, as long as there is no other.
const Auto = "auto"

// Kinds lists what Open takes.
func Kinds() []string { return []string{Auto, iptables.Name} }

// Open returns the backend of a kind. An unknown kind is model.ErrInvalid.
func Open(kind string, c firewall.Config) (firewall.Backend, error) {
	switch kind {
	case Auto, iptables.Name:
		b, err := iptables.New(c)
		if err != nil {
			return nil, err
		}
		return b, nil
	}
	return nil, model.Invalid("firewall %q: there is no such backend; choose one of: %s", kind, strings.Join(Kinds(), ", "))
}
