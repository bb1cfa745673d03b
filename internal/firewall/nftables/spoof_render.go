package nftables

import (
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/spoof"
)

// spoofTable is the table's name. It is not that of the packet filter, so that events tell
// which of the two somebody has changed.
const spoofTable = "mybr-spoof"

// spoofPriority is before everybody else's on bridges, which begin with the translation of
// ebtables, NF_BR_PRI_NAT_DST_BRIDGED (linux/netfilter_bridge.h).
const spoofPriority = nftables.ChainPriority(-310)

// The chains: one for each sort of frame, and one for each reason to drop it.
const (
	spoofOwn     = "own"
	spoofARP     = "arp"
	spoofIP      = "ip"
	spoofUDP     = "udp"
	spoofSource  = "source"
	spoofIP6     = "ip6"
	spoofUDP6    = "udp6"
	spoofDHCP6   = "dhcp6"
	spoofKnown6  = "known6"
	spoofICMP6   = "icmp6"
	spoofSource6 = "source6"
	spoofAny6    = "source6-or-none"
	spoofAsk     = "solicitation"
	spoofTell    = "advertisement"
	spoofRouter  = "router"
	spoofPort    = "port"

	refuseFrame  = "refuse-frame"
	refuseMAC    = "refuse-mac"
	refuseARP    = "refuse-arp"
	refuseND     = "refuse-nd"
	refuseSource = "refuse-source"
	refuseDHCP   = "refuse-dhcp"
	refuseRouter = "refuse-router"
)

// The sets.
const (
	setPorts     = "ports"
	setMACs      = "macs"
	setSources4  = "sources4"
	setSources6  = "sources6"
	setPrefixes4 = "prefixes4"
	setPrefixes6 = "prefixes6"
	setDHCP      = "dhcp-servers"
	setRouters   = "routers"
	setICMP6     = "icmp6-types"
	setRefused   = "refused"
	setAudited   = "audited"
)

// bridge is the family of the table.
func bridge() family {
	return family{word: "bridge", own: spoofTable, table: nftables.TableFamilyBridge, number: unix.NFPROTO_BRIDGE}
}

// spoofed is the table for some ports; none if there are none.
func (fam family) spoofed(s spoof.Set) ruleset {
	if len(s.Ports) == 0 {
		return ruleset{}
	}
	all := ruleset{chains: spoofChains(len(s.Networks) > 0), sets: spoofSets(s, len(s.Networks) > 0)}
	for _, n := range s.Networks {
		all.chains = append(all.chains, iccNetwork(n)...)
	}
	return all
}

// spoofChains are the same whatever ports there are, save that some are there only if a network has
// a list of what containers may begin to each other (mybr.icc). What is sent as it mostly is, and may be,
// meets two lookups: of the port, and of port, MAC and address together.
func spoofChains(listed bool) []chain {
	pre := chain{name: "prerouting", hook: &hook{nftables.ChainTypeFilter, "prerouting", nftables.ChainHookPrerouting, spoofPriority}}
	pre.add("What comes from a port whose sender is checked is judged here, before the bridge learns who is where.", in(setPorts, iif()), verdict("goto "+spoofPort))
	// br_handle_frame: it learns from these at the hook "input", and they don't pass the other one.
	input := chain{name: "input", hook: &hook{nftables.ChainTypeFilter, "input", nftables.ChainHookInput, spoofPriority}}
	input.add("What a bridge forwards to nobody is judged as well: the bridge learns from it, too.", linkOnly(), in(setPorts, iif()), verdict("goto "+spoofPort))

	var lists []chain
	if listed {
		iccInput(&input)
		lists = iccChains()
	}
	port := chain{name: spoofPort}
	port.add("IPv4 from the endpoint's own MAC and address, which most is: told first, and without a second `meta`.",
		untagged("ip", unix.ETH_P_IP), in(setSources4, iif(), etherSource(), ipv4().from()), verdict("goto "+spoofOwn))
	port.add("IPv4, with a tag of 802.1Q or without.", etherType("ip", unix.ETH_P_IP), verdict("goto "+spoofIP))
	port.add("IPv6.", etherType("ip6", unix.ETH_P_IPV6), verdict("goto "+spoofIP6))
	port.add("ARP.", etherType("arp", unix.ETH_P_ARP), verdict("goto "+spoofARP))
	port.add("Nothing else carries addresses that can be checked; a second tag would hide them.", verdict("goto "+refuseFrame))

	return slices.Concat([]chain{pre, input, port, spoofChainARP()}, spoofChainsIP(), spoofChains6(), refusals(), lists)
}

func strangeMAC() (string, clause, clause) {
	return "The frame's sender is another one than the port's.", notIn(setMACs, iif(), etherSource()), verdict("goto " + refuseMAC)
}

