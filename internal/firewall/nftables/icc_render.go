package nftables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/icc"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/spoof"
)

// This file is about which containers of a network may begin connections to which (mybr.icc).
// The rules are in the table of senders, for they count only for who sends from its own address.
//
// A frame between two ports is looked up by the one that it comes from, which leads to the chain
// of the sender's class, and there by the one that it goes to, which leads to the chain of what
// the one class may begin to the other. So what a frame costs depends on the rules between its own
// two groups alone. What comes from ports of networks without a list leaves the chain after one
// lookup, and where there is no list at all there is no chain.
//
// There is no connection tracking: few kernels have it for bridges (CONFIG_NF_CONNTRACK_BRIDGE),
// it would track what all bridges of the host carry as soon as one rule asks for it, and the
// host's own rules about tracking would come too late. What is an answer is told by the packet,
// and of UDP, where that says nothing, by a set of who has asked whom.
const (
	iccForward    = "forward"
	iccNeighbours = "neighbours"
	refuseICC     = "refuse-neighbour"

	// The beginnings of names of chains and sets that each network has its own of.
	iccFrom  = "from-" // a chain: what comes from containers of a class
	iccMay   = "may-"  // a chain: what goes from one class to another
	iccHost  = "host-" // a chain: what comes from a network to the host
	setICCTo = "to-"   // a map: the ports that what comes from a class can go to

	// Sets of who has asked whom by UDP. One of its own keeps a container that asks too many from
	// having those of other networks forgotten.
	setICCAsked4 = "asked4-"
	setICCAsked6 = "asked6-"
)

// The sets.
const (
	setICCMembers = "members"    // a map: what comes from a port leads to the chain of its class
	setICCInside  = "inside"     // ports of networks with a list
	setICCRouted  = "routed"     // a map: what the host takes from a port
	setICCLink    = "icmp6-link" // types of ICMPv6 without which there is no IPv6 on a link
)

// Answers by UDP are let through for as long after the last packet as the kernel tracks a flow
// that has gone both ways (nf_conntrack_udp_timeout_stream in nf_conntrack-sysctl.rst, 120 s), for
// so many flows of a network and family at most. The kernel has memory for those alone that there
// are.
const (
	askedFor  = 120 * time.Second
	askedMost = 65536
)

// iccName is the name of what a network has for some classes.
func iccName(prefix, bridge string, classes ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{bridge}, classes...), "\x00")))
	return prefix + hex.EncodeToString(sum[:8])
}

// iccChains are those that are the same whatever networks have lists.
func iccChains() []chain {
	forward := chain{name: iccForward, hook: &hook{nftables.ChainTypeFilter, "forward", nftables.ChainHookForward, spoofPriority}}
	forward.add("What comes from a container of a network with a list is compared with that.", by(setICCMembers, iif()))

	all := chain{name: iccNeighbours}
	all.add("Neighbours find each other by ARP.", etherType("arp", unix.ETH_P_ARP), verdict("accept"))
	all.add("And by neighbour discovery; groups are joined and left (MLD).", protocol("ipv6-icmp", unix.IPPROTO_ICMPV6), in(setICCLink, icmp6Type()), verdict("accept"))
	all.add("The same in IPv4 (IGMP).", protocol("igmp", unix.IPPROTO_IGMP), verdict("accept"))
	all.add("Nothing else may be begun between containers of the network.", in(setICCInside, oif()), verdict("goto "+refuseICC))

	refuse := chain{name: refuseICC}
	refuse.add("What no rule of a list lets begin.", counted(), verdict("drop"))
	return []chain{forward, all, refuse}
}

// iccInput is for what the host takes: it would route to neighbours what is sent to them by its
// hardware address.
func iccInput(in *chain) {
	in.add("What comes from a network with a list is not for neighbours.", toHost(), by(setICCRouted, iif()))
}

