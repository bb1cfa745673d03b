package firewall_test

import (
	"fmt"
	"net/netip"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

func protocol(name string) model.Proto {
	return map[string]model.Proto{"tcp": model.TCP, "udp": model.UDP, "sctp": model.SCTP}[name]
}

// network is an ordinary network of IPv4.
func network(bridge, subnet string) firewall.Network {
	return firewall.Network{ID: "id-" + bridge, Bridge: bridge, ICC: true,
		V4: firewall.Family{Prefix: netip.MustParsePrefix(subnet), Masquerade: true, Hairpin: true}}
}

// port is a binding of count ports, as "tcp 0.0.0.0:8080 172.18.0.2:80".
func port(bridge, spec string, count uint16) firewall.Port {
	var proto, host, to string
	if _, err := fmt.Sscan(spec, &proto, &host, &to); err != nil {
		panic(err)
	}
	return firewall.Port{Bridge: bridge, ICC: true, Link: "veth-" + bridge, PortBinding: model.PortBinding{
		Proto: protocol(proto), Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(to), Count: count}}
}

// opening is one to count ports from the first on, as "tcp 172.18.0.2".
func opening(bridge, spec string, first, count uint16, from string) firewall.Opening {
	var proto, addr string
	if _, err := fmt.Sscan(spec, &proto, &addr); err != nil {
		panic(err)
	}
	return firewall.Opening{Bridge: bridge, Link: "veth-" + bridge, Addr: netip.MustParseAddr(addr), From: from,
		PortSpan: model.PortSpan{Proto: protocol(proto), First: first, Count: count}}
}
