package doctor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/view"
)

func forwardingChecks() []Check {
	return []Check{
		{Name: "ip-forward", look: func(l *look) { l.lookForwarding("net/ipv4/ip_forward", false) },
			Sees:  "`net.ipv4.ip_forward`, where containers need it",
			Means: "Nothing gets out of the networks by IPv4, and published ports answer the host alone.",
			Mends: "turns it on"},
		{Name: "ipv6-forward", look: func(l *look) { l.lookForwarding("net/ipv6/conf/all/forwarding", true) },
			Sees:  "`net.ipv6.conf.all.forwarding`, where containers need it",
			Means: "Nothing gets out of the networks by IPv6, and published ports answer the host alone.",
			Mends: "turns it on"},
	}
}

// lookForwarding looks at a setting that networks with containers need.
func (l *look) lookForwarding(setting string, ipv6 bool) {
	nets, err := l.networks()
	if err != nil {
		l.unknown(err)
		return
	}
	var need []string
	for _, n := range nets {
		if _, has := subnet(n, ipv6); has && !n.Internal && n.Endpoints > 0 {
			need = append(need, n.Bridge)
		}
	}
	value, ok, err := l.setting(setting)
	switch {
	case err != nil:
		l.unknown(err)
	case len(need) == 0:
		l.saw("no network has containers that need it")
	case !ok:
		l.found(Unknown, nil, "the kernel has no %s", dotted(setting))
	case value == "0":
		l.found(Fault, set(setting, "1"), "%s is 0, and containers on %s need it", dotted(setting), some(need, 3))
	default:
		l.saw("%s is %s", dotted(setting), value)
	}
}

func filterChecks() []Check {
	return []Check{
		{Name: "forward-chain", look: lookForward,
			Sees:  "which rule, if any, drops what containers send, or what is sent to their published ports: `FORWARD` and all that it leads to, in both variants of iptables, save `DOCKER-USER`",
			Means: "The rules of mybr accept these packets, but another rule or policy comes first.",
			Mends: "deletes the rule that drops, or sets the policy to ACCEPT"},
		{Name: "docker-user", look: lookDockerUser,
			Sees:  "the same for rules in `DOCKER-USER`, which is the administrator's",
			Means: "A rule of the administrator's shuts the networks out. Rules that drop a part only, or only what none before them lets pass, are noted, as they may be there for that; whether a part is a published port, published-ports tells.",
			Mends: "deletes the rule"},
		{Name: "nft-chains", look: lookNative,
			Sees:  "the same for tables that were made with nft alone; firewalld's are looked at by another check",
			Means: "What iptables accepts, another table can still drop: a verdict to accept holds for one table only (nft(8)).",
			Mends: "deletes the rule, or has the chain's policy accept"},
		{Name: "input-chain", look: lookInput,
			Sees:  "whether a rule drops what comes to ports that mybr itself relays, as from IPv6 clients to containers with IPv4 alone: `INPUT` and all that it leads to",
			Means: "These ports don't answer other hosts. Ports that NAT translates don't pass `INPUT`.",
			Mends: "lets the port in, with ufw where that is active"},
		{Name: "iptables-variants", look: lookVariants,
			Sees:  "whether both variants of iptables, nft and legacy, hold rules",
			Means: "Packets pass both. Each command shows its own variant's rules only, so that a rule that drops is not seen.",
			Mends: "saves the rules of the variant that mybr does not use to a file in /root, and removes them"},
		{Name: "ufw", look: lookUFW,
			Sees:  "whether ufw is active and drops what containers send to the host itself",
			Means: "Containers reach nothing that runs on the host, such as a name server or a port that mybr relays. Published ports are not filtered by ufw, save with mybr.publish.policy=host: use DOCKER-USER.",
			Mends: "has ufw let in what comes from the bridge"},
		{Name: "firewalld", look: lookFirewalld,
			Sees:  "in which of firewalld's zones the bridges are",
			Means: "firewalld rejects what its zones don't let through, whatever iptables accepts; the zone `docker` accepts everything.",
			Mends: "moves the bridge to the zone `docker`"},
	}
}

// filters are the tables "filter" of both variants and families, as far as they are in use.
func (l *look) filters() ([]*ruleset, error) {
	return l.tables.get(func() (sets []*ruleset, err error) {
		for _, family := range []struct {
			command, inUse string
			ipv6           bool
		}{{"iptables", "ip_tables_names", false}, {"ip6tables", "ip6_tables_names", true}} {
			for _, legacy := range []bool{false, true} {
				name := family.command + map[bool]string{false: "-nft", true: "-legacy"}[legacy]
				if legacy && !l.hasLegacy(family.inUse) {
					continue
				}
				text, err := l.Run(l.ctx, name+"-save")
				if errors.Is(err, exec.ErrNotFound) {
					continue
				}
				if err != nil {
					return nil, err
				}
				set, rules := parseSaved(text)
				set.by, set.legacy, set.ipv6, set.rules = name, legacy, family.ipv6, rules
				sets = append(sets, set)
			}
		}
		if len(sets) == 0 {
			return nil, errors.New("neither iptables-nft-save nor iptables-legacy-save is installed")
		}
		return sets, nil
	})
}

// hasLegacy reports whether the legacy variant has tables: to ask its command would make them
// (x_tables).
func (l *look) hasLegacy(names string) bool {
	text, err := l.read(ofThread + names)
	return err == nil && text != ""
}

