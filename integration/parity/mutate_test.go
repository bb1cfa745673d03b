package parity

import "github.com/mybr/mybr/integration/mutate"

// place finds what a mutation replaces inside a function.
type place = mutate.Place

func wholeBody() place                { return mutate.WholeBody() }
func condition(words ...string) place { return mutate.Condition(words...) }
func assigned(words ...string) place  { return mutate.Assigned(words...) }
func literal(words ...string) place   { return mutate.Literal(words...) }

// overlay writes what go build -overlay takes below dir.
func (m mutation) overlay(dir string) (path string, err error) {
	return mutate.Mistake{Package: m.pkg, Function: m.function, At: m.at, With: m.with}.Overlay(dir)
}
