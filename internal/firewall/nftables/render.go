package nftables

import (
	"slices"

	"github.com/google/nftables"

	"github.com/mybr/mybr/internal/firewall"
)

// tableName is the table's, in the families ip and ip6.
const tableName = "mybr"

// The chains that rules and elements lead to.
const (
	chainPass = "pass"
	chainLast = "last"

	fromClosed     = "from-closed"
	fromOpen       = "from-open"
	fromMasquerade = "from-masquerade"

	toProtected = "to-protected"
	toOpenings  = "to-openings"
	toRouted    = "to-routed"
	toAll       = "to-all"
	openPorts   = "open-ports"

	limited  = "limited-" // what is judged behind it follows
	admitted = "clients-" // what names the clients follows
	answered = "served-"
	arriving = "arriving-" // what names the interfaces follows

	chainChecked = "checked"
	chainToHost  = "to-host"
	chainListed  = "listed"
	chainAllowed = "allowed-" // what names the list follows

	chainTranslated = "translated-" // likewise

	chainLeadable = "leadable"
	chainLead     = "lead-" // what names the list follows
	chainProcess  = "process"
	chainLetIn    = "let-in"
	chainRefused  = "refused"
	chainAudit    = "audit"

	chainPorts     = "published-ports"
	hairpin        = "hairpin"
	hairpinFixed   = "hairpin-fixed"
	toHostAddress  = "to-host-address"
	toFixedAddress = "to-fixed-address"
)

// The sets.
const (
	setFrom         = "from"
	setInside       = "inside"
	setTo           = "to"
	setBridges      = "bridges"
	setOthers       = "docker-bridges"
	setOpen         = "open"
	setOpenFrom     = "open-from"
	setPublished    = "published"
	setPublishedAt  = "published-at"
	setApart        = "apart"
	setApartAt      = "apart-at"
	setStaying      = "staying"
	setLeaving      = "leaving"
	setFixedAddress = "fixed-address"
	setLimited      = "limited"
	setLimitedFrom  = "limited-from"
	setArrival      = "arrival"
	setArrivalOwn   = "arrival-own"
	setListed       = "listed"
	setListedFrom   = "listed-from"
	setListedInput  = "listed-input"
	setBehind       = "behind-list"
	setLed          = "led"
	setOwn          = "own-subnet"
	setLead         = "lead"
	setLeadFrom     = "lead-from"
	setLeadDNS      = "lead-dns"
	setLeadTCP      = "lead-tcp"
	setGateways     = "gateways"
	setProcess      = "process-ports"
	setGranted      = "granted"
	setGrantedPort  = "granted-port"
	setGrantedPorts = "granted-ports"
	setNoInput      = "no-input"
	setNoAdverts    = "no-advertisements"
)

// passBit is the bit of a packet's mark that tells the rule of iptables, between two hooks,
// that the packet may pass. It is taken away behind that rule, and no other bit is touched.
// Kubernetes uses 0xc000, Tailscale 0xff0000.
const passBit = 0x08000000

// The priorities (linux/netfilter_ipv4.h). Where packets are filtered, mybr comes before all
// who use the ordinary priority, iptables included; where the destination is translated
// behind them, so that what others translate is theirs, as is what leads to a container of
// Docker's; and where the source is, before them.
const (
	beforeFilter = -1
	behindFilter = 1
	behindDNAT   = -100 + 1
	beforeSNAT   = 100 - 1
	behindAll    = 1<<15 - 2 // before what keeps flows going
)

func filterHook(name string, point *nftables.ChainHook, at int32) *hook {
	return &hook{nftables.ChainTypeFilter, name, point, nftables.ChainPriority(at)}
}

func natHook(name string, point *nftables.ChainHook, at int32) *hook {
	return &hook{nftables.ChainTypeNAT, name, point, nftables.ChainPriority(at)}
}

// render is what mybr's table has in one family. others are the bridges of Docker's.
func (fam family) render(p firewall.Policy, beside bool, others []string) ruleset {
	l := fam.layout(p, beside)
	if l.none() {
		return ruleset{}
	}
	lists := fam.lists(p)
	return ruleset{slices.Concat(fam.chains(l), fam.clientChains(p), fam.arrivalChains(p), fam.allowed(lists), fam.leading(p)), slices.Concat(fam.sets(p, others), fam.addressSets(p, lists), fam.arrivalSets(p))}
}

