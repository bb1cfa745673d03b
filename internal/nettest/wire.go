package nettest

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// End is one end of a wire. Only Name is needed.
type End struct {
	Name      string
	Addresses []string // as "192.0.2.1/24"
	Master    string   // a bridge that the end becomes a port of
	MAC       string
	MTU       int // 0: the kernel's default
}

// Connect joins two hosts by a veth pair, both ends up and ready to send. So is a bridge
// that an end becomes a port of, if that is up.
func (h *Host) Connect(here End, peer *Host, there End) {
	h.t.Helper()
	h.In(func() {
		pair := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: here.Name, MTU: here.MTU},
			PeerName:      there.Name,
			PeerNamespace: netlink.NsFd(peer.ns),
		}
		if err := netlink.LinkAdd(pair); err != nil {
			h.t.Fatalf("%s: veth %s to %s of %s: %v", h.Name, here.Name, there.Name, peer.Name, err)
		}
	})
	h.setup(here)
	peer.setup(there)
	h.ready(here.Name)
	peer.ready(there.Name)
}

// Adopt moves a link of another host into this one, as Docker does with a
// container's end of a veth pair: renamed to end.Name, addressed, up. If the other end
// of the pair is up, both are ready to send, and so are the bridges that they are ports of.
func (h *Host) Adopt(from *Host, link string, end End) {
	h.t.Helper()
	other := ""
	from.In(func() {
		l, err := netlink.LinkByName(link)
		if err == nil && l.Type() == "veth" {
			o, err := netlink.LinkByIndex(l.Attrs().ParentIndex)
			if err == nil && o.Attrs().Flags&net.FlagUp != 0 {
				other = o.Attrs().Name
			}
		}
		if err == nil {
			err = netlink.LinkSetNsFd(l, int(h.ns))
		}
		if err != nil {
			h.t.Fatalf("move %s from %s to %s: %v", link, from.Name, h.Name, err)
		}
	})
	h.In(func() {
		l, err := netlink.LinkByName(link)
		if err == nil && end.Name != link {
			err = netlink.LinkSetName(l, end.Name)
		}
		if err != nil {
			h.t.Fatalf("%s: rename %s to %s: %v", h.Name, link, end.Name, err)
		}
	})
	h.setup(end)
	if other != "" {
		h.ready(end.Name)
		from.ready(other)
	}
}

// Route adds a route: a destination such as "0.0.0.0/0" by way of an address.
func (h *Host) Route(destination, via string) {
	h.t.Helper()
	h.In(func() {
		_, dst, err := net.ParseCIDR(destination)
		if err != nil {
			h.t.Fatal(err)
		}
		if err := netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}); err != nil {
			h.t.Fatalf("%s: route %s via %s: %v", h.Name, destination, via, err)
		}
	})
}

// Address adds an address such as "192.0.2.1/24" to a link.
func (h *Host) Address(link, address string) {
	h.t.Helper()
	h.In(func() {
		if err := addAddress(link, address); err != nil {
			h.t.Fatalf("%s: %v", h.Name, err)
		}
	})
}

// ready waits until a link that is up can send, and answers for its addresses; and then
// until the bridge that it is a port of can, if that is up. The kernel notices later, by
// itself, that a link has got a carrier, and drops what is sent before (operstates.rst): a
// bridge gets its carrier from its first port that forwards, so its turn comes behind that
// port's. And it lets a link listen for neighbours that ask for a new IPv6 address (at its
// solicited-node multicast address; RFC 4291, section 2.7.1) from a work queue, which takes
// its time on a busy host; an unheard question is repeated after 1 s.
func (h *Host) ready(link string) {
	h.t.Helper()
	master := ""
	Eventually(h.t, 10*time.Second, func() (err error) {
		h.In(func() { master, err = sends(link) })
		if err != nil {
			err = fmt.Errorf("%s: %w", h.Name, err)
		}
		return err
	})
	if master != "" {
		h.ready(master)
	}
}

// sends returns an error unless a link can send and answers for its addresses; otherwise the
// name of the bridge that it is a port of, if that is up and the port forwards.
func sends(link string) (master string, err error) {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return "", err
	}
	if l.Attrs().OperState != netlink.OperUp {
		return "", fmt.Errorf("link %s is %s", link, l.Attrs().OperState)
	}
	if err := listens(l); err != nil || l.Attrs().MasterIndex == 0 {
		return "", err
	}
	bridge, err := netlink.LinkByIndex(l.Attrs().MasterIndex)
	if err != nil {
		return "", fmt.Errorf("master of link %s: %w", link, err)
	}
	if bridge.Type() != "bridge" || bridge.Attrs().Flags&net.FlagUp == 0 {
		return "", nil
	}
	return bridge.Attrs().Name, nil
}

// listens returns an error unless a link listens at the solicited-node multicast address
// of each of its IPv6 addresses.
func listens(l netlink.Link) error {
	addresses, err := netlink.AddrList(l, netlink.FAMILY_V6)
	if err != nil || len(addresses) == 0 {
		return err
	}
	groups, err := os.ReadFile("/proc/thread-self/net/igmp6") // each line: index, name, address in hexadecimal, …
	if err != nil {
		return err
	}
	for _, a := range addresses {
		group := fmt.Sprintf(" ff0200000000000000000001ff%x ", []byte(a.IP[13:]))
		if !slices.ContainsFunc(strings.Split(string(groups), "\n"), func(line string) bool {
			return strings.Contains(line, " "+l.Attrs().Name+" ") && strings.Contains(line, group)
		}) {
			return fmt.Errorf("link %s does not listen for questions after %s", l.Attrs().Name, a.IP)
		}
	}
	return nil
}

// setup makes a link what an End says, and up.
func (h *Host) setup(end End) {
	h.t.Helper()
	h.In(func() {
		if err := end.apply(); err != nil {
			h.t.Fatalf("%s: %v", h.Name, err)
		}
	})
}

func (e End) apply() error {
	link, err := netlink.LinkByName(e.Name)
	if err != nil {
		return fmt.Errorf("link %s: %w", e.Name, err)
	}
	if e.MAC != "" {
		mac, err := net.ParseMAC(e.MAC)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
			return fmt.Errorf("link %s: MAC %s: %w", e.Name, e.MAC, err)
		}
	}
	if e.MTU != 0 {
		if err := netlink.LinkSetMTU(link, e.MTU); err != nil {
			return fmt.Errorf("link %s: MTU %d: %w", e.Name, e.MTU, err)
		}
	}
	if e.Master != "" {
		master, err := netlink.LinkByName(e.Master)
		if err == nil {
			err = netlink.LinkSetMaster(link, master)
		}
		if err != nil {
			return fmt.Errorf("link %s: master %s: %w", e.Name, e.Master, err)
		}
	}
	for _, a := range e.Addresses {
		if err := addAddress(e.Name, a); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s: up: %w", e.Name, err)
	}
	return nil
}

func addAddress(link, address string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("link %s: %w", link, err)
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	if addr.IP.To4() == nil {
		// Otherwise it is tentative for a moment, in which packets leave with another source.
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrReplace(l, addr); err != nil {
		return fmt.Errorf("link %s: address %s: %w", link, address, err)
	}
	return nil
}