// spoofChainsIP judge IPv4. Its protocol is read from the header, where it always stands (RFC 791),
// and once: on bridges each `meta` costs the kernel more than any other expression of a rule.
func spoofChainsIP() []chain {
	from := ipv4().from()
	own := chain{name: spoofOwn}
	own.add("Nothing but UDP has DHCP in it.", otherProtocol4("udp", unix.IPPROTO_UDP), verdict("accept"))
	own.add("And no UDP of other ports.", otherTransport("sport", 67), otherTransport("dport", 68), verdict("accept"))
	own.add("What is left is DHCP, or a later fragment that looks like it.", verdict("goto "+spoofUDP))

	ip := chain{name: spoofIP}
	ip.add("UDP, which DHCP is a part of.", protocol4("udp", unix.IPPROTO_UDP), verdict("goto "+spoofUDP))
	ip.add("All else has a source.", verdict("goto "+spoofSource))

	udp := chain{name: spoofUDP}
	udp.add("A later fragment has data where ports would be.", laterFragment4(), verdict("goto "+spoofSource))
	udp.add("Answers of a DHCP server come from trusted endpoints alone.", transport("sport", 67), notIn(setDHCP, iif()), verdict("goto "+refuseDHCP))
	udp.add("Whatever port they come from: clients listen at this one, and send to it nothing themselves (RFC 2131).", transport("dport", 68), notIn(setDHCP, iif()), verdict("goto "+refuseDHCP))
	udp.add("All else has a source.", verdict("goto "+spoofSource))

	source := chain{name: spoofSource}
	source.add("The endpoint's own MAC and address.", in(setSources4, iif(), etherSource(), from), verdict("accept"))
	source.add(strangeMAC())
	source.add("The endpoint may send from these addresses, too.", in(setPrefixes4, from, iif()), verdict("accept"))
	source.add("What is from no address comes whole: of a later fragment nobody can tell what it is.", unspecified(from), laterFragment4(), verdict("goto "+refuseSource))
	source.add("Who has no address yet asks a DHCP server (RFC 2131).", unspecified(from), udpPort("dport", 67), verdict("accept"))
	source.add("And may join groups (RFC 4541).", unspecified(from), protocol("igmp", unix.IPPROTO_IGMP), verdict("accept"))
	source.add("Every other source is somebody else's.", verdict("goto "+refuseSource))
	return []chain{own, ip, udp, source}
}

func spoofChainARP() chain {
	mac, from, to := arpSenderMAC(), arpSender(), arpTarget()
	c := chain{name: spoofARP}
	c.add(strangeMAC())
	c.add("It is not about IPv4 on Ethernet.", arpOfOthers(), verdict("goto "+refuseARP))
	c.add("The endpoint tells its own MAC and address.", in(setSources4, iif(), mac, from), verdict("accept"))
	c.add("It looks whether anybody has its own address (RFC 5227).", unspecified(from), in(setSources4, iif(), mac, to), verdict("accept"))
	c.add("It tells somebody else's MAC.", notIn(setMACs, iif(), mac), verdict("goto "+refuseARP))
	c.add("The endpoint may have these addresses, too.", in(setPrefixes4, from, iif()), verdict("accept"))
	c.add("And look whether anybody has them.", unspecified(from), in(setPrefixes4, to, iif()), verdict("accept"))
	c.add("Every other address is somebody else's.", verdict("goto "+refuseARP))
	return c
}

