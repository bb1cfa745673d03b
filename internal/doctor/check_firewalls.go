package doctor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/view"
)

// This file is about the firewalls of others: the other variant of iptables, ufw and firewalld.

func lookVariants(l *look) {
	sets, err := l.filters()
	if err != nil {
		l.unknown(err)
		return
	}
	rules := map[bool]int{}
	for _, s := range sets {
		rules[s.legacy] += s.rules
	}
	if rules[false] == 0 || rules[true] == 0 {
		l.saw("rules: nft %d, legacy %d", rules[false], rules[true])
		return
	}
	used := false // the variant in use is legacy
	if p, err := l.running(); err == nil && p.Firewall != "nftables" {
		used = strings.Contains(p.Firewall, "legacy")
	} else {
		used = rules[true] > rules[false]
	}
	var mend []string
	for _, s := range sets {
		if s.legacy != used && s.rules > 0 {
			mend = append(mend, clear(s)...)
		}
	}
	l.found(Warning, mend, "both variants of iptables hold rules: nft %d, legacy %d", rules[false], rules[true])
}

// clear is the command that saves what a variant holds, and removes it.
func clear(s *ruleset) []string {
	save := fmt.Sprintf("%s-save >/root/%s.rules", s.by, s.by)
	empty := `sed -n -e '/^\*/p' -e 's/^:\([A-Z]*\) [A-Z][A-Z]* .*/:\1 ACCEPT [0:0]/p' -e '/^COMMIT/p' /root/` + s.by + ".rules | " + s.by + "-restore"
	return []string{save + " && " + empty}
}

// ufw reports whether ufw is installed, and whether it is active.
func (l *look) ufw() (installed, active bool, err error) {
	conf, err := l.read("/etc/ufw/ufw.conf")
	if errors.Is(err, os.ErrNotExist) {
		return false, false, nil
	}
	return true, strings.Contains("\n"+conf, "\nENABLED=yes"), err
}

func lookInput(l *look) {
	if _, ok := l.needs(); !ok {
		return
	}
	v, err := l.records()
	sets, err2 := l.filters()
	h, err3 := l.hostFacts()
	_, withUFW, err4 := l.ufw()
	if err := firstOf(err, err2, err3, err4); err != nil {
		l.unknown(err)
		return
	}
	relayed := 0
	for _, port := range v.Ports {
		if port.Carried != view.ByProcess || port.Host.Addr().IsLoopback() || port.Policy != "" { // the last: it is for these rules to say
			continue
		}
		relayed++
		for _, set := range sets {
			for _, up := range h.outside(set.ipv6) {
				p := packet{in: up, proto: port.Proto, port: port.Host.Port(), states: []string{"NEW"}}
				first, _, _ := set.drops("INPUT", p)
				if set.ipv6 != port.Host.Addr().Is6() || first == nil {
					continue
				}
				l.found(Warning, letIn(set, port, withUFW), "%s drops what comes from %s to %s %s, which mybr relays", first.where(), up, port.Proto, port.Host)
			}
		}
	}
	if len(l.Seen) == 0 {
		l.saw("nothing drops what comes to %s that mybr relays", count(relayed, "port binding"))
	}
}

// letIn is the command that lets in what comes to a port binding.
func letIn(set *ruleset, port view.Port, withUFW bool) []string {
	ports := strconv.Itoa(int(port.Host.Port()))
	if port.Count > 1 {
		ports += ":" + strconv.Itoa(int(port.Host.Port())+int(port.Count)-1)
	}
	if withUFW {
		return command("ufw", "allow", ports+"/"+port.Proto)
	}
	return command(set.by, "-w", "-I", "INPUT", "-p", port.Proto, "--dport", ports, "-j", "ACCEPT")
}

func lookUFW(l *look) {
	installed, active, err := l.ufw()
	sets, err2 := l.filters()
	nets, err3 := l.networks()
	if err := firstOf(err, err2, err3); err != nil {
		l.unknown(err)
		return
	}
	if !active {
		l.saw("%s", map[bool]string{true: "ufw is not active", false: "ufw is not installed"}[installed])
		return
	}
	for _, set := range sets {
		for _, n := range nets {
			s, ok := subnet(n, set.ipv6)
			if !ok {
				continue
			}
			first, _, _ := set.drops("INPUT", packet{in: n.Bridge, src: s, states: []string{"NEW"}})
			if first != nil {
				l.found(Note, command("ufw", "allow", "in", "on", n.Bridge), "ufw is active: %s drops what containers on %s send to the host itself, save what a rule lets pass", first.where(), n.Bridge)
			}
		}
	}
	if len(l.Seen) == 0 {
		l.saw("ufw is active, and lets in what containers send to the host")
	}
}

// acceptingZone is firewalld's zone of Docker's bridges, and of mybr's.
const acceptingZone = "docker"

func lookFirewalld(l *look) {
	nets, err := l.networks()
	if err != nil {
		l.unknown(err)
		return
	}
	var bridges []string
	for _, n := range nets {
		bridges = append(bridges, n.Bridge)
	}
	if l.Zones == nil {
		l.unknown(errNotAsked)
		return
	}
	z, err := l.Zones(l.ctx, bridges)
	switch {
	case err != nil:
		l.unknown(err)
		return
	case !z.Running:
		l.saw("firewalld does not run")
		return
	}
	for _, b := range bridges {
		if in := z.Of[b]; in != acceptingZone {
			l.found(Fault, command("firewall-cmd", "--zone="+acceptingZone, "--change-interface="+b), "%s is in firewalld's %s", b, zoneName(in))
		}
	}
	if len(l.Seen) == 0 {
		l.saw("firewalld has %s in its zone %s", count(len(bridges), "bridge"), acceptingZone)
	}
}

func zoneName(zone string) string {
	if zone == "" {
		return "default zone"
	}
	return "zone " + zone
}
