package hostport

import (
	"context"
	"errors"

	"github.com/mybr/mybr/internal/plan"
)

// steps collects changes into one step for each link, in the order of their first ones.
type steps struct {
	links   []string
	changes map[string][]change
	done    func() // behind the changes of each link
}

type change struct {
	text string
	do   func() error
}

func (s *steps) add(link, text string, do func() error) {
	if s.changes == nil {
		s.changes = map[string][]change{}
	}
	if s.changes[link] == nil {
		s.links = append(s.links, link)
	}
	s.changes[link] = append(s.changes[link], change{"host ports: " + text, do})
}

// plan returns the steps. One change that fails does not keep the others of its link from
// being made.
func (s *steps) plan() (p plan.Plan) {
	for _, link := range s.links {
		step := plan.Step{Kind: "host ports", Subject: link, Do: func(ctx context.Context) error {
			var errs []error
			defer s.done()
			for _, c := range s.changes[link] {
				if err := context.Cause(ctx); err != nil {
					return errors.Join(append(errs, err)...)
				}
				errs = append(errs, c.do())
			}
			return errors.Join(errs...)
		}}
		for _, c := range s.changes[link] {
			step.Changes = append(step.Changes, c.text)
		}
		p = append(p, step)
	}
	return p
}
