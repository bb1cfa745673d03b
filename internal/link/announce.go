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

// announce tells the host, and all neighbours on the bridge, which MAC the addresses of a
// new pair have. Otherwise a neighbour that has lately talked to a container with the same
// address would go on sending to the old MAC, up to a minute (base_reachable_time_ms and
// delay_first_probe_time in arp(7)). Docker announces them from 28.0 on, and earlier
// derives the MAC from the address.
func (p *planner) announce(v Veth) {
	if err := p.sendAnnouncements(v, p.indexes[v.Bridge]); err != nil && p.Warn != nil { // neighbours find out by themselves, later
		p.Warn("veth %s: announce its addresses at %s: %v", v.Host, v.MAC, err)
	}
}

func (p *planner) sendAnnouncements(v Veth, bridge int) error {
	for _, a := range v.addresses() {
		if err := p.deleteNeighbour(a, bridge); err != nil {
			return fmt.Errorf("delete the host's neighbour entry of %s: %w", a, err)
		}
	}
	if err := p.frames.send(announcements(v.MAC, false, v.addresses()...), bridge); err != nil {
		return fmt.Errorf("send announcements: %w", err)
	}
	return nil
}

// addresses returns those of the container whose MAC is known.
func (v Veth) addresses() (all []netip.Addr) {
	for _, a := range []netip.Addr{v.V4, v.V6} {
		if a.IsValid() && !v.MAC.IsZero() {
			all = append(all, a)
		}
	}
	return all
}

// announcements are frames that tell which MAC addresses have: those of a router, or of
// another host.
func announcements(mac model.MAC, router bool, addresses ...netip.Addr) (frames [][]byte) {
	for _, a := range addresses {
		switch {
		case !a.IsValid():
		case a.Is4():
			frames = append(frames, arp(mac, a))
		default:
			frames = append(frames, advertisement(mac, a, router))
		}
	}
	return frames
}

// deleteNeighbour deletes what the host knows of an address on a bridge, if anything
// (rtnetlink(7), RTM_DELNEIGH).
func (k kernel) deleteNeighbour(a netip.Addr, bridge int) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELNEIGH, unix.NLM_F_ACK)
	req.AddData(&neighbour{family: family(a), index: uint32(bridge)})
	req.AddData(nl.NewRtAttr(unix.NDA_DST, a.AsSlice()))
	if err := k.execute(req); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// renewNeighbour has the host try the MAC that an address had on a bridge, and send what
// waits for it, without asking first (rtnetlink(7), RTM_NEWNEIGH).
func (k kernel) renewNeighbour(a netip.Addr, mac model.MAC, bridge int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	req.AddData(&neighbour{family: family(a), index: uint32(bridge), state: unix.NUD_STALE})
	req.AddData(nl.NewRtAttr(unix.NDA_DST, a.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.NDA_LLADDR, mac[:]))
	return k.execute(req)
}

// neighbour is a struct ndmsg of linux/neighbour.h.
type neighbour struct {
	family int
	index  uint32
	state  uint16 // NUD_…
}

func (*neighbour) Len() int { return 12 }

func (n *neighbour) Serialize() []byte {
	b := make([]byte, n.Len())
	b[0] = uint8(n.family)
	binary.NativeEndian.PutUint32(b[4:], n.index)
	binary.NativeEndian.PutUint16(b[8:], n.state)
	return b
}

// arp is an ARP announcement in the container's name: a request, to everybody, in which
// it asks for its own address (RFC 5227, section 2.3).
func arp(mac model.MAC, a netip.Addr) []byte {
	const hardwareEther, opRequest = 1, 1 // RFC 826
	frame := ethernet(model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, unix.ETH_P_ARP)
	frame = binary.BigEndian.AppendUint16(frame, hardwareEther)
	frame = binary.BigEndian.AppendUint16(frame, unix.ETH_P_IP)
	frame = append(frame, 6, 4) // lengths of a MAC and of an address
	frame = binary.BigEndian.AppendUint16(frame, opRequest)
	frame = append(frame, mac[:]...)
	frame = append(frame, a.AsSlice()...)
	frame = append(frame, 0, 0, 0, 0, 0, 0)
	return append(frame, a.AsSlice()...)
}

// advertisement is a neighbour advertisement in the container's name, to all nodes,
// unsolicited, that overrides what they know (RFC 4861, sections 4.4 and 7.2.6); or in a
// router's.
func advertisement(mac model.MAC, a netip.Addr, router bool) []byte {
	const typeAdvertisement, isRouter, override, optionTarget = 136, 1 << 31, 1 << 29, 2
	body := []byte{typeAdvertisement, 0, 0, 0} // code 0; bytes 2 and 3 are the checksum
	flags := uint32(override)
	if router {
		flags |= isRouter
	}
	body = binary.BigEndian.AppendUint32(body, flags)
	body = append(body, a.AsSlice()...)
	body = append(body, optionTarget, 1) // in units of 8 bytes
	body = append(body, mac[:]...)

	allNodes := netip.IPv6LinkLocalAllNodes()
	pseudo := append(a.AsSlice(), allNodes.AsSlice()...) // RFC 8200, section 8.1
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(body)))
	pseudo = append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(body[2:], checksum(append(pseudo, body...)))

	const version, hopLimit = 6 << 28, 255 // a smaller one would have passed a router
	frame := ethernet(model.MAC{0x33, 0x33, 0, 0, 0, 1}, mac, unix.ETH_P_IPV6)
	frame = binary.BigEndian.AppendUint32(frame, version)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(body)))
	frame = append(frame, unix.IPPROTO_ICMPV6, hopLimit)
	frame = append(frame, a.AsSlice()...)
	frame = append(frame, allNodes.AsSlice()...)
	return append(frame, body...)
}

// ethernet begins a frame.
func ethernet(to, from model.MAC, protocol uint16) []byte {
	frame := make([]byte, 0, 86)
	frame = append(frame, to[:]...)
	frame = append(frame, from[:]...)
	return binary.BigEndian.AppendUint16(frame, protocol)
}

// checksum is that of the Internet protocols (RFC 1071), of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
