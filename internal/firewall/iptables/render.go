package iptables

import (
	"fmt"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
)

// The chains. Those that don't begin with ownPrefix are Docker's
// (https://docs.docker.com/engine/network/firewall-iptables/).
const (
	ownPrefix    = "MYBR-"
	dockerPrefix = "DOCKER"

	chainForward     = ownPrefix + "FORWARD"
	chainPass        = ownPrefix + "PASS"
	chainIsolate     = ownPrefix + "ISOLATE"
	chainReplies     = ownPrefix + "REPLIES"
	chainReplyIn     = ownPrefix + "REPLY-IN"
	chainReplyOut    = ownPrefix + "REPLY-OUT"
	chainNoExit      = ownPrefix + "NO-EXIT"
	chainNoEntry     = ownPrefix + "NO-ENTRY"
	chainFrom        = ownPrefix + "FROM"
	chainTo          = ownPrefix + "TO"
	chainDirect      = ownPrefix + "DIRECT"
	chainUnprotected = ownPrefix + "UNPROTECTED"
	chainLimitIn     = ownPrefix + "LIMIT-IN"
	chainLimitOut    = ownPrefix + "LIMIT-OUT"
	chainAdmit       = ownPrefix + "CLI-" // what names the clients follows
	chainServe       = ownPrefix + "SRV-"
	chainArrival     = ownPrefix + "ARRIVAL"
	chainByLink      = ownPrefix + "IFC-" // what names the interfaces follows
	chainListed      = ownPrefix + "LISTED"
	chainListOf      = ownPrefix + "OF-"  // what names the bridge follows
	chainAllowed     = ownPrefix + "DST-" // what names the list follows
	chainGranted     = ownPrefix + "DNS-" // what names the container follows
	chainLed         = ownPrefix + "LED"
	chainProcess     = ownPrefix + "PROCESS"
	chainVia         = ownPrefix + "VIA-"     // what names the bridge follows
	chainGrantedVia  = ownPrefix + "DNS-VIA-" // what names the container follows
	chainWay         = ownPrefix + "WAY-"     // what names the list follows
	chainLead        = ownPrefix + "LEAD-"    // what names where it leads follows
	chainRefused     = ownPrefix + "REFUSED"
	chainAudit       = ownPrefix + "AUDIT"
	chainEgressNAT   = ownPrefix + "EGRESS-NAT"
	chainEgress      = ownPrefix + "EGRESS"
	chainForwardDrop = ownPrefix + "FORWARD-DROP"
	chainInput       = ownPrefix + "INPUT"
	chainPorts       = ownPrefix + "PORTS"
	chainPostrouting = ownPrefix + "POSTROUTING"

	dockerUser    = "DOCKER-USER"
	dockerStage1  = "DOCKER-ISOLATION-STAGE-1" // Docker before 29
	dockerStage2  = "DOCKER-ISOLATION-STAGE-2"
	dockerForward = "DOCKER-FORWARD" // Docker from 28.0
	dockerBridge  = "DOCKER-BRIDGE"
)

// unsolicited matches what is neither a reply nor led by a published port.
const unsolicited = " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT"

// facts is what rendering needs to know of the host.
type facts struct {
	user        bool     // the chain DOCKER-USER exists
	stages      bool     // the chains DOCKER-ISOLATION-STAGE-1 and -2 exist
	stage1Jumps bool     // the first of them leads to MYBR-ISOLATE, see missingJumps
	unisolated  []string // Docker's bridges that are missing there
	bridges     []string // Docker's bridges, where those chains don't exist; sorted
}

// render is the content of mybr's chains in one family.
func (fam family) render(p firewall.Policy, f facts) ruleset {
	need, lists := fam.layout(p), fam.listings(p)
	var filter, nat []chain
	if need.networks {
		filter = slices.Concat(fam.forward(p), fam.isolate(p, f, need, lists), fam.replies(p, need))
		nat = slices.Concat(fam.ports(p), fam.postrouting(p))
	}
	if need.input {
		filter = append(filter, fam.byBridge(chainInput, "-i", p, func(n firewall.Network) []rule {
			return append(hostInput(n.Bridge, n.Family(fam.Family).Input), fam.listedInput(n, lists)...)
		})...)
	}
	if need.guards {
		filter = append(filter, notLed(p.Process))
	}
	if need.names {
		nat = append(nat, fam.led(p, lists)...)
	}
	if need.listed {
		filter = append(filter, fam.lists(p, lists)...)
	}
	if need.defaultDrop {
		filter = append(filter, forwardDrop())
	}
	return ruleset{{"filter", filter}, {"nat", nat}}
}

// byBridge is a chain with rules of networks that match their bridges by this option, and
// the chains that it leads to.
func (fam family) byBridge(name, option string, p firewall.Policy, rules func(firewall.Network) []rule) []chain {
	root := chain{name: name, ordered: true}
	var entries []entry
	for _, n := range p.Networks {
		if all := serving(n.Bridge, "", rules(n)...); len(all) > 0 {
			entries = append(entries, entry{n.Bridge, all})
		}
	}
	below := byLink(name, option).fill(&root, entries)
	return append([]chain{root}, below...)
}

// forwardDrop is MYBR-FORWARD-DROP.
func forwardDrop() chain {
	last := chain{name: chainForwardDrop}
	last.add("", "", rule{"-j DROP",
		"mybr had to turn forwarding on. It makes the host no router for others: what no rule has accepted isn't forwarded."})
	return last
}

// marked is the match of a mark as iptables-save(8) prints it, with a space behind it;
// "" for none.
func marked(m firewall.Mark) string {
	switch m.Mask {
	case 0:
		return ""
	case 1<<32 - 1:
		return fmt.Sprintf("-m mark --mark %#x ", m.Value)
	}
	return fmt.Sprintf("-m mark --mark %#x/%#x ", m.Value, m.Mask)
}

// hostInput is a network's part of MYBR-INPUT.
func hostInput(bridge string, in firewall.Input) []rule {
	switch in {
	case firewall.InputNoAdvertisements:
		return []rule{{"-i " + bridge + " -p ipv6-icmp -m icmp6 --icmpv6-type 134 -j DROP",
			"The host takes no router advertisements from containers."}}
	case firewall.InputNone:
		return []rule{{"-i " + bridge + " -j DROP", "The host takes nothing of this family from the network."}}
	}
	return nil
}
