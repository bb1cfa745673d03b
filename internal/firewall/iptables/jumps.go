package iptables

import (
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
	need := fam.layout(p)
	var all []jump
	if need.networks {
		all = append(all,
			jump{"filter", dockerUser, "-j " + chainIsolate,
				"Behind the administrator's rules and before everything of Docker's: Docker itself would accept what its own containers send to mybr's.", behindAdministrator, false},
			jump{"filter", "FORWARD", "-j " + chainForward,
				"Behind Docker's jumps to DOCKER-USER and to its isolation, and before any later DROP.", behindDocker, false},
			jump{"nat", "PREROUTING", local,
				"What is sent to an address of the host may be meant for a published port.", last, false},
			jump{"nat", "OUTPUT", "! -d " + fam.loopback.String() + " " + local,
				"So may what the host sends to itself, but for its loopback addresses, where the process listens.", last, false},
			jump{"nat", "POSTROUTING", "-j " + chainPostrouting,
				"What leaves a network, or comes back to it through a published port, may need an address of the host.", first, false})
	}
	if need.names {
		all = append(all, jump{"nat", "PREROUTING", "-j " + chainLed,
			"Before published ports: what containers begin whose list has host names may have to be led to mybr's process.", first, false})
	}
	if need.input {
		all = append(all, jump{"filter", "INPUT", "-j " + chainInput,
			"Before every rule that could accept it: the host doesn't take everything from some bridges.", inFront, false})
	}
	if need.guards { // in front of the other jump, whichever came first
		all = append(all, jump{"filter", "INPUT", "-j " + chainProcess,
			"Before every rule that could accept it: only what was led there reaches the ports of mybr's process.", inFront, false})
	}
	if need.guarded {
		all = append(all, jump{"filter", dockerStage2, unsolicited[1:] + " -j " + chainUnprotected,
			"What leaves one of Docker's bridges for another interface passes here: it doesn't enter unprotected networks, as it doesn't enter Docker's own.", first, false})
	}
	if need.defaultDrop {
		all = append(all, jump{"filter", "FORWARD", "-j " + chainForwardDrop, "Behind all rules.", behindAll, true})
	}
	return all
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

// inFront: before all rules of others, always.
func inFront([]string) (at int, strict bool) { return 0, true }

// unconditional returns the target of a rule that matches every packet; it may have a
// comment.
func unconditional(rule string) (target string, ok bool) {
	if rest, found := strings.CutPrefix(rule, "-m comment --comment "); found {
		rule = behindWord(rest)
	}
	action, target, ok := strings.Cut(rule, " ")
	if !ok || action != "-j" && action != "-g" || target == "" || strings.Contains(target, " ") {
		return "", false
	}
	return target, true
}

// behindWord is what follows the first word of a rule, which is in quotes if it has
// spaces, and then has a backslash before each quote inside.
func behindWord(rule string) string {
	quoted := false
	for i := 0; i < len(rule); i++ {
		switch {
		case rule[i] == '"':
			quoted = !quoted
		case rule[i] == '\\' && quoted:
			i++
		case rule[i] == ' ' && !quoted:
			return rule[i+1:]
		}
	}
	return ""
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
	follows      bool     // only rules of others can be the reason: it is there, but in another place, or hangs on Docker's
}

// place is the place in words.
func (e edit) place() string {
	if e.at == 0 {
		return "the end"
	}
	return strconv.Itoa(e.at)
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
// of all rules that lead into mybr's chains only the wanted jumps remain. They are to be
// made in this order.
func (s saved) edits(want []jump) []edit {
	var out []edit
	for _, t := range s.tables {
		for _, c := range t.chains {
			if strings.HasPrefix(c.name, ownPrefix) {
				continue
			}
			wanted := slices.DeleteFunc(slices.Clone(want), func(j jump) bool { return j.table != t.name || j.chain != c.name })
			stray := func(r string) bool { // it leads where no wanted jump does
				return ownTarget(r) && !slices.ContainsFunc(wanted, func(j jump) bool { return j.to() == target(r) })
			}
			rules := slices.DeleteFunc(slices.Clone(c.rules), stray)
			if len(rules) < len(c.rules) {
				gone := slices.DeleteFunc(slices.Clone(c.rules), func(r string) bool { return !stray(r) })
				now := stage1Jump()
				out = append(out, edit{table: t.name, chain: c.name, gone: gone,
					follows: t.name == now.table && c.name == now.chain && slices.Equal(gone, []string{now.text})})
			}
			for _, j := range wanted {
				e, changed := j.in(rules)
				if changed != nil {
					out, rules = append(out, e), changed
				}
			}
		}
	}
	return out
}

// in returns what must change in its chain, which has these rules, so that the jump is
// there once, and in its place among the rules of others; and the rules that the chain
// then has, nil if nothing must change.
func (j jump) in(rules []string) (e edit, changed []string) {
	var others, mine []string
	before := 0 // others before the first of mine
	for _, r := range rules {
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
	placed := before == at || !strict
	if j.end {
		placed = len(rules) > 0 && rules[len(rules)-1] == j.text
	}
	if len(mine) == 1 && mine[0] == j.text && placed {
		return e, nil
	}
	rest := slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return ownTarget(r) && target(r) == j.to() })
	place := len(rest)
	if !j.end {
		place = behindOthers(rest, at)
	}
	e = edit{table: j.table, chain: j.chain, text: j.text, at: place + 1, gone: mine}
	e.follows = slices.Equal(mine, []string{j.text}) || len(mine) == 0 && j.forDocker()
	if j.end {
		e.at = 0
	}
	return e, slices.Insert(rest, place, j.text)
}

// behindOthers is the place, counted from 0, directly behind the first n rules of others:
// other jumps of mybr's may stand among them.
func behindOthers(rules []string, n int) int {
	for i, r := range rules {
		if n == 0 {
			return i
		}
		if !ownTarget(r) {
			n--
		}
	}
	return len(rules)
}