// iccNetwork is the chains of one network.
func iccNetwork(n spoof.Network) (all []chain) {
	l, classes := n.Rules(), n.Classes()
	for _, from := range classes {
		c := chain{name: iccName(iccFrom, n.Bridge, from)}
		c.add(fmt.Sprintf("What a container of %s sends to a neighbour.", groupsText(from)), by(iccName(setICCTo, n.Bridge, from), oif()))
		c.add("Where it may neither begin nor answer anything.", verdict("goto "+iccNeighbours))
		all = append(all, c)
		for _, to := range classes {
			if begin, answer := l.Begins(from, to), l.Begins(to, from); len(begin)+len(answer) > 0 {
				all = append(all, iccPair(n.Bridge, from, to, begin, answer))
			}
		}
	}
	host := chain{name: iccName(iccHost, n.Bridge)}
	for _, a := range n.Addresses() {
		fam := familyOf(a)
		host.add("This address of the network is the host's own.", fam.etherType(), within(fam.to(), netip.PrefixFrom(a, a.BitLen())), verdict("accept"))
	}
	for _, p := range n.Prefixes() {
		fam := familyOf(p.Addr())
		host.add("The host would route it back to a neighbour, past the list.", fam.etherType(), within(fam.to(), p), verdict("goto "+refuseICC))
	}
	return append(all, host)
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4()
	}
	return ipv6()
}

func groupsText(class string) string {
	if class == "" {
		return "no group of the list"
	}
	return strings.ReplaceAll(class, ",", " and ")
}

// iccPair is what goes from containers of one class to those of another: what they may begin, and
// their answers to what the others may.
func iccPair(bridge, from, to string, begin, answer []icc.Span) chain {
	c := chain{name: iccName(iccMay, bridge, from, to)}
	for _, s := range begin {
		why := fmt.Sprintf("The list lets containers of %s begin %s to those of %s.", groupsText(from), s, groupsText(to))
		if s.Proto == 0 || s.Proto == model.UDP {
			for _, fam := range []family{ipv4(), ipv6()} {
				c.add(why+" It is noted, so that answers pass.", append(spanned(model.UDP, s, "dport"), fam.etherType(), noted(fam.asked(bridge), fam.flow()...))...)
			}
		}
		switch s.Proto {
		case 0:
			c.add(why, verdict("accept"))
		case icc.ICMP:
			c.add(why, protocol("icmp", unix.IPPROTO_ICMP), verdict("accept"))
			c.add(why, protocol("ipv6-icmp", unix.IPPROTO_ICMPV6), verdict("accept"))
		default:
			c.add(why, append(spanned(s.Proto, s, "dport"), verdict("accept"))...)
		}
	}
	for _, s := range answer {
		iccAnswers(&c, bridge, s, fmt.Sprintf("An answer to what containers of %s may begin, %s.", groupsText(to), s))
	}
	for _, e := range []struct {
		why    string
		number byte
	}{{"A destination was not reached.", 3}, {"A packet's time was over.", 11}, {"A packet's header was wrong.", 12}} {
		c.add(e.why, icmpv4(e.number), verdict("accept"))
	}
	for _, e := range []struct {
		why    string
		number byte
	}{{"A destination was not reached.", 1}, {"A packet was too large.", 2}, {"A packet's time was over.", 3}, {"A packet's header was wrong.", 4}} {
		c.add(e.why, protocol("ipv6-icmp", unix.IPPROTO_ICMPV6), icmp6Is(e.number), verdict("accept"))
	}
	c.add("A later fragment is of no use without the first, which has the ports.", laterFragment4(), verdict("accept"))
	c.add("The same in IPv6.", laterFragment6(), verdict("accept"))
	c.add("All else is none of the list's.", verdict("goto "+iccNeighbours))
	return c
}

