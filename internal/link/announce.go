package link

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// announce tells the host and all who are on the bridge which MAC the address of a new
// pair has. Otherwise who has lately talked to a container that had the address before
// would go on sending to the old MAC, up to a minute (base_reachable_time_ms and
// delay_first_probe_time in arp(7)). Docker announces it from 28.0 on, and earlier
// derives the MAC from the address.
func announce(v Veth, bridge int) error {
	if !v.V4.Is4() || v.MAC.IsZero() {
		return nil
	}
	if err := forgetNeighbour(v, bridge); err != nil {
		return fmt.Errorf("forget the host's neighbour entry: %w", err)
	}
	if err := sendARP(v, bridge); err != nil {
		return fmt.Errorf("send an ARP announcement: %w", err)
	}
	return nil
}

// forgetNeighbour deletes what the host knows of the address, if anything
// (rtnetlink(7), RTM_DELNEIGH).
func forgetNeighbour(v Veth, bridge int) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELNEIGH, unix.NLM_F_ACK)
	req.AddData(&neighbour{index: uint32(bridge)})
	req.AddData(nl.NewRtAttr(unix.NDA_DST, v.V4.AsSlice()))
	if err := execute(req); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// neighbour is a struct ndmsg of linux/neighbour.h for IPv4.
type neighbour struct{ index uint32 }

func (*neighbour) Len() int { return 12 }

func (n *neighbour) Serialize() []byte {
	b := make([]byte, n.Len())
	b[0] = unix.AF_INET
	binary.NativeEndian.PutUint32(b[4:], n.index)
	return b
}

// sendARP broadcasts an ARP announcement on the bridge in the container's name: a
// request in which it asks for its own address (RFC 5227, section 2.3). It leaves by
// the bridge itself, which therefore does not learn the MAC at a wrong port.
func sendARP(v Veth, bridge int) error {
	const etherARP, hardwareEther, opRequest = 0x0806, 1, 1 // RFC 826, RFC 7042
	frame := make([]byte, 0, 42)
	frame = append(frame, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	frame = append(frame, v.MAC[:]...)
	frame = binary.BigEndian.AppendUint16(frame, etherARP)
	frame = binary.BigEndian.AppendUint16(frame, hardwareEther)
	frame = binary.BigEndian.AppendUint16(frame, unix.ETH_P_IP)
	frame = append(frame, 6, 4) // lengths of a MAC and of an address
	frame = binary.BigEndian.AppendUint16(frame, opRequest)
	frame = append(frame, v.MAC[:]...)
	frame = append(frame, v.V4.AsSlice()...)
	frame = append(frame, 0, 0, 0, 0, 0, 0)
	frame = append(frame, v.V4.AsSlice()...)

	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // 0: receives nothing (packet(7))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: bridge, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}})
}
