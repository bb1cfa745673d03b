package link

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// ifaProto is IFA_PROTO of linux/if_addr.h, where an address has come from.
const ifaProto = 11

// found is one link as the kernel has it.
type found struct {
	name, kind, alias  string
	index, master, mtu int
	mac                model.MAC
	up, hadLink        bool
	peer               int  // a veth's other end, if that is in this namespace; else 0
	hairpin, isolated  bool // bridge port flags

	// conf are its IPv6 settings, if it has IPv6 (has6): the values of those files of
	// net/ipv6/conf that are asked for here, which come with the link.
	conf struct{ acceptRA, disableIPv6 int32 }
	has6 bool
}

// address is one address of a link as the kernel has it.
type address struct {
	netip.Prefix
	flags  uint32 // IFA_F_… of linux/if_addr.h
	origin uint8  // IFAPROT_… of linux/if_addr.h; 0: the kernel doesn't say
}

// Links returns every link of the namespace with its addresses, by index, save those that
// are being destroyed.
func (a *Applier) Links() ([]model.Link, error) {
	k, leaving := a.kernel(), a.leaving.there()
	all, err := k.dumpLinks()
	if err != nil {
		return nil, err
	}
	addresses, err := k.dumpAddresses(0)
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(all))
	for _, l := range all {
		names[l.index] = l.name
	}
	links := make([]model.Link, 0, len(all))
	for _, l := range all {
		if leaving[l.index] != "" {
			continue
		}
		var of []netip.Prefix
		for _, a := range addresses[l.index] {
			of = append(of, a.Prefix)
		}
		links = append(links, model.Link{
			Name: l.name, Kind: l.kind, Alias: l.alias, MAC: l.mac, MTU: l.mtu, Master: names[l.master], Isolated: l.isolated,
			Addresses: of, Up: l.up, HadLink: l.hadLink,
		})
	}
	return links, nil
}

// Routes returns where unicast routes of all tables lead and the subnets of all
// addresses, of both families, sorted, each once. Default routes are left out.
func (a *Applier) Routes() ([]netip.Prefix, error) {
	k := a.kernel()
	all, err := k.dumpRoutes(unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	var routes []netip.Prefix
	for _, r := range all {
		if r.dst.IsValid() && r.dst.Bits() > 0 {
			routes = append(routes, r.dst.Masked())
		}
	}
	addresses, err := k.dumpAddresses(0)
	if err != nil {
		return nil, err
	}
	for _, of := range addresses {
		for _, a := range of {
			routes = append(routes, a.Masked())
		}
	}
	slices.SortFunc(routes, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return slices.Compact(routes), nil
}

func (k kernel) dumpLinks() ([]found, error) {
	links, err := dump(k, unix.RTM_GETLINK, unix.RTM_NEWLINK, linkHeader{nl.NewIfInfomsg(unix.AF_UNSPEC), withoutCounters()}, parseLink)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// withoutCounters asks for links without what they have counted, which the kernel would sum
// up for each processor: that would be most of the work.
func withoutCounters() []byte {
	const skipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h
	return nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)).Serialize()
}

// linkHeader is the header of a request for links, and its attributes.
type linkHeader struct {
	*nl.IfInfomsg
	attrs []byte
}

func (h linkHeader) Len() int { return h.IfInfomsg.Len() + len(h.attrs) }

func (h linkHeader) Serialize() []byte { return append(h.IfInfomsg.Serialize(), h.attrs...) }

// dumpAddresses returns the addresses by link index: those of one link, or of all with 0.
func (k kernel) dumpAddresses(index int) (map[int][]address, error) {
	header := nl.NewIfAddrmsg(unix.AF_UNSPEC)
	header.Index = uint32(index)
	all, err := dump(k, unix.RTM_GETADDR, unix.RTM_NEWADDR, header, parseAddress)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	addresses := map[int][]address{}
	for _, a := range all {
		if a.IsValid() {
			addresses[a.link] = append(addresses[a.link], a.address)
		}
	}
	return addresses, nil
}

// linkAddress is an address and the index of its link.
type linkAddress struct {
	address
	link int
}

// getLink reads one link by its name, or by its index where that is not 0. No such
// link is ErrNotFound.
func (k kernel) getLink(name string, index int) (found, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	req.AddData(linkHeader{header, withoutCounters()})
	if index == 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	}
	msgs, err := k.ask(req, unix.RTM_NEWLINK)
	switch {
	case errors.Is(err, unix.ENODEV):
		return found{}, fmt.Errorf("link %s: %w", name, model.ErrNotFound)
	case err != nil:
		return found{}, fmt.Errorf("read link %s: %w", name, err)
	case len(msgs) != 1:
		return found{}, fmt.Errorf("read link %s: %d answers", name, len(msgs))
	}
	return parseLink(msgs[0])
}

// ours reports whether mybr made the link: by its alias, which no other program gives to a
// link of that kind.
func (l found) ours() bool {
	return l.kind == kindBridge && strings.HasPrefix(l.alias, model.AliasNetwork) ||
		l.kind == kindVeth && strings.HasPrefix(l.alias, model.AliasEndpoint)
}

// foreign is the error for a wanted name that a link has which mybr did not make.
func (l found) foreign() error {
	kind := l.kind
	if kind == "" {
		kind = "hardware"
	}
	return fmt.Errorf("link %s is there already and is not mybr's (kind %s, alias %q): %w", l.name, kind, l.alias, model.ErrConflict)
}

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
