package model

import (
	"cmp"
	"fmt"
	"strings"
)

// The policies of published ports.
const (
	// PublishOpen: mybr's rules lead clients to the container, past what the host's firewall lets
	// in (the hook INPUT), as with Docker's own bridge.
	PublishOpen = "open"
	// PublishHost: the process carries them, so that they get in if the host's firewall lets them in
	// to a service of the host at that port.
	PublishHost = "host"
)

// ParsePublishPolicy reads a policy. An error says what can't be taken, and nothing of where it
// stands.
func ParsePublishPolicy(text string) (string, error) {
	if text != PublishOpen && text != PublishHost {
		return "", fmt.Errorf("%s: want %s or %s", Quoted(text, 64), PublishOpen, PublishHost)
	}
	return text, nil
}

// PolicyInForce is the policy of the network's published ports, those of its endpoints included that
// don't say it themselves; "": as the process was started.
func (n Network) PolicyInForce() string { return cmp.Or(n.PolicySet, n.Policy) }

// PolicyInForce is the policy of the endpoint's published ports; "": as its network says.
func (e Endpoint) PolicyInForce() string { return cmp.Or(e.PolicySet, e.Policy) }

// TakesPolicy reports whether the host's firewall can decide about all published ports of the network:
// it publishes some, and nobody reaches them at the containers' own addresses.
func (n Network) TakesPolicy() bool {
	past := func(m Mode) bool { return m == ModeRouted || m == ModeNATUnprotected }
	return !n.Internal && len(n.Trusted) == 0 && !past(n.V4.Mode) && !past(n.V6.Mode)
}

// ByHost reports whether the host's firewall decides who reaches the endpoint's published ports at
// the host's addresses. byDefault says that it does where neither the endpoint nor the network says
// anything.
func (n Network) ByHost(e Endpoint, byDefault bool) bool {
	policy := cmp.Or(e.PolicyInForce(), n.PolicyInForce())
	return !n.Internal && (policy == PublishHost || policy == "" && byDefault)
}

// policyLetters are the policies in an alias: no hexadecimal digits, which a MAC has there.
var policyLetters = map[string]string{"h": PublishHost, "p": PublishOpen}

// policyLetter is a policy as an alias has it; "": it says none.
func policyLetter(policy string) string {
	for letter, of := range policyLetters {
		if of == policy {
			return letter
		}
	}
	return ""
}

// parsePolicyLetters is the policy among the letters of an alias.
func parsePolicyLetters(letters string) (policy string) {
	for letter, of := range policyLetters {
		if strings.Contains(letters, letter) {
			policy = of
		}
	}
	return policy
}
