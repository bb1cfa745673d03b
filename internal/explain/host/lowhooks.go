package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/dump"
	"github.com/mybr/mybr/internal/explain"
)

// lowHook is the name of a hook below the network layer as nft(8) has it; "": it is another one
// (linux/netfilter.h, linux/netfilter_bridge.h, linux/netfilter_arp.h).
func lowHook(family byte, number uint32) (name, hook string) {
	hooks := []string{}
	switch family {
	case unix.NFPROTO_NETDEV:
		name, hooks = "netdev", []string{"ingress", "egress"}
	case unix.NFPROTO_INET:
		name, hooks = "inet", []string{5: "ingress"}
	case unix.NFPROTO_BRIDGE:
		name, hooks = "bridge", []string{"prerouting", "input", "forward", "output", "postrouting"}
	case unix.NFPROTO_ARP:
		name, hooks = "arp", []string{"input", "output"}
	}
	if int(number) < len(hooks) {
		hook = hooks[number]
	}
	return name, hook
}

// lowChains lists the base chains below the network layer, without their rules. nft(8) 1.0.6
// does not print in JSON which links they are at.
func lowChains() (all []explain.LowChain, err error) {
	answers, err := dump.Whole(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP)
		request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: unix.NFNETLINK_V0})
		return request.Execute(unix.NETLINK_NETFILTER, 0)
	})
	if errors.Is(err, unix.EINVAL) { // the kernel has no nf_tables
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list chains of nf_tables: %w", err)
	}
	for _, answer := range answers {
		if len(answer) < nl.SizeofNfgenmsg {
			return nil, fmt.Errorf("list chains of nf_tables: a message of %d bytes", len(answer))
		}
		c, err := lowChain(answer[0], answer[nl.SizeofNfgenmsg:])
		if err != nil {
			return nil, fmt.Errorf("list chains of nf_tables: %w", err)
		}
		if c.Hook != "" {
			all = append(all, c)
		}
	}
	return all, nil
}

// Attributes within NFTA_CHAIN_HOOK, and of the links there (linux/netfilter/nf_tables.h). A
// prefix stands for all links that are called so.
const (
	hookNumber   = 1
	hookLink     = 3
	hookLinks    = 4
	devicePrefix = 2
)

func lowChain(family byte, message []byte) (c explain.LowChain, err error) {
	attributes, err := nl.ParseRouteAttr(message)
	if err != nil {
		return c, err
	}
	name := func(value []byte) string { return string(bytes.TrimRight(value, "\x00")) }
	for _, a := range attributes {
		switch a.Attr.Type & nl.NLA_TYPE_MASK {
		case unix.NFTA_CHAIN_TABLE:
			c.Table = name(a.Value)
		case unix.NFTA_CHAIN_NAME:
			c.Name = name(a.Value)
		case unix.NFTA_CHAIN_POLICY:
			c.Drops = len(a.Value) == 4 && binary.BigEndian.Uint32(a.Value) == 0 // NF_DROP
		case unix.NFTA_CHAIN_HOOK:
			inside, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return c, err
			}
			for _, b := range inside {
				switch b.Attr.Type & nl.NLA_TYPE_MASK {
				case hookNumber:
					if len(b.Value) == 4 {
						c.Family, c.Hook = lowHook(family, binary.BigEndian.Uint32(b.Value))
					}
				case hookLink:
					c.Links = append(c.Links, name(b.Value))
				case hookLinks:
					links, err := nl.ParseRouteAttr(b.Value)
					if err != nil {
						return c, err
					}
					for _, l := range links {
						link := name(l.Value)
						if l.Attr.Type&nl.NLA_TYPE_MASK == devicePrefix {
							link += "*"
						}
						c.Links = append(c.Links, link)
					}
				}
			}
		}
	}
	return c, nil
}
