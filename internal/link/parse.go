package link

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// parseLink reads an RTM_NEWLINK message; rtnetlink(7) and linux/if_link.h have the fields.
func parseLink(m []byte) (l found, err error) {
	if len(m) < unix.SizeofIfInfomsg {
		return l, fmt.Errorf("a link of %d bytes", len(m))
	}
	header := nl.DeserializeIfInfomsg(m)
	l.index, l.up = int(header.Index), header.Flags&unix.IFF_UP != 0
	elsewhere := false // the other end is in another namespace, where the index means another link
	var info, families []byte
	err = attributes(m[header.Len():], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.name = text(value)
		case unix.IFLA_IFALIAS:
			l.alias = text(value)
		case unix.IFLA_ADDRESS:
			if len(value) == len(l.mac) {
				l.mac = model.MAC(value)
			}
		case unix.IFLA_MTU:
			l.mtu = int(number(value))
		case unix.IFLA_MASTER:
			l.master = int(number(value))
		case unix.IFLA_LINK:
			l.peer = int(number(value))
		case unix.IFLA_CARRIER_UP_COUNT: // from Linux 4.16 on
			l.hadLink = number(value) > 0
		case unix.IFLA_LINK_NETNSID:
			elsewhere = true
		case unix.IFLA_LINKINFO:
			info = value
		case unix.IFLA_AF_SPEC:
			families = value
		}
	})
	if err := errors.Join(err, l.parseInfo(info), l.parseFamilies(families)); err != nil {
		return l, err
	}
	if elsewhere || l.kind != kindVeth {
		l.peer = 0
	}
	return l, nil
}

func (l *found) parseInfo(info []byte) error {
	port, master := []byte(nil), false // of a bridge
	err := attributes(info, func(kind uint16, value []byte) {
		switch kind {
		case nl.IFLA_INFO_KIND:
			l.kind = kindOf(value)
		case nl.IFLA_INFO_SLAVE_KIND:
			master = kindOf(value) == kindBridge
		case nl.IFLA_INFO_SLAVE_DATA:
			port = value
		}
	})
	if err != nil || !master {
		return err
	}
	return attributes(port, func(kind uint16, value []byte) {
		switch kind {
		case nl.IFLA_BRPORT_MODE:
			l.hairpin = isSet(value)
		case nl.IFLA_BRPORT_ISOLATED:
			l.isolated = isSet(value)
		}
	})
}

// kindOf is a kind of link; the frequent ones take no memory.
func kindOf(value []byte) string {
	value, _, _ = bytes.Cut(value, []byte{0})
	for _, kind := range []string{kindVeth, kindBridge} {
		if string(value) == kind {
			return kind
		}
	}
	return string(value)
}

// parseFamilies reads what address families have of a link (IFLA_AF_SPEC).
func (l *found) parseFamilies(families []byte) error {
	// Of linux/if_link.h, and of the enumeration in linux/ipv6.h.
	const inet6Conf, atAcceptRA, atDisableIPv6 = 2, 3, 26
	var inet6, conf []byte
	err := attributes(families, func(family uint16, value []byte) {
		if family == unix.AF_INET6 {
			inet6 = value
		}
	})
	if err == nil {
		err = attributes(inet6, func(kind uint16, value []byte) {
			if kind == inet6Conf {
				conf = value
			}
		})
	}
	if err != nil || len(conf) < 4*(atDisableIPv6+1) {
		return err
	}
	l.has6 = true
	l.conf.acceptRA, l.conf.disableIPv6 = int32(number(conf[4*atAcceptRA:])), int32(number(conf[4*atDisableIPv6:]))
	return nil
}

// parseAddress reads an RTM_NEWADDR message. The local address is IFA_LOCAL; IPv6
// addresses without a peer have only IFA_ADDRESS.
func parseAddress(m []byte) (a linkAddress, err error) {
	if len(m) < unix.SizeofIfAddrmsg {
		return a, fmt.Errorf("an address of %d bytes", len(m))
	}
	header := nl.DeserializeIfAddrmsg(m)
	a.link, a.flags = int(header.Index), uint32(header.Flags)
	var local, remote netip.Addr
	err = attributes(m[header.Len():], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS:
			remote, _ = netip.AddrFromSlice(value)
		case unix.IFA_FLAGS: // has those that don't fit into the header, too
			a.flags = number(value)
		case ifaProto:
			if len(value) > 0 {
				a.origin = value[0]
			}
		}
	})
	if !local.IsValid() {
		local = remote
	}
	a.Prefix = netip.PrefixFrom(local, int(header.Prefixlen))
	return a, err
}
