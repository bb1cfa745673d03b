package world

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// lan is a switch in a network namespace of its own, and the hosts that hang at it.
type lan struct {
	ns     *os.File
	handle *netlink.Handle
	bridge *netlink.Bridge
	hosts  []*Place
	cables int
}

// newNS makes a network namespace with lo up. It lives as long as the file is open or
// a process is in it.
func newNS() (ns *os.File, h *netlink.Handle, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		ns, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if h, err = netlink.NewHandleAt(netns.NsHandle(ns.Fd())); err != nil {
		return nil, nil, err
	}
	lo, err := h.LinkByName("lo")
	if err != nil {
		return nil, nil, err
	}
	return ns, h, h.LinkSetUp(lo)
}

func newLAN() (*lan, error) {
	ns, h, err := newNS()
	if err != nil {
		return nil, err
	}
	l := &lan{ns: ns, handle: h, bridge: &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "switch"}}}
	if err := h.LinkAdd(l.bridge); err != nil {
		return nil, fmt.Errorf("make the switch: %w", err)
	}
	return l, h.LinkSetUp(l.bridge)
}

// host adds a host with these addresses at its eth0.
func (l *lan) host(addrs ...string) (*Place, error) {
	ns, h, err := newNS()
	if err != nil {
		return nil, err
	}
	p := &Place{Name: "LAN host " + addrs[0], netns: ns, handle: h}
	l.hosts = append(l.hosts, p)
	return p, l.plug(p, addrs...)
}

// plug gives a place an eth0 that is wired to the switch, with its addresses: an IPv4
// one first.
func (l *lan) plug(p *Place, addrs ...string) error {
	l.cables++
	port := fmt.Sprintf("port%d", l.cables)
	err := l.handle.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: port, Flags: net.FlagUp, MasterIndex: l.bridge.Index},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(p.netns.Fd()),
	})
	if err != nil {
		return fmt.Errorf("plug in %s: %w", p.Name, err)
	}
	eth0, err := p.handle.LinkByName("eth0")
	if err != nil {
		return err
	}
	for i, addr := range addrs {
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		if i == 0 { // a network card has the same MAC after a reboot: neighbours remember it
			mac := append(net.HardwareAddr{2, 0}, a.IP.To4()...)
			if err := p.handle.LinkSetHardwareAddr(eth0, mac); err != nil {
				return fmt.Errorf("give %v to %s: %w", mac, p.Name, err)
			}
		}
		a.Flags = unix.IFA_F_NODAD // an IPv6 address is there at once
		if err := p.handle.AddrAdd(eth0, a); err != nil {
			return fmt.Errorf("give %s to %s: %w", addr, p.Name, err)
		}
	}
	return p.handle.LinkSetUp(eth0)
}

func (l *lan) close() {
	for _, p := range l.hosts {
		p.handle.Close()
		p.netns.Close()
	}
	l.handle.Close()
	l.ns.Close()
}

// Cable joins two places by a veth pair besides the LAN: both ends have this name, are up, and have
// no address but a link-local one.
func (p *Place) Cable(name string, to *Place) {
	p.w.t.Helper()
	p.w.must(p.handle.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: name, Flags: net.FlagUp},
		PeerName:      name,
		PeerNamespace: netlink.NsFd(to.netns.Fd()),
	}))
	end, err := to.handle.LinkByName(name)
	p.w.must(err)
	p.w.must(to.handle.LinkSetUp(end))
}

// Address gives one of a place's interfaces an address, such as 192.0.2.1/24; an IPv6 one is there at
// once.
func (p *Place) Address(name, address string) {
	p.w.t.Helper()
	link, err := p.handle.LinkByName(name)
	p.w.must(err)
	a, err := netlink.ParseAddr(address)
	p.w.must(err)
	a.Flags = unix.IFA_F_NODAD
	p.w.must(p.handle.AddrAdd(link, a))
}