// chains is the rules: they are the same whatever networks and ports there are, save that some
// are for limits or egress lists alone, if there are any.
func (fam family) chains(l layout) []chain {
	all := []chain{}
	if l.networks {
		all = append(all, fam.forward(l), pass(l))
		all = append(all, fam.leaving()...)
		all = append(all, fam.entering()...)
		if l.limited {
			all = append(all, fam.limiting()...)
		}
		if l.listed {
			all = append(all, fam.checking(l)...)
			all = append(all, refused(l.untold)...)
		}
		if l.names {
			all = append(all, fam.leadable())
		}
		all = append(all, fam.publishing(l)...)
		all = append(all, fam.translating()...)
	}
	if l.beside {
		c := chain{name: "passed", hook: filterHook("forward", nftables.ChainHookForward, behindFilter)}
		c.add("Behind the rule of iptables the bit has no meaning any more.", unmark(passBit))
		all = append(all, c)
		if l.names {
			c := chain{name: "passed-in", hook: filterHook("input", nftables.ChainHookInput, behindFilter)}
			c.add("Behind the rule of iptables the bit has no meaning any more.", marked(passBit, passBit), unmark(passBit))
			all = append(all, c)
		}
	}
	if l.input {
		c := chain{name: "input", hook: filterHook("input", nftables.ChainHookInput, beforeFilter)}
		c.add("The host takes nothing of this family from these networks.", in(setNoInput, iif()), verdict("drop"))
		if fam.icmpProto == ipv6().icmpProto {
			c.add("The host takes no router advertisements from containers.", advertisement(), in(setNoAdverts, iif()), verdict("drop"))
		}
		if l.process {
			c.add("Only what was led there reaches the ports of mybr's process.", by(setProcess, proto(), port()))
		}
		if l.listed {
			c.add("What comes from a network whose containers may not begin everything is checked.", in(setListedInput, iif()), verdict("jump "+chainToHost))
		}
		all = append(all, c)
		if l.process {
			all = append(all, processInput(fam, l.beside)...)
		}
	}
	if l.last {
		c := chain{name: chainLast, hook: filterHook("forward", nftables.ChainHookForward, behindAll)}
		why := "What concerns mybr's networks has been judged."
		c.add(why, in(setBridges, iif()), verdict("accept"))
		c.add(why, in(setBridges, oif()), verdict("accept"))
		c.add("mybr had to turn forwarding on. It makes the host no router for others.", verdict("drop"))
		all = append(all, c)
	}
	return all
}

// forward is where every packet comes that the host forwards.
func (fam family) forward(l layout) chain {
	c := chain{name: "forward", hook: filterHook("forward", nftables.ChainHookForward, beforeFilter)}
	if m := l.accept; m.Mask != 0 {
		why := "What the administrator has marked passes, to and from every network."
		c.add(why, marked(m.Value, m.Mask), in(setBridges, iif()), verdict("goto "+chainPass))
		c.add(why, marked(m.Value, m.Mask), in(setBridges, oif()), verdict("goto "+chainPass))
	}
	if l.arrivals {
		fam.arrive(&c)
	}
	c.add("What comes from a network is judged by what the network is; what comes from elsewhere has no element here.", by(setFrom, iif()))
	c.add("What goes to a network is judged by what that is.", by(setTo, oif()))
	return c
}

// pass is the end of what may pass.
func pass(l layout) chain {
	c := chain{name: chainPass}
	if l.beside {
		c.add("A rule of iptables that comes later, behind DOCKER-USER, accepts what bears this bit.", mark(passBit))
	}
	c.add("What others drop later is dropped all the same.", verdict("accept"))
	return c
}

// leaving is what becomes of what comes from a network.
func (fam family) leaving() []chain {
	inside := func(c *chain) {
		c.add("What turns back into its own network is judged by whether the network's containers may reach each other.", by(setInside, iif(), oif()))
	}
	closed := chain{name: fromClosed}
	inside(&closed)
	closed.add("Nothing leaves: the network is internal, or has no subnet of this family.", verdict("drop"))

	open, masquerading := chain{name: fromOpen}, chain{name: fromMasquerade}
	for _, c := range []*chain{&open, &masquerading} {
		// Nearly all packets are of these, and each lookup of a name costs more than this.
		c.add("What has begun goes on.", known(), verdict("goto "+chainPass))
		inside(c)
	}
	masquerading.add("Packets of no connection that conntrack knows are not translated, so they would leave the network with the container's own address.", invalid(), verdict("drop"))
	for _, c := range []*chain{&open, &masquerading} {
		c.add("What goes to another network is judged by what that is.", by(setTo, oif()))
		c.add("Containers reach the outside.", verdict("goto "+chainPass))
	}
	return []chain{closed, open, masquerading}
}

