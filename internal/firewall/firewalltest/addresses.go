package firewalltest

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// Tests are written in IPv4 addresses. In IPv6, 172.18.0.2 is fd00:18::2, 192.0.2.1 is
// 2001:db8::1, 127.0.0.0/8 is ::1/128, every other network is one of 64 bits.

// sixth is the IPv6 address that stands for an IPv4 address.
func sixth(a netip.Addr) netip.Addr {
	if !a.Is4() || a.IsUnspecified() {
		return netip.IPv6Unspecified()
	}
	b := a.As4()
	out := [16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: b[3]}
	switch b[0] {
	case 127:
		return netip.IPv6Loopback()
	case 172:
		out = [16]byte{0: 0xfd, 3: b[1]/10<<4 | b[1]%10, 15: b[3]}
	case 192:
	default:
		out[5], out[7] = b[0], b[2]
	}
	return netip.AddrFrom16(out)
}

func sixthPrefix(p netip.Prefix) netip.Prefix {
	bits := 64
	if p.IsSingleIP() || p.Addr().IsLoopback() {
		bits = 128
	}
	return netip.PrefixFrom(sixth(p.Addr()), bits)
}

func sixthPort(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(sixth(a.Addr()), a.Port())
}

// In is a text of addresses in a family.
func In(f model.Family, text string) string {
	if f == model.IPv4 {
		return text
	}
	return regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+(/\d+|:\d+)?`).ReplaceAllStringFunc(text, func(s string) string {
		switch {
		case strings.Contains(s, "/"):
			return sixthPrefix(netip.MustParsePrefix(s)).String()
		case strings.Contains(s, ":"):
			return sixthPort(netip.MustParseAddrPort(s)).String()
		}
		return sixth(netip.MustParseAddr(s)).String()
	})
}

// Dual is an IPv4 policy with the same in IPv6.
func Dual(p firewall.Policy) firewall.Policy {
	p.Networks, p.Ports, p.Openings = slices.Clone(p.Networks), slices.Clone(p.Ports), slices.Clone(p.Openings)
	for i := range p.Networks {
		n := &p.Networks[i]
		if n.V6 = n.V4; n.V4.Prefix.IsValid() {
			n.V6.Prefix = sixthPrefix(n.V4.Prefix)
		}
		if n.V4.SNAT.IsValid() {
			n.V6.SNAT = sixth(n.V4.SNAT)
		}
	}
	for _, port := range p.Ports {
		port.Host, port.Container = sixthPort(port.Host), sixthPort(port.Container)
		p.Ports = append(p.Ports, port)
	}
	for _, o := range p.Openings {
		o.Addr = sixth(o.Addr)
		p.Openings = append(p.Openings, o)
	}
	for _, l := range slices.Clone(p.Limits) {
		l.Addr = sixth(l.Addr)
		p.Limits = append(p.Limits, l)
	}
	return p
}
