package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/shell"
)

// mend is a command that is run in a namespace.
func (s *Space) mend(words ...string) []string {
	if s.Path != "" {
		words = append([]string{"nsenter", "--net=" + s.Path}, words...)
	}
	return []string{shell.Command(words...)}
}

// set is the command that gives a setting below /proc/sys/net another value.
func (s *Space) set(setting, value string) []string {
	return s.mend("sysctl", "-w", sysctlName(setting)+"="+value)
}

// sysctlName is a setting as sysctl(8) takes it: with dots, unless a name in it has one.
func sysctlName(setting string) string {
	setting = "net/" + setting
	if strings.Contains(setting, ".") {
		return setting
	}
	return strings.ReplaceAll(setting, "/", ".")
}

// ip is a command of ip(8) for a family.
func (s *Space) ip(six bool, words ...string) []string {
	if six {
		return s.mend(append([]string{"ip", "-6"}, words...)...)
	}
	return s.mend(append([]string{"ip"}, words...)...)
}

// down is for a link that is down.
func (s *Space) down(l *Link) outcome {
	o := dead("%s of %s is down", l.Name, s.Name)
	o.mend = s.ip(false, "link", "set", l.Name, "up")
	return o
}

// without6 is for a link that has IPv6 turned off.
func (s *Space) without6(l *Link) outcome {
	setting := "ipv6/conf/" + l.Name + "/disable_ipv6"
	o := dead("%s of %s has no IPv6: %s is 1", l.Name, s.Name, sysctlName(setting))
	o.mend = s.set(setting, "0")
	return o
}

// unforwarded is for what comes in by a link that forwards nothing.
func (s *Space) unforwarded(l *Link, p *Packet) outcome {
	setting := "ipv6/conf/all/forwarding"
	switch {
	case p.six():
	case s.on("ipv4/conf/all/forwarding"):
		setting = "ipv4/conf/" + l.Name + "/forwarding"
	default:
		setting = "ipv4/ip_forward"
	}
	o := dead("%s does not forward it: %s is 0", s.Name, sysctlName(setting))
	o.mend = s.set(setting, "1")
	return o
}

// refusedBy is for a route, or a rule of ip-rule(8), that has a packet go nowhere.
func (s *Space) refusedBy(r Route, p *Packet) *outcome {
	o := &outcome{verdict: NoRoute}
	if r.Kind == Blackhole {
		o.verdict = Dropped
	}
	if !r.Dst.IsValid() {
		o.reason = fmt.Sprintf("%s has a rule that says %s: %s add %s", s.Name, r.Kind, r.by.command(), r.by.text())
		o.mend = s.ip(p.six(), append([]string{"rule", "del"}, strings.Fields(r.by.text())...)...)
		return o
	}
	o.reason = fmt.Sprintf("%s has a route to %s that says %s: %s", s.Name, p.Dst, r.Kind, r.text(s))
	o.mend = s.ip(p.six(), append([]string{"route", "del"}, strings.Fields(r.text(s))...)...)
	if r.Table != tableMain && r.by != nil {
		o.reason += ", which " + r.by.command() + " " + r.by.text() + " leads to"
	}
	return o
}

// led is the route, behind a colon.
func (r Route) led(s *Space) string {
	if !r.Dst.IsValid() {
		return ""
	}
	return ": " + r.text(s)
}

// withoutRule is the command that deletes a rule which has stopped a packet, if it is the
// administrator's: mybr's rules, Docker's and those of firewalls have their reasons.
func (w *World) withoutRule(r *RuleAt, steps []Step) []string {
	own := []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "DOCKER-USER"}
	if r == nil || r.Why != "" || !strings.Contains(r.Command, "tables") || !slices.Contains(own, r.Chain) {
		return nil
	}
	i := slices.IndexFunc(steps, func(s Step) bool { return s.Rule == r })
	if i < 0 || w.space(steps[i].Space) == nil {
		return nil
	}
	words := []string{r.Command, "-t", r.Table, "-D", r.Chain, fmt.Sprint(r.Number)}
	if !strings.ContainsAny(r.Rule, `"'`) { // what iptables-save(8) quotes is not quoted for a shell
		words = append(words[:5], strings.Fields(r.Rule)...)
	}
	return w.space(steps[i].Space).mend(words...)
}