func spoofChains6() []chain {
	from, target := ipv6().from(), ndTarget()
	six := chain{name: spoofIP6}
	six.add("TCP, which most is: the sort of packet that is told first costs least.", protocol("tcp", unix.IPPROTO_TCP), verdict("goto "+spoofKnown6))
	six.add("UDP, which DHCPv6 is a part of.", protocol("udp", unix.IPPROTO_UDP), verdict("goto "+spoofUDP6))
	six.add("ICMPv6, behind whatever extension headers.", protocol("ipv6-icmp", unix.IPPROTO_ICMPV6), verdict("goto "+spoofICMP6))
	six.add("What can be told to be none of these has a source.", otherProtocol("ipv6-icmp", unix.IPPROTO_ICMPV6), verdict("goto "+spoofKnown6))
	six.add(strangeMAC())
	six.add("What hides its protocol could be neighbour discovery.", verdict("goto "+refuseSource))

	udp := chain{name: spoofUDP6}
	udp.add("Answers of a DHCPv6 server come from trusted endpoints alone.", transport("sport", 547), notIn(setDHCP, iif()), verdict("goto "+spoofDHCP6))
	udp.add("Whatever port they come from: clients listen at this one, and send to it nothing themselves (RFC 8415, 7.2).", transport("dport", 546), notIn(setDHCP, iif()), verdict("goto "+spoofDHCP6))
	udp.add("All else has a source.", verdict("goto "+spoofKnown6))

	dhcp := chain{name: spoofDHCP6}
	dhcp.add("A later fragment has no ports, and only looks like it. To find that out is dear, so it is asked here alone.", laterFragment6(), verdict("goto "+spoofKnown6))
	dhcp.add("It is DHCPv6.", verdict("goto "+refuseDHCP))

	known := chain{name: spoofKnown6}
	known.add("The endpoint's own MAC and address.", in(setSources6, iif(), etherSource(), from), verdict("accept"))
	known.add(strangeMAC())
	known.add("The endpoint may send from these addresses, too.", in(setPrefixes6, from, iif()), verdict("accept"))
	known.add("Every other source is somebody else's.", verdict("goto "+refuseSource))

	icmp := chain{name: spoofICMP6}
	icmp.add(strangeMAC())
	icmp.add("Neighbour discovery and reports of groups are looked into.", by(setICMP6, icmp6Type()))
	icmp.add("All else has a source.", verdict("goto "+spoofSource6))

	source := chain{name: spoofSource6}
	source.add("The endpoint's own MAC and address.", in(setSources6, iif(), etherSource(), from), verdict("accept"))
	source.add("The endpoint may send from these addresses, too.", in(setPrefixes6, from, iif()), verdict("accept"))
	source.add("Every other source is somebody else's.", verdict("goto "+refuseSource))

	none := chain{name: spoofAny6}
	none.add("Who has no address yet may join groups, and ask for routers (RFC 3810, RFC 4861).", unspecified(from), verdict("accept"))
	none.add("Else it has a source.", verdict("goto "+spoofSource6))

	ask := chain{name: spoofAsk}
	ask.add("The endpoint looks whether anybody has its own address (RFC 4862).", unspecified(from), in(setSources6, iif(), etherSource(), target), verdict("accept"))
	ask.add("Or one of those that it may have, too.", unspecified(from), in(setPrefixes6, target, iif()), verdict("accept"))
	ask.add("Whoever has another address would believe that it has it in vain.", unspecified(from), verdict("goto "+refuseND))
	ask.add("It tells somebody else's MAC.", hasOption(1), notIn(setMACs, iif(), ndOption()), verdict("goto "+refuseND))
	ask.add("Else it has a source.", verdict("goto "+spoofSource6))

	tell := chain{name: spoofTell}
	tell.add("It tells somebody else's MAC.", hasOption(2), notIn(setMACs, iif(), ndOption()), verdict("goto "+refuseND))
	tell.add("The endpoint tells its own address.", in(setSources6, iif(), etherSource(), target), verdict("goto "+spoofSource6))
	tell.add("Or one of those that it may have, too.", in(setPrefixes6, target, iif()), verdict("goto "+spoofSource6))
	tell.add("Every other address is somebody else's.", verdict("goto "+refuseND))

	router := chain{name: spoofRouter}
	router.add("Only trusted endpoints are routers for others.", in(setRouters, iif()), verdict("goto "+spoofSource6))
	router.add("Others would have traffic come to them.", verdict("goto "+refuseRouter))
	return []chain{six, udp, dhcp, known, icmp, source, none, ask, tell, router}
}

// refusals count, by reason and by port, and drop what does not come from a port that is only watched.
func refusals() (all []chain) {
	for _, r := range []struct{ name, why string }{
		{refuseFrame, "Frames that are neither IPv4, nor IPv6, nor ARP."},
		{refuseMAC, "Frames of another MAC."},
		{refuseARP, "ARP about other MACs or addresses."},
		{refuseND, "Neighbour discovery about other MACs or addresses."},
		{refuseSource, "Packets from other addresses."},
		{refuseDHCP, "Answers of DHCP servers that are not trusted."},
		{refuseRouter, "Advertisements and redirects of routers that are not trusted."},
	} {
		c := chain{name: r.name}
		c.add(r.why+" They are counted for the port, too.", counted(), in(setRefused, iif()), verdict("drop"))
		c.add("The port is only watched. What has passed is counted apart.", in(setAudited, iif()), verdict("accept"))
		c.add("A port that is not listed sends nothing of the kind either.", verdict("drop"))
		all = append(all, c)
	}
	return all
}

// icmp6Types are those that are looked into, by IANA's numbers.
func icmp6Types() (all []element) {
	for _, t := range []struct {
		number byte
		to     string
		why    string
	}{
		{131, spoofAny6, "A report of a group (MLD)."}, {132, spoofAny6, "A group is left (MLD)."}, {133, spoofAny6, "A router is asked for."},
		{134, spoofRouter, "A router advertises itself."}, {135, spoofAsk, "A neighbour is asked for."}, {136, spoofTell, "A neighbour tells its address."},
		{137, spoofRouter, "A router redirects."}, {143, spoofAny6, "A report of groups (MLDv2)."},
	} {
		all = append(all, element{key: string([]byte{t.number}), data: "goto " + t.to, served: served{why: t.why}})
	}
	return all
}
