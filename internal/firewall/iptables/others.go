package iptables

import (
	"bytes"
	"strings"
)

// This file is about what others do to mybr's rules.

// Own reports whether a process is a command that the backend has run, up to ownFor ago.
func (b *Backend) Own(pid int) bool { return b.ran.own(pid) }

// Matters reports whether a change that somebody has made in the nf_tables variant may
// concern mybr: it is about a chain of mybr's or a jump to one, or about a chain where the
// place of mybr's jump, or what mybr's rules say of Docker, hangs on the other rules. What
// Docker does for a published port of its own is none of it, nor are addresses that others
// let into the host or keep out, where mybr has never had a jump in INPUT. rule is the message of the
// kernel, in which the names of chains stand as they are.
func (b *Backend) Matters(table, chain string, rule []byte) bool {
	switch {
	case table != "filter" && table != "nat":
		return false
	case strings.HasPrefix(chain, ownPrefix) || bytes.Contains(rule, []byte(ownPrefix)):
		return true
	case table == "nat":
		return false
	}
	switch chain {
	case "INPUT":
		return b.input.Load()
	case "FORWARD", dockerUser, dockerForward, dockerBridge, dockerStage1, dockerStage2:
		return true
	}
	return false
}
