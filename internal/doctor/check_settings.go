package doctor

import (
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/view"
)

func settingChecks() []Check {
	return []Check{
		{Name: "rp-filter", look: lookRPFilter,
			Sees:  "strict reverse path filtering (`rp_filter` 1) on the uplinks of a host with several",
			Means: "What comes in by an uplink that the answer would not leave by is dropped: published ports answer by one of them only.",
			Mends: "sets the uplinks to loose filtering (2, which counts before 1: ip-sysctl)"},
		{Name: "accept-local", look: func(l *look) { l.lookConf("accept_local", "takes packets whose source is an address of the host") },
			Sees:  "`accept_local` of all links and of the bridges",
			Means: "Containers can send packets that look as if they came from the host.",
			Mends: "turns it off; mybr does not need it"},
		{Name: "route-localnet", look: func(l *look) { l.lookConf("route_localnet", "routes 127.0.0.0/8 from other hosts") },
			Sees:  "`route_localnet` of all links, of the uplinks and of the bridges",
			Means: "Other hosts and containers can reach what listens on 127.0.0.1.",
			Mends: "turns it off; mybr does not need it: 127.0.0.1 goes through the process"},
		{Name: "bridge-nf-call", look: lookBridgeNF,
			Sees:  "where br_netfilter has iptables see what stays on a bridge: whether a rule drops it",
			Means: "Containers of the same network can't reach each other.",
			Mends: "has iptables no longer see it; with icc=false mybr isolates without it"},
		{Name: "ipv6-off", look: lookIPv6Off,
			Sees:  "`disable_ipv6` of the bridges of networks with IPv6",
			Means: "The bridge has no IPv6 address: containers have no gateway.",
			Mends: "turns IPv6 on for the bridge"},
		{Name: "accept-ra", look: lookAcceptRA,
			Sees:  "`accept_ra` of uplinks that have their IPv6 address from a router, on a host that forwards",
			Means: "A link that forwards ignores router advertisements where it is 1 (ip-sysctl): the host loses its IPv6 address and route when they run out.",
			Mends: "sets it to 2, with which they are taken although the host forwards"},
		{Name: "conntrack-loose", look: lookLoose,
			Sees:  "`nf_conntrack_tcp_loose`",
			Means: "Connections whose tracking entry is lost, as by `conntrack -F`, are not picked up again, but dropped.",
			Mends: "turns it on, which is the kernel's default"},
	}
}

func lookRPFilter(l *look) {
	h, err := l.hostFacts()
	if err != nil {
		l.unknown(err)
		return
	}
	uplinks := h.uplinks(false)
	if len(uplinks) < 2 {
		l.saw("the host has %s", count(len(uplinks), "uplink"))
		return
	}
	for _, up := range uplinks {
		// The greater one of the two counts (ip-sysctl).
		most := 0
		for _, of := range []string{"all", up} {
			value, _, err := l.setting("net/ipv4/conf/" + of + "/rp_filter")
			if err != nil {
				l.unknown(err)
				return
			}
			n, _ := strconv.Atoi(value) // none: 0
			most = max(most, n)
		}
		if most == 1 {
			l.found(Warning, set("net/ipv4/conf/"+up+"/rp_filter", "2"), "%s filters strictly, and the default routes leave by %s", up, strings.Join(uplinks, " and "))
		}
	}
	if len(l.Seen) == 0 {
		l.saw("%s filter loosely or not at all", strings.Join(uplinks, " and "))
	}
}

