// Package doctor looks for what keeps containers' networks from working: in mybr itself, in
// the host's settings, in the rules, links and routes of others, and in Docker. Each check
// says what it saw, and with which command that is mended.
//
// What is looked at is reached through Env, so that the same checks run in the command, which
// may ask Docker, and in the daemon, which never does.
//
// Be aware: nothing is changed, and nothing is sent to a container or another host. What the
// checks see is what is so at that moment. A rule that matches a part of the traffic is a fault
// only where published-ports finds that the part is a published port.
//
// Be aware: published-ports follows one packet for each range of ports and each uplink, as package
// explain predicts it; where a host has thousands, it says what it has left out.
//
// Be aware: a command that mends is exact, not harmless: it deletes the rule or ends the
// process that is in the way. Whoever runs it decides.
package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Version is that of the JSON form of a Report: fields are added without a word, and it grows
// when one is removed or means something else.
const Version = 1

// Verdict is what a check comes to.
type Verdict string

// The verdicts, the worst first.
const (
	Fault   Verdict = "fault"   // something does not work
	Warning Verdict = "warning" // something works badly, or will not work before long
	Unknown Verdict = "unknown" // it can't be told
	Note    Verdict = "note"    // worth knowing
	OK      Verdict = "ok"
)

// verdicts has the worst first.
var verdicts = [...]Verdict{Fault, Warning, Unknown, Note, OK}

// badness is greater the worse a verdict is.
func (v Verdict) badness() int { return len(verdicts) - slices.Index(verdicts[:], v) }

// Result is what one check has found.
type Result struct {
	Check   string   `json:"check"`
	Verdict Verdict  `json:"verdict"`
	Seen    []string `json:"seen"`            // what was seen, a sentence each; of Unknown: why it can't be told
	Means   string   `json:"means,omitempty"` // what that means, unless all is well
	Mend    []string `json:"mend,omitempty"`  // commands for a root shell, in this order
}

// Report is what all checks have found, the worst first.
type Report struct {
	Version int       `json:"version"`
	Taken   time.Time `json:"taken"`
	Results []Result  `json:"results"`
}

// Worst is the worst verdict of all.
func (r Report) Worst() Verdict {
	worst := OK
	for _, one := range r.Results {
		if one.Verdict.badness() > worst.badness() {
			worst = one.Verdict
		}
	}
	return worst
}

// Check is one thing that is looked at.
type Check struct {
	Name  string
	Sees  string // what is looked at
	Means string // what it means if that is not as it should be
	Mends string // what mends it, in words

	look func(l *look)
}

// look is one check under way.
type look struct {
	*facts
	ctx context.Context
	Result
}

// checkWithin bounds one check.
const checkWithin = 15 * time.Second

// Run runs the checks of these names, all if there are none. An unknown name is an error that
// names it.
func Run(ctx context.Context, env Env, names ...string) (Report, error) {
	all := Checks()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(c Check) bool { return c.Name == name }) {
			return Report{}, fmt.Errorf("unknown check %q: want one of %s", name, strings.Join(Names(), ", "))
		}
	}
	if env.managed() && env.PluginDir+"/" == pluginRoot {
		env.PluginDir = filepath.Dir(env.RunDir) // Docker has bound its own folder there for the plugin
	}
	f := &facts{Env: env}
	report := Report{Version: Version, Taken: env.Now(), Results: []Result{}}
	for _, c := range all {
		if len(names) == 0 || slices.Contains(names, c.Name) {
			report.Results = append(report.Results, once(c.run(ctx, f), report.Results))
			f.before = report.Results
		}
	}
	slices.SortStableFunc(report.Results, func(a, b Result) int { return b.Verdict.badness() - a.Verdict.badness() })
	return report, nil
}

// once leaves out the commands of a result that are all those of one before it: run twice, they
// fail, or do more than they should.
func once(r Result, before []Result) Result {
	i := slices.IndexFunc(before, func(b Result) bool { return len(r.Mend) > 0 && slices.Equal(b.Mend, r.Mend) })
	if i >= 0 {
		r.Seen, r.Mend = append(r.Seen, "the command that "+before[i].Check+" has mends this, too"), nil
	}
	return r
}

func (c Check) run(ctx context.Context, f *facts) Result {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	l := &look{facts: f, ctx: ctx, Result: Result{Check: c.Name, Verdict: OK, Seen: []string{}}}
	c.look(l)
	if l.Verdict != OK && l.Verdict != Unknown {
		l.Result.Means = c.Means
	}
	return l.Result
}

// Names lists the names of all checks.
func Names() (names []string) {
	for _, c := range Checks() {
		names = append(names, c.Name)
	}
	return names
}

// Checks lists all checks, in the order in which a reader would think of them.
func Checks() []Check {
	return slices.Concat(processChecks(), forwardingChecks(), filterChecks(), settingChecks(), senderChecks(), networkChecks(),
		limitChecks(), stateChecks(), leftoverChecks(), versionChecks(), publishedChecks())
}

// found notes something that makes the verdict at least v.
func (l *look) found(v Verdict, mend []string, format string, args ...any) {
	if v.badness() > l.Verdict.badness() {
		l.Verdict = v
	}
	l.Seen = append(l.Seen, fmt.Sprintf(format, args...))
	for _, command := range mend {
		if !slices.Contains(l.Mend, command) {
			l.Mend = append(l.Mend, command)
		}
	}
}

// saw notes what is as it should be.
func (l *look) saw(format string, args ...any) { l.found(OK, nil, format, args...) }

// unknown notes why something can't be told.
func (l *look) unknown(err error) { l.found(Unknown, nil, "%v", err) }
