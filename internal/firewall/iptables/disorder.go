package iptables

import (
	"regexp"
	"slices"
)

// This file is about the disorder that Docker 20.10 leaves when firewalld has reloaded,
// until it is started again.

// misplaced is the jump that is needed where Docker's own to DOCKER-USER comes behind
// rules that let everything out of Docker's bridges. Docker 20.10 leaves it there when
// firewalld has reloaded, and puts only the jump to its isolation in front.
func (s saved) misplaced() []jump {
	forward, _ := s.chain("filter", "FORWARD")
	stage1 := false
	for _, r := range forward {
		switch target, _ := unconditional(r); {
		case target == dockerStage1:
			stage1 = true
		case target == dockerUser && !stage1:
			return nil
		case target == dockerUser:
			return []jump{{"filter", dockerStage1, "-j " + chainIsolate,
				"Docker has put DOCKER-USER behind rules that accept what its containers send to mybr's.", first, false}}
		}
	}
	return nil
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
