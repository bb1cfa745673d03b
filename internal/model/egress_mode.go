package model

import (
	"cmp"
	"fmt"
)

// The modes of an egress list.
const (
	EgressEnforce = "enforce" // what it does not have is refused
	EgressAudit   = "audit"   // what it does not have passes, and is told of
)

// ParseEgressMode reads a mode. An error says what can't be taken, and nothing of where it stands.
func ParseEgressMode(text string) (string, error) {
	if text != EgressEnforce && text != EgressAudit {
		return "", fmt.Errorf("%s: want %s or %s", Quoted(text, 64), EgressEnforce, EgressAudit)
	}
	return text, nil
}

// EgressModeInForce is how the network's lists count, those of its endpoints included that don't
// say it themselves; "": they are enforced.
func (n Network) EgressModeInForce() string { return cmp.Or(n.EgressModeSet, n.EgressMode) }

// EgressModeInForce is how the endpoint's list counts; "": as its network says.
func (e Endpoint) EgressModeInForce() string { return cmp.Or(e.EgressModeSet, e.EgressMode) }

// EgressAudited reports whether the list of the endpoint's container is watched only, be it its own
// or the network's. It says nothing of whether there is one (EgressListed).
func EgressAudited(n Network, e Endpoint) bool {
	return cmp.Or(e.EgressModeInForce(), n.EgressModeInForce()) == EgressAudit
}

// EgressEnforced reports whether the endpoint's container is kept from beginning some connections.
func EgressEnforced(n Network, e Endpoint) bool { return EgressListed(n, e) && !EgressAudited(n, e) }

// The letters of modes in the alias of an endpoint, which has no hexadecimal digits there, and of
// that of a network or endpoint among the network's letters, where nothing means EgressEnforce.
const (
	letterAudit   = "y"
	letterEnforce = "z"
	letterAudited = "a"
)

// egressLetter is the endpoint's mode as an alias has it; "": it says none.
func (e Endpoint) egressLetter() string {
	switch e.EgressModeInForce() {
	case EgressAudit:
		return letterAudit
	case EgressEnforce:
		return letterEnforce
	}
	return ""
}
