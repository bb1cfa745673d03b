package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// This file reads rules that look at one direction of a flow. The kernel tells a direction in one
// byte (nft_ct.c, nft_ct_get_dump), and the library, as of its version 0.3.0, gives up a chain in
// which it does not find four.

// rulesOf lists the rules of a chain, with the expressions that the chains of egress lists are
// made of. Any other expression is nil, which no rule of mybr's has.
func (fam family) rulesOf(chainName string) (rules []rule, err error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	of, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: []byte(tableName + "\x00")},
		{Type: unix.NFTA_RULE_CHAIN, Data: []byte(chainName + "\x00")},
	})
	if err != nil {
		return nil, err
	}
	const begin = 4 // struct nfgenmsg: family, version, and two bytes that mean nothing here
	msgs, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{byte(fam.table), 0, 0, 0}, of...),
	})
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		if len(m.Data) < begin {
			return nil, fmt.Errorf("a rule of %d bytes", len(m.Data))
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[begin:])
		if err != nil {
			return nil, err
		}
		var r rule
		for ad.Next() {
			if ad.Type() == unix.NFTA_RULE_EXPRESSIONS {
				ad.Nested(func(list *netlink.AttributeDecoder) error {
					for list.Next() {
						list.Nested(func(one *netlink.AttributeDecoder) error {
							e, err := fam.expression(one)
							r.exprs = append(r.exprs, e)
							return err
						})
					}
					return list.Err()
				})
			}
		}
		if err := ad.Err(); err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// expression reads one expression of a rule.
func (fam family) expression(ad *netlink.AttributeDecoder) (e expr.Any, err error) {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_EXPR_NAME:
			switch ad.String() {
			case "ct":
				e = &expr.Ct{}
			case "meta":
				e = &expr.Meta{}
			case "cmp":
				e = &expr.Cmp{}
			case "range":
				e = &expr.Range{}
			case "bitwise":
				e = &expr.Bitwise{}
			case "lookup":
				e = &expr.Lookup{}
			case "fib":
				e = &expr.Fib{}
			case "immediate":
				e = &expr.Verdict{}
			}
		case unix.NFTA_EXPR_DATA:
			switch of := e.(type) {
			case nil:
			case *expr.Ct:
				err = readCt(of, ad.Bytes())
			default:
				err = expr.Unmarshal(byte(fam.table), ad.Bytes(), e)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return e, ad.Err()
}

// readCt is what the library can't do.
func readCt(to *expr.Ct, data []byte) error {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_CT_KEY:
			to.Key = expr.CtKey(ad.Uint32())
		case unix.NFTA_CT_DREG:
			to.Register = ad.Uint32()
		case unix.NFTA_CT_DIRECTION:
			to.Direction = uint32(ad.Uint8())
		}
	}
	return ad.Err()
}
