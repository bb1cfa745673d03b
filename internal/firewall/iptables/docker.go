package iptables

import (
	"fmt"
	"slices"
	"strings"
)

// This file is about what is read of Docker's rules.

// observed reads from Docker's rules what rendering needs to know. defaults' bridges are
// those that Docker has rules for in the other family.
func (s saved) observed(d defaults) facts {
	_, one := s.chain("filter", dockerStage1)
	_, two := s.chain("filter", dockerStage2)
	_, user := s.chain("filter", dockerUser)
	f := facts{user: user, stages: one && two, stage1Jumps: len(s.missingJumps()) > 0, unisolated: s.unisolated()}
	if !f.stages {
		f.bridges = append(s.dockerBridges(), strings.Fields(d.bridges)...)
		slices.Sort(f.bridges)
		f.bridges = slices.Compact(f.bridges)
	}
	return f
}

// dockerBridges lists the bridges of Docker's from which something may be forwarded: a rule
// in FORWARD (Docker up to 27) or DOCKER-BRIDGE (from 28) leads what goes out to them to
// the chain DOCKER.
func (s saved) dockerBridges() []string { return s.bridgesIn("FORWARD", dockerForward, dockerBridge) }

// bridgesIn are those that rules of some chains name.
func (s saved) bridgesIn(chains ...string) (bridges []string) {
	for _, name := range chains {
		rules, _ := s.chain("filter", name)
		for _, r := range rules {
			if bridge, ok := toDocker(r); ok {
				bridges = append(bridges, bridge)
			}
		}
	}
	return bridges
}

// toDocker returns the bridge of a rule that leads what goes out to it to the chain DOCKER.
func toDocker(rule string) (bridge string, ok bool) {
	f := strings.Fields(rule)
	if len(f) != 4 || f[0] != "-o" || f[2] != "-j" || f[3] != "DOCKER" {
		return "", false
	}
	return f[1], true
}

// missingJumps is the jump that is needed where none to DOCKER-USER comes before rules
// that let everything out of Docker's bridges. Docker 20.10 leaves it behind them when
// firewalld has reloaded, and has none for IPv6. It puts only the jump to its isolation in
// front, in IPv6 with the first network that it makes.
func (s saved) missingJumps() []jump {
	if _, there := s.chain("filter", dockerStage1); !there {
		return nil
	}
	forward, _ := s.chain("filter", "FORWARD")
	for _, r := range forward {
		if jumpsTo(r, dockerUser) || jumpsTo(r, dockerForward) {
			return nil
		}
		if jumpsTo(r, dockerStage1) {
			break
		}
	}
	return []jump{stage1Jump()}
}

func stage1Jump() jump {
	return jump{"filter", dockerStage1, "-j " + chainIsolate,
		"No jump to DOCKER-USER comes before rules of Docker's that accept what its containers send to mybr's.", first, false}
}

// forDocker reports whether it hangs on Docker's rules whether the jump is wanted.
func (j jump) forDocker() bool { return j.table == "filter" && j.chain == dockerStage1 }

// unisolated lists Docker's bridges whose isolation Docker 20.10 has not put back after
// firewalld has reloaded: FORWARD leads to their containers, but what comes from other
// networks isn't dropped.
func (s saved) unisolated() (bridges []string) {
	forward, _ := s.chain("filter", "FORWARD")
	drops, _ := s.chain("filter", dockerStage2)
	for _, r := range forward {
		if bridge, ok := toDocker(r); ok && !slices.Contains(drops, "-o "+bridge+" -j DROP") {
			bridges = append(bridges, bridge)
		}
	}
	return bridges
}

// dockerReady reports that Docker has jumped to all of its chains that matter here. An
// administrator may have made DOCKER-USER beforehand, so that alone says nothing. Where
// Docker is ready in the other family, it has no chains here if there are none yet, and
// Docker 20.10 has no DOCKER-USER for IPv6.
func (s saved) dockerReady(d defaults) bool {
	if d.dockerReady && !s.has(dockerPrefix) {
		return true
	}
	forward, _ := s.chain("filter", "FORWARD")
	has := func(name string) bool {
		return slices.ContainsFunc(forward, func(r string) bool { return jumpsTo(r, name) })
	}
	return (has(dockerUser) || d.dockerReady) && (has(dockerStage1) || has(dockerForward))
}

// leads are the chains that name Docker's bridges, as far as FORWARD leads to them.
func (s saved) leads() []string {
	all := []string{"FORWARD"}
	for _, next := range []string{dockerForward, dockerBridge} {
		rules, _ := s.chain("filter", all[len(all)-1])
		if !slices.ContainsFunc(rules, func(r string) bool { return jumpsTo(r, next) }) {
			break
		}
		all = append(all, next)
	}
	return all
}

// describeDocker lists Docker's unconditional jumps in FORWARD, and its bridges that something
// from there leads to, of all variants: it changes when Docker starts, moves to another variant,
// or makes a bridge. It hangs on the chains that leads names alone.
func describeDocker(all []found) string {
	var out strings.Builder
	for _, f := range all {
		fmt.Fprintf(&out, "%s:", f.variant)
		forward, _ := f.chain("filter", "FORWARD")
		for _, r := range forward {
			if target, ok := unconditional(r); ok && strings.HasPrefix(target, dockerPrefix) {
				fmt.Fprintf(&out, " %s", target)
			}
		}
		fmt.Fprintf(&out, " %s\n", f.bridgesIn(f.leads()...))
	}
	return out.String()
}
