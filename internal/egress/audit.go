package egress

import "strings"

// auditWord begins an Allowed that is only watched.
const auditWord = "audit "

// Audited is the same list without force: everything may be begun, and what the list does not have
// is told of. Where everything is allowed there is nothing to tell.
func (a Allowed) Audited() Allowed {
	if a.All() || a.Audit() {
		return a
	}
	return auditWord + a
}

// Audit reports whether the list is watched, and nothing of it enforced.
func (a Allowed) Audit() bool { return strings.HasPrefix(string(a), auditWord) }

// Enforced reports whether something may not be begun.
func (a Allowed) Enforced() bool { return !a.All() && !a.Audit() }
