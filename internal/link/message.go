package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// The kinds of link made here, as IFLA_INFO_KIND has them.
const (
	kindBridge = "bridge"
	kindVeth   = "veth"
)

// noLinkLocalLearn is the bit of BR_BOOLOPT_NO_LL_LEARN (linux/if_bridge.h).
const noLinkLocalLearn = 1 << 0

// defaultMTU is what the kernel gives a new bridge or veth, in bytes (ETH_DATA_LEN of
// linux/if_ether.h).
const defaultMTU = 1500

// minMTU6 is the least with which a link has IPv6, in bytes (RFC 8200, section 5).
const minMTU6 = 1280

// change is what one RTM_NEWLINK message alters of a link; zero fields stay as they are.
type change struct {
	name   string
	alias  string
	mac    model.MAC
	mtu    int
	master int
	up     bool
	down   bool // and not up
}

// empty reports whether nothing is to be altered.
func (c change) empty() bool { return c == change{} }

// words says what the change alters of a link, save the bridge that it is put into. The
// alias of a link that is being made (index 0) goes without saying.
func (c change) words(l found) (all []string) {
	if c.name != "" {
		all = append(all, "name "+l.name+" -> "+c.name)
	}
	if c.alias != "" && l.index != 0 {
		all = append(all, fmt.Sprintf("alias %q -> %q", l.alias, c.alias))
	}
	if !c.mac.IsZero() {
		all = append(all, fmt.Sprintf("MAC %s -> %s", l.mac, c.mac))
	}
	if c.mtu != 0 {
		all = append(all, fmt.Sprintf("MTU %d -> %d", l.mtu, c.mtu))
	}
	if c.up {
		all = append(all, "bring up")
	}
	return all
}

// attributes adds the change to a message, behind its header.
func (c change) attributes(req *nl.NetlinkRequest) {
	if c.name != "" {
		req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(c.name)))
	}
	if c.alias != "" {
		req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(c.alias)))
	}
	if !c.mac.IsZero() {
		req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, c.mac[:]))
	}
	if c.mtu != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(c.mtu))))
	}
	if c.master != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(c.master))))
	}
}

// header begins a message about a link; index 0 leaves it to IFLA_IFNAME.
func (c change) header(index int) *nl.IfInfomsg {
	h := nl.NewIfInfomsg(unix.AF_UNSPEC)
	h.Index = int32(index)
	if c.up {
		h.Flags, h.Change = unix.IFF_UP, unix.IFF_UP
	}
	if c.down {
		h.Change = unix.IFF_UP
	}
	return h
}

// setLink alters the link with an index, in one message.
func (k kernel) setLink(index int, c change) error {
	if c.empty() {
		return nil
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	req.AddData(c.header(index))
	c.attributes(req)
	return k.execute(req)
}

// makeBridge makes a bridge, down. The MAC belongs into this message: an address that
// is set keeps the bridge from taking over those of its ports. The MTU does not: only
// one that is changed later keeps the bridge from following the MTU of its ports.
//
// The bridge doesn't learn who is where from what it forwards to nobody: an LLDP frame would tell
// it past every hook of nf_tables that somebody else's MAC is at the sender's port
// (br_handle_frame).
func (k kernel) makeBridge(b Bridge) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	c := change{name: b.Name, mac: b.MAC}
	req.AddData(c.header(0))
	c.attributes(req)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte(kindBridge))
	// struct br_boolopt_multi of linux/if_bridge.h: the value and the mask of its bits. A kernel
	// before 5.0 passes over it.
	options := append(nl.Uint32Attr(noLinkLocalLearn), nl.Uint32Attr(noLinkLocalLearn)...)
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(unix.IFLA_BR_MULTI_BOOLOPT, options)
	req.AddData(info)
	return k.execute(req)
}

