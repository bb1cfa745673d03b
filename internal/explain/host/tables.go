package host

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/dump"
)

// nativeTables lists the tables of nf_tables that iptables doesn't show, as nft(8) names them,
// without asking it.
func nativeTables() (names []string, err error) {
	answers, err := dump.Whole(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP)
		request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: unix.NFNETLINK_V0})
		return request.Execute(unix.NETLINK_NETFILTER, 0)
	})
	if errors.Is(err, unix.EINVAL) { // the kernel has no nf_tables
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tables of nf_tables: %w", err)
	}
	families := map[byte]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}
	for _, answer := range answers {
		if len(answer) < nl.SizeofNfgenmsg {
			continue
		}
		family, ok := families[answer[0]]
		if !ok {
			continue
		}
		attributes, err := nl.ParseRouteAttr(answer[nl.SizeofNfgenmsg:])
		if err != nil {
			return nil, fmt.Errorf("list tables of nf_tables: %w", err)
		}
		for _, a := range attributes {
			name := string(bytes.TrimRight(a.Value, "\x00"))
			if a.Attr.Type != unix.NFTA_TABLE_NAME || iptables(family, name) {
				continue
			}
			// mybr has this one for as long as it runs, whatever filters: it decides nothing.
			if family != "inet" || name != "mybr" {
				names = append(names, family+" "+name)
			}
		}
	}
	return names, nil
}
