package doctor

import (
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/view"
)

func leftoverChecks() []Check {
	return []Check{
		{Name: "leftover-links", look: lookLeftLinks,
			Sees:  "links with mybr's alias that mybr has no record of",
			Means: "A link was left by an older mybr or by one with other records: its name or its subnet may be in the way.",
			Mends: "deletes the link"},
		{Name: "leftover-chains", look: lookLeftChains,
			Sees:  "chains of mybr's in the variant of iptables that mybr does not use",
			Means: "They were left when Docker changed from one variant to the other, and still drop what they did then.",
			Mends: "removes all rules and chains of mybr's from that variant"},
		{Name: "other-drivers", look: lookOthers,
			Sees:  "links and chains that other network drivers leave behind: Weave Net, Flannel, Calico, Cilium, CNI, netavark",
			Means: "Their rules and routes may be in the way. Where the driver is in use, all is well.",
			Mends: "deletes the links, and removes the chains"},
		{Name: "docker-networks", look: lookDockerNetworks,
			Sees:  "whether Docker and mybr know the same networks",
			Means: "A network that Docker has and mybr has not takes no containers. One that only mybr has keeps its name, bridge and subnet from others.",
			Mends: "deletes the network where it is"},
	}
}

// unknownTo lists the links with mybr's alias that are of nothing in a view.
func unknownTo(v view.View, h *host) (names []string) {
	known := map[string]bool{}
	for _, n := range v.Networks {
		known[model.AliasNetwork+n.ID] = true
	}
	for _, e := range v.Endpoints {
		known[model.AliasEndpoint+e.ID] = true
	}
	for _, l := range h.links {
		if strings.HasPrefix(l.alias, model.AliasPrefix) && !known[model.AliasOwner(l.alias)] {
			names = append(names, l.name)
		}
	}
	return names
}

func lookLeftLinks(l *look) {
	if _, ok := l.needs(); !ok {
		return
	}
	v, err := l.records()
	h, err2 := l.hostFacts()
	if err := firstOf(err, err2); err != nil {
		l.unknown(err)
		return
	}
	left := unknownTo(v, h)
	if len(left) > 0 { // one may have come or gone since they were read
		v, err = l.View(l.ctx)
		h, err2 = readHost()
		if err := firstOf(err, err2); err != nil {
			l.unknown(err)
			return
		}
		still := unknownTo(v, h)
		left = slices.DeleteFunc(left, func(name string) bool { return !slices.Contains(still, name) })
	}
	for _, name := range left {
		l.found(Warning, command("ip", "link", "delete", name), "%s has the alias %q, and mybr does not know it", name, model.AliasOwner(h.byName(name).alias))
	}
	if len(l.Seen) == 0 {
		l.saw("every link with mybr's alias is recorded")
	}
}

func lookLeftChains(l *look) {
	p, ok := l.needs()
	if !ok {
		return
	}
	sets, err := l.filters()
	if err != nil {
		l.unknown(err)
		return
	}
	if p.Firewall == "" {
		l.saw("mybr has chosen no variant of iptables yet")
		return
	}
	if p.Firewall == "nftables" { // where iptables has tables, in either variant, it is told what passes
		l.saw("mybr's rules are in nftables")
		return
	}
	for _, s := range sets {
		own := slices.DeleteFunc(slices.Clone(s.names), func(name string) bool { return !ownChain(name) })
		if s.legacy != strings.Contains(p.Firewall, "legacy") && len(own) > 0 {
			l.found(Warning, remove(s, "MYBR-"), "%s has %s of mybr's, which uses %s", s.by, count(len(own), "chain"), p.Firewall)
		}
	}
	if len(l.Seen) == 0 {
		l.saw("all chains are in %s", p.Firewall)
	}
}

// remove is the command that removes the chains whose names begin with something, and all
// rules that lead there. A table is replaced at once (iptables-restore(8)).
func remove(s *ruleset, prefix string) []string {
	return []string{s.by + "-save | grep -v -e '^:" + prefix + "' -e '^-A " + prefix + "' -e ' -[jg] " + prefix + "' | " + s.by + "-restore"}
}

