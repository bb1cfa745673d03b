package topology

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/mybr/mybr/internal/view"
)

// describe says what is drawn of a bridge.
func describe(n gatheredNetwork) network {
	d := network{title: networkTitle(n.Network), bridge: printable(n.Bridge), linked: !n.Internal, more: len(n.endpoints)}
	for _, s := range n.Subnets {
		d.subnets = append(d.subnets, describeSubnet(s, n.Internal))
		if s.Gateway.IsValid() && s.Gateway != s.Address.Addr() {
			d.notes = append(d.notes, "gateway "+addr(s.Gateway))
		}
	}
	if n.Internal {
		d.notes = append(d.notes, "internal: no way out")
	}
	if !n.ICC {
		d.notes = append(d.notes, "no icc: containers don't reach each other")
	}
	if n.ICCList != "" {
		d.notes = append(d.notes, "icc by a list")
	}
	if !n.Owned {
		d.notes = append(d.notes, "bridge not made by mybr")
	}
	if n.MTU != 0 {
		d.notes = append(d.notes, "MTU "+strconv.Itoa(n.MTU))
	}
	for _, t := range n.Trusted {
		d.notes = append(d.notes, "ports open directly to "+printable(t))
	}
	return d
}

// describeSubnet has the bridge's address, or the subnet where the bridge has none.
func describeSubnet(s view.Subnet, internal bool) subnet {
	d := subnet{prefix(s.Address), modeText(s, internal)}
	if !s.Address.IsValid() {
		d.address = prefix(s.Prefix)
		if s.Mode != "isolated" {
			d.mode = join(d.mode, "not on the bridge")
		}
	}
	return d
}

// modeText says how packets pass between the subnet and the world.
func modeText(s view.Subnet, internal bool) string {
	switch {
	case s.Mode == "isolated":
		return "isolated, even from the host"
	case internal:
		return ""
	case s.Mode == "routed":
		return "routed"
	case s.Mode != "nat" && s.Mode != "nat-unprotected":
		return printable(s.Mode)
	}
	text := "NAT"
	switch {
	case s.SNAT.IsValid():
		text = "NAT as " + addr(s.SNAT)
	case !s.Masquerade:
		text = "NAT of published ports only"
	}
	if s.Mode == "nat-unprotected" {
		text += ", unprotected"
	}
	return text
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", " + b
}

// addressesOf are those of the container on this network; its MAC where it has none.
func addressesOf(e view.Endpoint) []string {
	list := prefixes(e.IPv4, e.IPv6)
	if len(list) == 0 && e.MAC != "" {
		list = []string{printable(e.MAC)}
	}
	return list
}

func prefixes(list ...netip.Prefix) (s []string) {
	for _, p := range list {
		if p.IsValid() {
			s = append(s, prefix(p))
		}
	}
	return s
}

// prefix and addr have texts of others in them: an address can have a zone.
func prefix(p netip.Prefix) string { return printable(p.String()) }
func addr(a netip.Addr) string     { return printable(a.String()) }

// plural is "1 network", "2 networks".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
