package parity

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mybr/mybr/integration/world"
)

// engines is every engine that there are columns for, the newest first: what it says
// is the measure for mybr on engines that don't offer a scenario themselves.
func engines() []string { return []string{"28.5", "26.1", "20.10"} }

// scenario is one row of the comparison.
type scenario struct {
	name    string        // GROUP/WHAT: also what to give to go test -run
	feature string        // the heading in docs/parity.md
	since   string        // the first engine whose built-in driver offers it; "": all
	needs   string        // the first engine that can play it at all; "": all
	full    bool          // a run with -short leaves it out: what it shows, a shorter one shows too
	world   *world.Config // a world of its own; nil: the shared ones
	play    func(*stage)
	differs []difference
}

// difference is one that is known, on those engines, and why there is one.
type difference struct {
	engines string // with blanks between; "": all
	key     string // of the fact; * stands for any characters
	want    string // mybr's exact value; absent: mybr doesn't have the fact
	why     string
}

// general is the differences that may occur in any scenario. They are about what is
// seen in passing; a scenario that is about it says it itself.
func general() []difference {
	return []difference{
		{engines: "20.10 26.1", key: "inside *: * MAC*", want: "random",
			why: "mybr chooses MAC addresses at random on every engine, as the built-in driver does from 28.0 on: " +
				"who takes over an IP address is not taken for the container that had it"},
	}
}

// absent is the value of a fact that only the other driver has.
const absent = "absent"

func (d difference) on(engine string) bool {
	return d.engines == "" || slices.Contains(strings.Fields(d.engines), engine)
}

// explains tells whether the difference is about a fact, of which mybr's value is have.
func (d difference) explains(key, have string) bool { return glob(d.key, key) && d.want == have }

// glob compares a text with a pattern in which * stands for any characters.
func glob(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	for ok && len(s) > 0 && !glob(rest, s) {
		s = s[1:]
	}
	return ok && glob(rest, s)
}

// offered tells whether the built-in driver of an engine has what the scenario is about.
func (sc scenario) offered(engine string) bool { return !older(engine, sc.since) }

// played tells whether the scenario can be played on an engine.
func (sc scenario) played(engine string) bool { return !older(engine, sc.needs) }

// older compares two versions such as 20.10 and 28.5. None is older than "".
func older(engine, than string) bool {
	number := func(s string) (n int) {
		major, minor, _ := strings.Cut(s, ".")
		for _, part := range []string{major, minor} {
			i, err := strconv.Atoi(part)
			if err != nil {
				panic(fmt.Sprintf("version %q: %v", s, err))
			}
			n = n*1000 + i
		}
		return n
	}
	return than != "" && number(engine) < number(than)
}
