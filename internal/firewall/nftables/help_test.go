package nftables

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Most tests wait for packets that must not come.
	for name, value := range map[string]string{"rapid.checks": "20", "rapid.nofailfile": "true", "test.parallel": "6"} {
		if !slices.ContainsFunc(os.Args, func(a string) bool { return strings.Contains(a, name) }) {
			if err := flag.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
	goleak.VerifyTestMain(m)
}

// network is an ordinary network: bridge, subnet, everything as Docker has it by default.
func network(bridge, subnet string) firewall.Network {
	return firewall.Network{ID: "id-" + bridge, Bridge: bridge, ICC: true,
		V4: firewall.Family{Prefix: netip.MustParsePrefix(subnet), Masquerade: true, Hairpin: true}}
}

// binding is one of count ports, as "tcp 0.0.0.0:8080 172.18.0.2:80".
func binding(n firewall.Network, spec string, count uint16) firewall.Port {
	var proto, host, to string
	if _, err := fmt.Sscan(spec, &proto, &host, &to); err != nil {
		panic(err)
	}
	protos := map[string]model.Proto{"tcp": model.TCP, "udp": model.UDP, "sctp": model.SCTP}
	return firewall.Port{Bridge: n.Bridge, ICC: n.ICC, PortBinding: model.PortBinding{
		Proto: protos[proto], Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(to), Count: count}}
}

// opening is one to count ports from the first on, as "tcp 172.18.0.2"; br0 has
// 172.18.0.0/16, br1 172.19.0.0/16 and so on.
func opening(spec string, first, count uint16, from string) firewall.Opening {
	proto, addr, _ := strings.Cut(spec, " ")
	a := netip.MustParseAddr(addr)
	p := map[string]model.Proto{"tcp": model.TCP, "udp": model.UDP, "sctp": model.SCTP}[proto]
	return firewall.Opening{Bridge: fmt.Sprintf("br%d", a.As4()[1]-18), Addr: a, From: from,
		PortSpan: model.PortSpan{Proto: p, First: first, Count: count}}
}

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

// in is a text of addresses in a family.
func (fam family) in(text string) string {
	if fam.Family == model.IPv4 {
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

// dual is an IPv4 policy with the same in IPv6.
func dual(p firewall.Policy) firewall.Policy {
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
	return p
}

func newBackend(t *testing.T) *Backend {
	t.Helper()
	b, err := New(firewall.Config{Warn: func(f string, a ...any) { t.Errorf("warning: "+f, a...) }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func apply(t *testing.T, b *Backend, have *firewall.Policy, want firewall.Policy) {
	t.Helper()
	if err := b.Apply(context.Background(), have, want); err != nil {
		t.Fatal(err)
	}
}

// list is nft(8)'s list of mybr's table in a family, without what was counted; "": there is none.
func list(h *nettest.Host, fam family) string {
	if !strings.Contains(h.Run("nft", "list", "tables"), "table "+fam.name()+"\n") {
		return ""
	}
	return h.Run("nft", "--stateless", "list", "table", fam.word, tableName)
}