// lookConf looks at an IPv4 setting that should be off.
func (l *look) lookConf(name, does string) {
	nets, err := l.networks()
	h, err2 := l.hostFacts()
	if err != nil || err2 != nil {
		l.found(Unknown, nil, "%v", firstOf(err, err2))
		return
	}
	links := append([]string{"all"}, h.outside(false)...)
	for _, n := range nets {
		links = append(links, n.Bridge)
	}
	for _, link := range links {
		path := "net/ipv4/conf/" + link + "/" + name
		value, ok, err := l.setting(path)
		switch {
		case err != nil:
			l.unknown(err)
		case ok && value != "0":
			l.found(Warning, set(path, "0"), "%s is %s: the host %s", dotted(path), value, does)
		}
	}
	if len(l.Seen) == 0 {
		l.saw("%s is 0 on %s", name, count(len(links)-1, "link"))
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func lookBridgeNF(l *look) {
	sets, err := l.filters()
	nets, err2 := l.networks()
	if err := firstOf(err, err2); err != nil {
		l.unknown(err)
		return
	}
	seen := false
	for _, set := range sets {
		setting := "net/bridge/bridge-nf-call-iptables"
		if set.ipv6 {
			setting = "net/bridge/bridge-nf-call-ip6tables"
		}
		value, ok, err := l.setting(setting)
		if err != nil {
			l.unknown(err)
		}
		if !ok || value == "0" {
			continue
		}
		seen = true
		for _, n := range nets {
			l.within(n, set, setting)
		}
	}
	switch {
	case len(l.Seen) > 0:
	case seen:
		l.saw("iptables sees what stays on a bridge, and drops none of it")
	default:
		l.saw("iptables does not see what stays on a bridge")
	}
}

// within looks for what drops packets between containers of a network.
func (l *look) within(n view.Network, set *ruleset, setting string) {
	s, ok := subnet(n, set.ipv6)
	if !ok || !n.ICC {
		return
	}
	p := packet{what: "what containers on " + n.Bridge + " send each other", in: n.Bridge, out: n.Bridge, src: s, dst: s, states: []string{"NEW"}}
	first, _, _ := set.drops("FORWARD", p)
	if first == nil || first.allowed {
		return
	}
	if names := l.sayingSo(first.remedy()); len(names) > 0 {
		l.found(Note, nil, "%s drops %s, too: that goes with %s", first.where(), p.what, strings.Join(names, " and "))
		return
	}
	l.found(Fault, setTo(setting), "%s is 1, and %s drops %s", dotted(setting), first.where(), p.what)
}

func setTo(setting string) []string { return set(setting, "0") }

func lookIPv6Off(l *look) {
	nets, err := l.networks()
	if err != nil {
		l.unknown(err)
		return
	}
	with := 0
	for _, n := range nets {
		if _, has := subnet(n, true); !has {
			continue
		}
		with++
		path := "net/ipv6/conf/" + n.Bridge + "/disable_ipv6"
		value, ok, err := l.setting(path)
		switch {
		case err != nil:
			l.unknown(err)
		case ok && value == "1":
			l.found(Fault, set(path, "0"), "%s is 1, and the network on %s has IPv6", dotted(path), n.Bridge)
		case !ok:
			l.found(Unknown, nil, "the kernel has no %s: IPv6 is off, or the bridge is missing", dotted(path))
		}
	}
	if len(l.Seen) == 0 {
		l.saw("%s with IPv6", count(with, "network"))
	}
}

func lookAcceptRA(l *look) {
	h, err := l.hostFacts()
	if err != nil {
		l.unknown(err)
		return
	}
	for _, link := range h.links {
		if !link.fromRA && !h.routedByRA(link.name) {
			continue
		}
		forwards, _, err := l.setting("net/ipv6/conf/" + link.name + "/forwarding")
		path := "net/ipv6/conf/" + link.name + "/accept_ra"
		value, _, err2 := l.setting(path)
		switch {
		case firstOf(err, err2) != nil:
			l.unknown(firstOf(err, err2))
		case forwards != "0" && value == "1":
			l.found(Warning, set(path, "2"), "%s has IPv6 from a router, forwards, and has accept_ra 1", link.name)
		}
	}
	if len(l.Seen) == 0 {
		l.saw("no uplink depends on router advertisements that it ignores")
	}
}

func lookLoose(l *look) {
	const path = "net/netfilter/nf_conntrack_tcp_loose"
	value, ok, err := l.setting(path)
	switch {
	case err != nil:
		l.unknown(err)
	case !ok:
		l.saw("the kernel tracks no flows")
	case value == "0":
		l.found(Note, set(path, "1"), "%s is 0", dotted(path))
	default:
		l.saw("%s is %s", dotted(path), value)
	}
}
