package iptables

import (
	"regexp"
	"slices"
)

// This file is about what Docker 20.10 does not put where mybr would find it.

// misplaced is the jump that is needed where none to DOCKER-USER comes before rules that
// let everything out of Docker's bridges. Docker 20.10 leaves it behind them when
// firewalld has reloaded, and has none for IPv6. It puts only the jump to its isolation in
// front, in IPv6 with the first network that it makes.
func (s saved) misplaced() []jump {
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
	return []jump{{"filter", dockerStage1, "-j " + chainIsolate,
		"No jump to DOCKER-USER comes before rules of Docker's that accept what its containers send to mybr's.", first, false}}
}

// forgotten lists Docker's bridges whose isolation Docker has not put back: containers
// are led to by FORWARD, but what comes from other networks isn't dropped.
func (s saved) forgotten() (bridges []string) {
	forward, _ := s.chain("filter", "FORWARD")
	drops, _ := s.chain("filter", dockerStage2)
	for _, r := range forward {
		m := regexp.MustCompile(`^-o (\S+) -j DOCKER$`).FindStringSubmatch(r)
		if m != nil && !slices.Contains(drops, "-o "+m[1]+" -j DROP") {
			bridges = append(bridges, m[1])
		}
	}
	return bridges
}
