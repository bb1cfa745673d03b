package link

import (
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
