// Package backend opens the packet filter's backends by their names, and has each remove
// what another one has left.
//
// Be aware: it is a package of its own because each backend imports package firewall for
// the values, which therefore can't import the backends.
package backend

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/iptables"
	"github.com/mybr/mybr/internal/firewall/nftables"
	"github.com/mybr/mybr/internal/model"
)

// Auto chooses what the host's Docker uses: nftables if that has its rules there, and else
// iptables, which is Docker's own default, if it is installed.
const Auto = "auto"

// Kinds lists what Open takes.
func Kinds() []string { return []string{Auto, iptables.Name, nftables.Name} }

// Open returns the backend of a kind. An unknown kind is model.ErrInvalid.
func Open(kind string, c firewall.Config) (firewall.Backend, error) {
	switch kind {
	case Auto:
		return automatic(c)
	case iptables.Name:
		b, err := iptables.New(c)
		if err != nil {
			return nil, err
		}
		return &alone{Backend: b, leftovers: &nftables.Leftovers{}}, nil
	case nftables.Name:
		b, err := nftables.New(c) // which removes what iptables has of mybr's itself
		if err != nil {
			return nil, err
		}
		return b, nil
	}
	return nil, model.Invalid("firewall %q: there is no such backend; choose one of: %s", kind, strings.Join(Kinds(), ", "))
}

// automatic opens what the host's Docker uses.
func automatic(c firewall.Config) (firewall.Backend, error) {
	if docker, err := nftables.Docker(); docker && err == nil {
		return Open(nftables.Name, c)
	}
	b, err := Open(iptables.Name, c)
	if err == nil {
		return b, nil
	}
	other, noOther := Open(nftables.Name, c)
	if noOther != nil {
		return nil, fmt.Errorf("neither backend of the firewall can be used: %w", errors.Join(err, noOther))
	}
	return other, nil
}
