package iptables

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
)

// jump is a rule in a chain that mybr doesn't own.
type jump struct {
	table, chain string
	text         string // as iptables-save(8) prints it behind "-A CHAIN "
	why          string
	// place says before which of the chain's other rules, counted from 0, the jump is
	// put in, and whether one that is there but elsewhere must be moved.
	place func(others []string) (at int, strict bool)
	end   bool // it stays behind other jumps of mybr's too
}

// jumps are those that a policy needs.
func (fam family) jumps(p firewall.Policy) []jump {
	local := "-m addrtype --dst-type LOCAL -j " + chainPorts
	var end []jump
	if fam.shut(p) {
		end = []jump{{"filter", "FORWARD", "-j " + chainClosed, "Behind every rule of anybody's.", behindAll, true}}
	}
	if len(p.Networks) == 0 {
		return end
	}
	all := []jump{
		{"filter", dockerUser, "-j " + chainIsolate,
			"Behind the administrator's rules and before everything of Docker's: Docker itself would accept what its own containers send to mybr's.", behindAdministrator, false},
		{"filter", "FORWARD", "-j " + chainForward,
			"Behind Docker's jumps to DOCKER-USER and to its isolation, and before any later DROP.", behindDocker, false},
		{"nat", "PREROUTING", local,
			"What is sent to an address of the host may be meant for a published port.", last, false},
		{"nat", "OUTPUT", "! -d " + fam.loopback.String() + " " + local,
			"So may what the host sends to itself, but for its loopback addresses, where the process listens.", last, false},
		{"nat", "POSTROUTING", "-j " + chainPostrouting,
			"What leaves a network, or comes back to it through a published port, may need an address of the host.", first, false},
	}
	if slices.ContainsFunc(p.Networks, fam.aloof) {
		all = append(all, jump{"filter", dockerStage2, strings.TrimSpace(uninvited) + " -j " + chainUnprotected,
			"Here goes what leaves one of Docker's bridges for another interface: unprotected networks are closed to it, as Docker's own are.", first, false})
	}
	return append(all, end...)
}

// behindDocker: directly behind the last jump that Docker puts on top of FORWARD at
// each of its starts. Docker's rules for single bridges come later; among them are
// those that accept what its containers send anywhere. Docker from 28.0 has them in
// DOCKER-FORWARD: where DOCKER-USER, and what mybr drops there, has not been before
// that, mybr's own chain must.
func behindDocker(others []string) (at int, strict bool) {
	user := false
	for i, r := range others {
		target, ok := unconditional(r)
		if !ok || !strings.HasPrefix(target, dockerPrefix+"-") {
			continue
		}
		if user = user || target == dockerUser; target == dockerForward && !user {
			return i, true
		}
		at, strict = i+1, true
	}
	return at, strict
}

// behindAdministrator: behind every rule that has an effect. What follows an
// unconditional RETURN, which Docker up to 27 keeps at the end, has none.
func behindAdministrator(others []string) (at int, strict bool) {
	for i, r := range others {
		if jumpsTo(r, "RETURN") {
			return i, true
		}
	}
	return len(others), true
}

// behindAll: behind whatever rules there are when they are looked at.
func behindAll(others []string) (at int, strict bool) { return len(others), true }

// In the nat table a jump is left where it is: what stands before it is the
// administrator's, and Docker's rules are about Docker's own subnets and ports.

func last(others []string) (at int, strict bool) { return len(others), false }

func first([]string) (at int, strict bool) { return 0, false }

// unconditional returns the target of a rule that matches every packet.
func unconditional(rule string) (target string, ok bool) {
	m := regexp.MustCompile(`^(?:-m comment --comment (?:"(?:[^"\\]|\\.)*"|\S+) )?-[jg] (\S+)$`).FindStringSubmatch(rule)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// jumpsTo reports whether a rule leads every packet into the chain.
func jumpsTo(rule, chain string) bool {
	target, ok := unconditional(rule)
	return ok && target == chain
}

// ownTarget reports whether a rule leads into a chain of mybr's.
func ownTarget(rule string) bool {
	f := strings.Fields(rule)
	return len(f) >= 2 && (f[len(f)-2] == "-j" || f[len(f)-2] == "-g") && strings.HasPrefix(f[len(f)-1], ownPrefix)
}

// edit is what it takes to have one jump in a chain, once and in its place.
type edit struct {
	table, chain string
	text         string   // "": nothing is to be put in
	at           int      // where to put it in, counted from 1, once gone is gone; 0: at the end
	gone         []string // rules to delete first
}

// where is the place in words.
func (e edit) where(word string) string {
	if e.at == 0 {
		return word + "the end"
	}
	return word + strconv.Itoa(e.at)
}

// to names the chain that the jump leads to.
func (e edit) to() string {
	if e.text == "" {
		return target(e.gone[0])
	}
	return target(e.text)
}

// to names the chain that the jump leads to.
func (j jump) to() string { return target(j.text) }

// target is the last word of a jump.
func target(rule string) string { return rule[strings.LastIndexByte(rule, ' ')+1:] }

// edits returns, for every chain that mybr doesn't own, what must change in it so that
// of all rules that lead into mybr's chains only the wanted jumps remain.
func (s saved) edits(want []jump) []edit {
	var out []edit
	for _, t := range s.tables {
		for _, c := range t.chains {
			if strings.HasPrefix(c.name, ownPrefix) {
				continue
			}
			wanted := slices.DeleteFunc(slices.Clone(want), func(j jump) bool { return j.table != t.name || j.chain != c.name })
			var stray []string // that lead where no wanted jump does
			for _, r := range c.rules {
				if ownTarget(r) && !slices.ContainsFunc(wanted, func(j jump) bool { return j.to() == target(r) }) {
					stray = append(stray, r)
				}
			}
			if len(stray) > 0 {
				out = append(out, edit{table: t.name, chain: c.name, gone: stray})
			}
			for _, j := range wanted {
				if e, needed := c.edit(j); needed {
					out = append(out, e)
				}
			}
		}
	}
	return out
}

// edit returns what must change in a chain so that a wanted jump is there once, and in
// its place among the rules of others.
func (c savedChain) edit(j jump) (e edit, needed bool) {
	var others, mine []string
	before := 0 // others before the first of mine
	for _, r := range c.rules {
		switch {
		case !ownTarget(r):
			others = append(others, r)
		case target(r) == j.to():
			if mine = append(mine, r); len(mine) == 1 {
				before = len(others)
			}
		}
	}
	at, strict := j.place(others)
	if len(mine) == 1 && mine[0] == j.text && (before == at || !strict) {
		return e, false
	}
	e = edit{table: j.table, chain: c.name, text: j.text, at: at + 1, gone: mine}
	if j.end {
		e.at = 0
	}
	return e, true
}
