package churn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/mybr/mybr/integration/world"
)

// fault is something that happens to the host.
type fault struct {
	name   string
	weight int
	throw  func(*churn, *rand.Rand)
}

// faults are all of them. What ends a daemon excuses what fails meanwhile; nothing excuses
// what fails because of the others, but a network whose bridge is deleted while mybr makes it
// (lostItsBridge).
var faults = []fault{
	{"mybr is killed and started", 3, func(c *churn, _ *rand.Rand) { c.away(c.w.KillMybr, c.w.StartMybr) }},
	{"mybr is restarted", 2, func(c *churn, _ *rand.Rand) { c.away(c.w.StopMybr, c.w.StartMybr) }},
	{"mybr is restarted with the other backend of the firewall", 2, (*churn).switches},
	{"dockerd is restarted", 1, func(c *churn, _ *rand.Rand) { c.dockerAway() }},
	{"iptables -F", 3, command("iptables", "-F")},
	{"iptables -t nat -F", 3, command("iptables", "-t", "nat", "-F")},
	{"nft flush ruleset", 2, command("nft", "flush", "ruleset")},
	{"what is mybr's of IPv4's rules is flushed", 2, (*churn).flushes},
	{"ip_forward is turned off", 2, command("guest", "sysctl", "net.ipv4.ip_forward=0")},
	{"a bridge is set down", 3, toLink("bridge", "link", "set", "%s", "down")},
	{"a bridge is deleted", 2, toLink("bridge", "link", "del", "%s")},
	{"a veth is taken off its bridge", 3, toLink("veth", "link", "set", "%s", "nomaster")},
}

// choose picks one by its weight.
func choose(rnd *rand.Rand) fault {
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	n := rnd.IntN(total)
	for _, f := range faults {
		if n -= f.weight; n < 0 {
			return f
		}
	}
	return faults[0]
}

// switches has mybr use the other backend of the firewall from now on.
func (c *churn) switches(*rand.Rand) {
	next := world.NFTables
	if c.w.Backend() == next {
		next = world.IPTables
	}
	c.away(func() { c.w.StopMybr(); c.w.Firewall(next) }, c.w.StartMybr)
}

// flushes removes rules of mybr's alone, if there are any at the moment.
func (c *churn) flushes(*rand.Rand) {
	if c.w.Backend() == world.NFTables {
		c.w.Host.Try("nft", "delete", "table", "ip", "mybr")
		return
	}
	for _, chain := range []string{"MYBR-FORWARD", "MYBR-ISOLATE"} {
		c.w.Host.Try("iptables", "-F", chain)
	}
}

// command is a fault that a command on the host makes.
func command(argv ...string) func(*churn, *rand.Rand) {
	return func(c *churn, _ *rand.Rand) {
		if r := c.w.Host.Try(argv...); r.Code != 0 {
			c.t.Errorf("%s: exit code %d: %s%s", strings.Join(argv, " "), r.Code, r.Out, r.Err)
		}
	}
}

// toLink has ip do something to one of the links of a type, of mybr's or of a container. It may be
// gone by then.
func toLink(kind string, argv ...string) func(*churn, *rand.Rand) {
	return func(c *churn, rnd *rand.Rand) {
		var names []string
		for line := range strings.Lines(c.w.Host.Run("ip", "-o", "link", "show", "type", kind)) {
			_, rest, _ := strings.Cut(line, ": ")
			name, _, _ := strings.Cut(rest, ":")
			name, _, _ = strings.Cut(name, "@")
			if strings.HasPrefix(name, "br-") || strings.HasPrefix(name, "veth") {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			return
		}
		full, name := []string{"ip"}, names[rnd.IntN(len(names))]
		if slices.Contains(argv, "del") {
			c.deleted.Store(name, true) // before it is: a command may fail at once
		}
		for _, arg := range argv {
			if strings.Contains(arg, "%s") {
				arg = fmt.Sprintf(arg, name)
			}
			full = append(full, arg)
		}
		c.w.Host.Try(full...)
	}
}
