package iptables

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
				"Docker has put DOCKER-USER behind rules that accept what its containers send to mybr's.", first}}
		}
	}
	return nil
}