// packets are what is followed for a network: what a container sends out, and what comes to a
// published port. Only new connections: what is established passes in the first place.
func (l *look) packets(n view.Network, h *host, ipv6 bool) (all []packet) {
	s, ok := subnet(n, ipv6)
	if !ok || n.Internal {
		return nil
	}
	v, err := l.records()
	closed := err == nil // nothing is published
	var ports, asked []uint16
	for _, port := range v.Ports {
		if port.Network != n.ID || port.Host.IsValid() && port.Host.Addr().IsLoopback() {
			continue
		}
		closed = false
		if port.Container.Addr().Is6() != ipv6 {
			continue
		}
		for i := range max(1, port.Count) {
			ports, asked = append(ports, port.Container.Port()+i), append(asked, port.Host.Port()+i)
		}
	}
	for _, up := range h.outside(ipv6) {
		name := strings.ReplaceAll(up, "%", "%%")
		all = append(all, packet{what: "what containers send from %s to " + name, on: netName(n), in: n.Bridge, out: up, src: s, states: []string{"NEW"}})
		if !closed {
			all = append(all, packet{what: "what comes from " + name + " to published ports on %s", on: netName(n), in: up, out: n.Bridge, dst: s,
				states: []string{"NEW", "DNAT"}, ports: ports, asked: asked})
		}
	}
	return all
}

// follow follows all packets of all networks through tables, from their chains for what is
// forwarded. Of those that drop, ours decides which the check is about.
func (l *look) follow(sets []*ruleset, base func(*ruleset) []string, ours func(dropper) bool) {
	nets, err := l.networks()
	h, err2 := l.hostFacts()
	if err := errors.Join(err, err2); err != nil {
		l.unknown(err)
		return
	}
	var drops dropped
	for _, n := range nets {
		if l.ctx.Err() != nil { // it takes its time where there are many rules
			l.unknown(fmt.Errorf("what drops packets: not all networks were looked at: %w", context.Cause(l.ctx)))
			break
		}
		for _, set := range sets {
			for _, p := range l.packets(n, h, set.ipv6) {
				for _, chain := range base(set) {
					first, part, unsure := set.drops(chain, p)
					drops.add(first, part, p, ours)
					if unsure != "" {
						l.found(Unknown, nil, "%s decides about %s by what can't be told", unsure, fmt.Sprintf(p.what, p.on))
					}
				}
			}
		}
	}
	drops.tell(l)
	if len(l.Seen) == 0 {
		l.saw("nothing drops what containers of %s send and get", count(len(nets), "network"))
	}
}

// dropped is what drops packets, each once for all networks.
type dropped []*dropping

// dropping is one rule or policy, and what it drops.
type dropping struct {
	verdict Verdict
	text    string // "RULE drops WHAT ON", the last with a place for the networks
	on      []string
	mend    []string
}

// add adds what drops a packet. Rules that drop a part only, or save what others let pass, may be
// there for that: they get no command. If the part is a published port, the check of those says so.
func (d *dropped) add(first *dropper, part []dropper, p packet, ours func(dropper) bool) {
	one := func(v Verdict, by dropper, text string, mend []string) {
		text = strings.ReplaceAll(by.where(), "%", "%%") + text
		i := slices.IndexFunc(*d, func(o *dropping) bool { return o.verdict == v && o.text == text })
		if i < 0 {
			i = len(*d)
			*d = append(*d, &dropping{verdict: v, text: text, mend: mend})
		}
		if !slices.Contains((*d)[i].on, p.on) {
			(*d)[i].on = append((*d)[i].on, p.on)
		}
	}
	switch {
	case first == nil || !ours(*first):
	case first.allowed:
		one(Note, *first, " drops "+p.what+", save what a rule before it lets pass", nil)
	default:
		one(Fault, *first, " drops "+p.what, first.remedy())
	}
	for _, by := range part {
		if ours(by) {
			one(Note, by, " drops a part of "+p.what, nil)
		}
	}
}

func (d dropped) tell(l *look) {
	for _, one := range d {
		l.found(one.verdict, one.mend, one.text, some(one.on, 5))
	}
}

func forwardHook(*ruleset) []string { return []string{"FORWARD"} }

func ownChain(name string) bool { return strings.HasPrefix(name, "MYBR-") }

func lookForward(l *look) {
	sets, err := l.filters()
	if err != nil {
		l.unknown(err)
		return
	}
	l.follow(sets, forwardHook, func(d dropper) bool { return !slices.Contains(d.through, "DOCKER-USER") && !ownChain(d.chain.name) })
}

func lookDockerUser(l *look) {
	sets, err := l.filters()
	if err != nil {
		l.unknown(err)
		return
	}
	l.follow(sets, forwardHook, func(d dropper) bool { return slices.Contains(d.through, "DOCKER-USER") && !ownChain(d.chain.name) })
}

func lookNative(l *look) {
	sets, err := l.natives()
	if errors.Is(err, exec.ErrNotFound) {
		l.found(Unknown, command("apt-get", "install", "-y", "nftables"), "nft is not installed")
		return
	}
	if err != nil {
		l.unknown(err)
		return
	}
	l.follow(sets, func(r *ruleset) (names []string) {
		for _, c := range r.chains {
			if c.hook == "forward" {
				names = append(names, c.name)
			}
		}
		return names
	}, func(dropper) bool { return true })
}