// Names that other drivers give to their links and chains.
var (
	otherLinks = map[string]string{
		"weave": "Weave Net", "datapath": "Weave Net", "vxlan-6784": "Weave Net", "flannel.1": "Flannel", "cni0": "CNI",
		"cilium_host": "Cilium", "cilium_net": "Cilium", "cilium_vxlan": "Cilium", "vxlan.calico": "Calico", "kube-ipvs0": "kube-proxy",
		"podman0": "netavark", "cni-podman0": "CNI",
	}
	otherChains = map[string]string{
		"WEAVE": "Weave Net", "FLANNEL-": "Flannel", "CNI-": "CNI", "KUBE-": "kube-proxy", "cali-": "Calico", "CILIUM_": "Cilium", "NETAVARK": "netavark",
	}
)

func lookOthers(l *look) {
	h, err := l.hostFacts()
	sets, err2 := l.filters()
	if err := firstOf(err, err2); err != nil {
		l.unknown(err)
		return
	}
	for _, link := range h.links {
		if whose := otherLinks[link.name]; whose != "" {
			l.found(Note, command("ip", "link", "delete", link.name), "the link %s is of %s", link.name, whose)
		}
	}
	for _, s := range sets {
		for prefix, whose := range otherChains {
			n := 0
			for _, name := range s.names {
				if strings.HasPrefix(name, prefix) {
					n++
				}
			}
			if n > 0 {
				l.found(Note, remove(s, prefix), "%s has %s of %s", s.by, count(n, "chain"), whose)
			}
		}
	}
	slices.Sort(l.Seen)
	slices.Sort(l.Mend)
	if len(l.Seen) == 0 {
		l.saw("no links and chains of other drivers that are known")
	}
}

// dockerNetwork is what Docker's /networks says of one.
type dockerNetwork struct{ ID, Name, Driver, Scope string }

// settles is how long a network that comes or goes may be known to one of the two alone.
const settles = 500 * time.Millisecond

func lookDockerNetworks(l *look) {
	if _, ok := l.needs(); !ok {
		return
	}
	var list []dockerNetwork
	v, err := l.records()
	err2 := l.ask("/networks", &list)
	if err := firstOf(err, err2); err != nil {
		l.unknown(err)
		return
	}
	ours, lost, left := l.compare(v, list)
	if len(lost)+len(left) > 0 {
		// The commands delete networks: only what is still so a moment later counts.
		select {
		case <-time.After(settles):
		case <-l.ctx.Done():
		}
		delete(l.docker, "/networks")
		list = nil
		v, err = l.View(l.ctx)
		err2 = l.ask("/networks", &list)
		if err := firstOf(err, err2); err != nil {
			l.unknown(err)
			return
		}
		_, lostNow, leftNow := l.compare(v, list)
		lost = slices.DeleteFunc(lost, func(n dockerNetwork) bool { return !slices.Contains(lostNow, n) })
		left = slices.DeleteFunc(left, func(n view.Network) bool {
			return !slices.ContainsFunc(leftNow, func(now view.Network) bool { return now.ID == n.ID })
		})
	}
	for _, n := range lost {
		l.found(Fault, command("docker", "network", "rm", n.Name), "Docker has the network %s (%s), and mybr does not know it", n.Name, short(n.ID))
	}
	for _, n := range left {
		l.found(Warning, l.forget(n), "mybr has the network %s (%s), and Docker does not know it", short(n.ID), n.Bridge)
	}
	if len(l.Seen) == 0 {
		l.saw("both know the same %s", count(ours, "network"))
	}
}

// compare counts the networks that Docker has of mybr's, and lists those that only Docker knows
// and those that only mybr knows.
func (l *look) compare(v view.View, list []dockerNetwork) (ours int, lost []dockerNetwork, left []view.Network) {
	byDocker := map[string]bool{}
	for _, n := range list {
		byDocker[n.ID] = true
		if pluginName(n.Driver) != l.Name || n.Scope == "swarm" {
			continue
		}
		ours++
		if !slices.ContainsFunc(v.Networks, func(have view.Network) bool { return have.ID == n.ID }) {
			lost = append(lost, n)
		}
	}
	for _, n := range v.Networks {
		if !byDocker[n.ID] {
			left = append(left, n)
		}
	}
	return ours, lost, left
}