// iccAnswers has answers to what may be begun pass. Of a protocol without such a distinction there
// are none: each direction has to be listed.
func iccAnswers(c *chain, bridge string, s icc.Span, why string) {
	is := func(p model.Proto) bool { return s.Proto == 0 || s.Proto == p }
	if is(model.TCP) {
		c.add(why+" No segment with ACK or RST begins a connection (RFC 9293, 3.10.7).", append(spanned(model.TCP, s, "sport"), tcpAnswers(), verdict("accept"))...)
	}
	if is(model.UDP) {
		for _, fam := range []family{ipv4(), ipv6()} {
			c.add(why, append(spanned(model.UDP, s, "sport"), fam.etherType(), in(fam.asked(bridge), fam.back()...), noted(fam.asked(bridge), fam.back()...), verdict("accept"))...)
		}
	}
	if is(model.SCTP) {
		c.add(why+" Only the chunk INIT begins an association, and it stands alone (RFC 9260, 3.3.2).", append(spanned(model.SCTP, s, "sport"), noInit(), verdict("accept"))...)
	}
	if is(icc.ICMP) {
		c.add(why, icmpv4(0), verdict("accept"))
		c.add(why, protocol("ipv6-icmp", unix.IPPROTO_ICMPV6), icmp6Is(129), verdict("accept"))
	}
}

// iccSets are the sets for networks with lists, and for their ports among those of s.
func iccSets(s spoof.Set) []set {
	name := nameKind()
	out := []set{
		{name: setICCMembers, key: []kind{name}, verdicts: true},
		{name: setICCInside, key: []kind{name}},
		{name: setICCRouted, key: []kind{name}, verdicts: true},
		{name: setICCLink, key: []kind{icmp6Kind()}, elements: iccLinkTypes()},
	}
	type place struct {
		l       icc.List
		classes []string
		first   int                // of the maps of the classes, in out
		talk    map[[2]string]bool // whether something may be begun between two classes, in either direction
	}
	places := map[string]place{}
	for _, n := range s.Networks {
		at := place{n.Rules(), n.Classes(), len(out), map[[2]string]bool{}}
		for _, class := range at.classes {
			out = append(out, iccTo(iccName(setICCTo, n.Bridge, class)))
		}
		for _, fam := range []family{ipv4(), ipv6()} {
			out = append(out, set{name: fam.asked(n.Bridge), key: []kind{fam.address, fam.address, portKind(), portKind()}, dynamic: true})
		}
		places[n.Bridge] = at
	}
	members, inside, routed := &out[0], &out[1], &out[2]
	for _, p := range s.Ports {
		at, listed := places[p.Bridge]
		if !p.Listed || !listed {
			continue
		}
		port := nameBytes(p.Link)
		of := func(why string) served { return served{why: why, bridge: p.Bridge, link: p.Link} }
		members.add(of("The container is of "+groupsText(p.Class)+"."), element{key: port, data: "goto " + iccName(iccFrom, p.Bridge, p.Class)})
		inside.add(of("The port is one of a network with a list."), element{key: port})
		routed.add(of("What the host takes from the port is not for neighbours."), element{key: port, data: "goto " + iccName(iccHost, p.Bridge)})
		for i, from := range at.classes {
			talk, known := at.talk[[2]string{from, p.Class}]
			if !known {
				talk = len(at.l.Begins(from, p.Class))+len(at.l.Begins(p.Class, from)) > 0
				at.talk[[2]string{from, p.Class}] = talk
			}
			if talk {
				out[at.first+i].add(of(fmt.Sprintf("What goes from containers of %s to this one of %s.", groupsText(from), groupsText(p.Class))),
					element{key: port, data: "goto " + iccName(iccMay, p.Bridge, from, p.Class)})
			}
		}
	}
	return out
}

// iccTo is a map of the ports that what comes from a class can go to, without elements.
func iccTo(name string) set { return set{name: name, key: []kind{nameKind()}, verdicts: true} }

// iccLinkTypes are what nodes of a link need of each other, by IANA's numbers. Who may be a router
// is looked at where frames come in.
func iccLinkTypes() (all []element) {
	for _, t := range []struct {
		number byte
		why    string
	}{
		{130, "A query for groups (MLD)."}, {131, "A report of a group (MLD)."}, {132, "A group is left (MLD)."}, {133, "A router is asked for."},
		{134, "A router advertises itself."}, {135, "A neighbour is asked for."}, {136, "A neighbour tells its address."}, {137, "A router redirects."},
		{143, "A report of groups (MLDv2)."},
	} {
		all = append(all, element{key: string([]byte{t.number}), served: served{why: t.why}})
	}
	return all
}
