package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

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
	var routes []netip.Prefix
	msgs, err := k.dump(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, &nl.RtMsg{})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, m := range msgs {
		r, _, err := parseRoute(m)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		if r.IsValid() && r.Bits() > 0 {
			routes = append(routes, r.Masked())
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
	msgs, err := k.dump(unix.RTM_GETLINK, unix.RTM_NEWLINK, nl.NewIfInfomsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	links := make([]found, 0, len(msgs))
	for _, m := range msgs {
		l, err := parseLink(m)
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		links = append(links, l)
	}
	return links, nil
}

// dumpAddresses returns the addresses by link index: those of one link, or of all with 0.
func (k kernel) dumpAddresses(index int) (map[int][]address, error) {
	header := nl.NewIfAddrmsg(unix.AF_UNSPEC)
	header.Index = uint32(index)
	msgs, err := k.dump(unix.RTM_GETADDR, unix.RTM_NEWADDR, header)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	addresses := map[int][]address{}
	for _, m := range msgs {
		index, a, err := parseAddress(m)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		if a.IsValid() {
			addresses[index] = append(addresses[index], a)
		}
	}
	return addresses, nil
}

// getLink reads one link by its name, or by its index where that is not 0. No such
// link is ErrNotFound.
func (k kernel) getLink(name string, index int) (found, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	req.AddData(header)
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
func parseLink(m []byte) (found, error) {
	header := nl.DeserializeIfInfomsg(m)
	l := found{index: int(header.Index), up: header.Flags&unix.IFF_UP != 0}
	attrs, err := nl.ParseRouteAttr(m[header.Len():])
	if err != nil {
		return l, err
	}
	elsewhere := false // the other end is in another namespace, where the index means another link
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFLA_IFNAME:
			l.name = nl.BytesToString(a.Value)
		case unix.IFLA_IFALIAS:
			l.alias = nl.BytesToString(a.Value)
		case unix.IFLA_ADDRESS:
			if len(a.Value) == len(l.mac) {
				l.mac = model.MAC(a.Value)
			}
		case unix.IFLA_MTU:
			l.mtu = int(binary.NativeEndian.Uint32(a.Value))
		case unix.IFLA_MASTER:
			l.master = int(binary.NativeEndian.Uint32(a.Value))
		case unix.IFLA_LINK:
			l.peer = int(binary.NativeEndian.Uint32(a.Value))
		case unix.IFLA_CARRIER_UP_COUNT: // from Linux 4.16 on
			l.hadLink = binary.NativeEndian.Uint32(a.Value) > 0
		case unix.IFLA_LINK_NETNSID:
			elsewhere = true
		case unix.IFLA_LINKINFO:
			if err := l.parseInfo(a.Value); err != nil {
				return l, err
			}
		}
	}
	if elsewhere || l.kind != kindVeth {
		l.peer = 0
	}
	return l, nil
}

func (l *found) parseInfo(info []byte) error {
	attrs, err := nl.ParseRouteAttr(info)
	if err != nil {
		return err
	}
	var master string
	var port []syscall.NetlinkRouteAttr
	for _, a := range attrs {
		switch a.Attr.Type &^ unix.NLA_F_NESTED {
		case nl.IFLA_INFO_KIND:
			l.kind = nl.BytesToString(a.Value)
		case nl.IFLA_INFO_SLAVE_KIND:
			master = nl.BytesToString(a.Value)
		case nl.IFLA_INFO_SLAVE_DATA:
			if port, err = nl.ParseRouteAttr(a.Value); err != nil {
				return err
			}
		}
	}
	if master != kindBridge {
		return nil
	}
	for _, a := range port {
		switch a.Attr.Type {
		case nl.IFLA_BRPORT_MODE:
			l.hairpin = a.Value[0] != 0
		case nl.IFLA_BRPORT_ISOLATED:
			l.isolated = a.Value[0] != 0
		}
	}
	return nil
}

// parseAddress reads an RTM_NEWADDR message. The local address is IFA_LOCAL; IPv6
// addresses without a peer have only IFA_ADDRESS.
func parseAddress(m []byte) (index int, found address, err error) {
	header := nl.DeserializeIfAddrmsg(m)
	attrs, err := nl.ParseRouteAttr(m[header.Len():])
	if err != nil {
		return 0, found, err
	}
	found.flags = uint32(header.Flags)
	var local, remote netip.Addr
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_ADDRESS:
			remote, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_FLAGS: // has those that don't fit into the header, too
			found.flags = binary.NativeEndian.Uint32(a.Value)
		case ifaProto:
			found.origin = a.Value[0]
		}
	}
	if !local.IsValid() {
		local = remote
	}
	found.Prefix = netip.PrefixFrom(local, int(header.Prefixlen))
	return int(header.Index), found, nil
}