// entering is what becomes of what comes to a network from elsewhere.
func (fam family) entering() []chain {
	begin := func(name string) chain {
		c := chain{name: name}
		c.add("Replies reach the containers.", known(), verdict("goto "+chainPass))
		c.add("So does what a published port leads there.", translated(), verdict("goto "+chainPass))
		return c
	}
	bridges := func(c *chain) {
		why := "What others may enter at containers' own addresses takes in nothing from other bridge networks."
		c.add(why, in(setBridges, iif()), verdict("drop"))
		c.add(why+" These are Docker's.", in(setOthers, iif()), verdict("drop"))
	}
	protected := begin(toProtected)
	protected.add("Nothing else: nothing from other networks, and nothing that is routed to a container's address.", verdict("drop"))

	openings := begin(toOpenings)
	bridges(&openings)
	openings.add("What is listed as open may enter at the containers' own addresses.", verdict("goto "+openPorts))

	routed := begin(toRouted)
	routed.add("A routed network can be pinged, and told of packets that are too big.", protocol(fam.icmp, fam.icmpProto), verdict("goto "+chainPass))
	routed.add("What is listed as open may enter at the containers' own addresses.", verdict("goto "+openPorts))

	all := begin(toAll)
	bridges(&all)
	all.add("Everything else may enter.", verdict("goto "+chainPass))

	open := chain{name: openPorts}
	open.add("The port is open to every client that has a route to the container.", in(setOpen, oif(), fam.to(), proto(), port()), verdict("goto "+chainPass))
	open.add("The port is open to what comes from this interface.", in(setOpenFrom, oif(), iif(), fam.to(), proto(), port()), verdict("goto "+chainPass))
	open.add("Everything else stays outside.", verdict("drop"))
	return []chain{protected, openings, routed, all, open}
}

// publishing leads what is sent to published ports to the containers.
func (fam family) publishing(l layout) []chain {
	pre := chain{name: "prerouting", hook: natHook("prerouting", nftables.ChainHookPrerouting, behindDNAT)}
	if l.names {
		pre.add("What containers begin whose list has host names may have to be led to mybr's process.", by(setLed, iif()))
	}
	pre.add("What is sent to an address of the host may be meant for a published port.", local(), verdict("goto "+chainPorts))
	out := chain{name: "output", hook: natHook("output", nftables.ChainHookOutput, behindDNAT)}
	out.add("So may what the host sends to itself, but for its loopback addresses, where the process listens.",
		outside(fam.to(), fam.loopback), local(), verdict("goto "+chainPorts))
	c := chain{name: chainPorts}
	if fam.linkLocal.IsValid() {
		c.add("Clients with link-local addresses are served by the process.", within(fam.from(), fam.linkLocal), verdict("return"))
	}
	apart := "Not from its own network, where containers are kept apart: the process relays that, unless the network has a list (mybr.icc)."
	c.add(apart, in(setApartAt, iif(), fam.to(), proto(), port()), verdict("return"))
	c.add("The port is published at this address.", fam.dnat(setPublishedAt, fam.to(), proto(), port()))
	c.add(apart, in(setApart, iif(), proto(), port()), verdict("return"))
	c.add("The port is published at every address of the host.", fam.dnat(setPublished, proto(), port()))
	return []chain{pre, out, c}
}

// translating gives what leaves networks an address of the host.
func (fam family) translating() []chain {
	post := chain{name: "postrouting", hook: natHook("postrouting", nftables.ChainHookPostrouting, beforeSNAT)}
	post.add("What goes back to the network that it came from.", by(setStaying, fam.from(), oif()))
	post.add("What leaves a network.", by(setLeaving, fam.from()))
	back := "A container that reaches itself or a neighbour through a published port is answered through the host, which must undo the translation."
	turned, fixed := chain{name: hairpin}, chain{name: hairpinFixed}
	turned.add(back, translated(), masquerade())
	fixed.add(back, translated(), fam.snat(setFixedAddress, fam.from()))
	out, outFixed := chain{name: toHostAddress}, chain{name: toFixedAddress}
	out.add("It takes an address of the host, to which replies find back.", masquerade())
	outFixed.add("It takes this address of the host.", fam.snat(setFixedAddress, fam.from()))
	return []chain{post, turned, fixed, out, outFixed}
}