// makeVeth makes a pair with its host end a port of the bridge, and up, in one message.
// The kernel takes neither alias nor port flags for a link that it is making: the
// second message is setPort.
func (k kernel) makeVeth(v Veth, bridge int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	c := change{name: v.Host, mac: v.hostMAC(), mtu: v.MTU, master: bridge, up: true}
	req.AddData(c.header(0))
	c.attributes(req)

	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte(kindVeth))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(v.Peer))
	if !v.MAC.IsZero() {
		peer.AddRtAttr(unix.IFLA_ADDRESS, v.MAC[:])
	}
	if v.MTU != 0 {
		peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(v.MTU)))
	}
	req.AddData(info)
	return k.execute(req)
}

// setPort gives a pair's host end its alias and bridge port flags. The kernel reads the
// flags (IFLA_INFO_SLAVE_DATA) before it looks at the rest of a message, so the link
// must be a port already.
func (k kernel) setPort(v Veth) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	c := change{name: v.Host, alias: v.Alias}
	req.AddData(c.header(0))
	c.attributes(req)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, []byte(kindBridge))
	port := info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil)
	port.AddRtAttr(nl.IFLA_BRPORT_MODE, onOff(v.Hairpin))
	port.AddRtAttr(nl.IFLA_BRPORT_ISOLATED, onOff(v.Isolated))
	req.AddData(info)
	return k.execute(req)
}

// isolate sets the flag "isolated" of a bridge port.
func (k kernel) isolate(name string) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	c := change{name: name}
	req.AddData(c.header(0))
	c.attributes(req)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, []byte(kindBridge))
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil).AddRtAttr(nl.IFLA_BRPORT_ISOLATED, onOff(true))
	req.AddData(info)
	return k.execute(req)
}

// deleteLink deletes a link, and with a veth its other end. One that is gone is fine.
func (k kernel) deleteLink(index int) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(change{}.header(index))
	if err := k.execute(req); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

// addAddress adds an address with its prefix length to a link. One that is there is fine.
// An IPv6 address is used without looking for duplicates of it first (RFC 4862, section
// 5.4): for a second nothing could be bound to it, and on a bridge without ports, which has
// no carrier, for ever.
func (k kernel) addAddress(index int, p netip.Prefix) error {
	flags := unix.NLM_F_CREATE | unix.NLM_F_EXCL | unix.NLM_F_ACK
	if p.Addr().Is6() {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE | unix.NLM_F_ACK // one of the kernel's is there
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, flags)
	nameAddress(req, index, p)
	if p.Addr().Is4() && p.Bits() < 31 { // RFC 3021: /31 and /32 have no broadcast address
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(p)))
	}
	if err := k.execute(req); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// deleteAddress takes an address off a link. One that is gone is fine.
func (k kernel) deleteAddress(index int, p netip.Prefix) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELADDR, unix.NLM_F_ACK)
	nameAddress(req, index, p)
	err := k.execute(req)
	for _, gone := range []error{unix.EADDRNOTAVAIL, unix.ENODEV, unix.ENXIO} { // ENXIO: the link has no IPv6
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

// nameAddress adds the header and the attributes that say which address a message is about.
func nameAddress(req *nl.NetlinkRequest, index int, p netip.Prefix) {
	header := nl.NewIfAddrmsg(family(p.Addr()))
	header.Index, header.Prefixlen = uint32(index), uint8(p.Bits())
	if p.Addr().Is6() {
		header.Flags = unix.IFA_F_NODAD
	}
	req.AddData(header)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, p.Addr().AsSlice()))
}

// family returns an address's family as the kernel numbers it.
func family(a netip.Addr) int {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// broadcast returns the last address of an IPv4 subnet.
func broadcast(p netip.Prefix) []byte {
	a := p.Addr().As4()
	last := binary.BigEndian.Uint32(a[:]) | uint32(uint64(1)<<(32-p.Bits())-1)
	return binary.BigEndian.AppendUint32(nil, last)
}

// onOff is the value of a bridge port flag.
func onOff(on bool) []byte {
	if on {
		return nl.Uint8Attr(1)
	}
	return nl.Uint8Attr(0)
}
