// Package conntrack forgets tracked UDP flows that would go on leading a published
// port to where it no longer leads.
//
// The nat table is asked about the first packet of a flow only (iptables(8)). UDP has
// no end of a flow that the kernel could see, so one that a client keeps busy would
// follow the rules of its first packet for ever. TCP and SCTP connections are left
// alone: they end by themselves, or with the container.
//
// Be aware: flows are looked for in the namespace of the calling thread, IPv4 only,
// and by reading all of them once, whatever the number of ports.
package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// attempts is how often a dump is begun in all if it is interrupted: the kernel says
// so when what it was listing has changed meanwhile (NLM_F_DUMP_INTR).
const attempts = 5

// Change is what has happened to published ports. Only UDP bindings with two IPv4
// addresses count; others are left out.
type Change struct {
	Gone, Came []model.PortBinding
}

// Forget deletes the flows that a change has made wrong: those to a port that came
// which lead elsewhere than it does, and those to a port that went, or translated to
// the container's side of it. Flows through the host to the same port of somebody else
// stay. With nothing to look for, nothing is read.
func Forget(ctx context.Context, c Change) error {
	f := filter{gone: relevant(c.Gone), came: relevant(c.Came)}
	if len(f.gone)+len(f.came) == 0 {
		return nil
	}
	var err error
	if f.local, err = localAddresses(ctx); err != nil {
		return fmt.Errorf("conntrack: addresses of the host: %w", err)
	}
	err = retry(ctx, func() error {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, &f)
		return err
	})
	if err != nil {
		return fmt.Errorf("conntrack: forget UDP flows: %w", err)
	}
	return nil
}

// retry calls fn until it is not interrupted. What it has done before counts: flows
// that were deleted stay so.
func retry(ctx context.Context, fn func() error) (err error) {
	for range attempts {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err = fn()
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return err
}

// relevant returns the bindings that can have UDP flows in the IPv4 table.
func relevant(all []model.PortBinding) (out []model.PortBinding) {
	for _, b := range all {
		if b.Proto == model.UDP && b.Host.Addr().Is4() && b.Container.Addr().Is4() && b.Count > 0 {
			out = append(out, b)
		}
	}
	return out
}

// localAddresses returns the IPv4 addresses of all links.
func localAddresses(ctx context.Context) (map[netip.Addr]bool, error) {
	local := map[netip.Addr]bool{}
	var addrs []netlink.Addr
	err := retry(ctx, func() (err error) {
		addrs, err = netlink.AddrList(nil, netlink.FAMILY_V4)
		return err
	})
	for _, a := range addrs {
		local[addr(a.IP)] = true
	}
	return local, err
}

// filter matches the flows to forget.
type filter struct {
	gone, came []model.PortBinding
	local      map[netip.Addr]bool // the addresses of the host
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f *filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	asked := netip.AddrPortFrom(addr(flow.Forward.DstIP), flow.Forward.DstPort)
	// Who answers: the container if the flow is translated, else who was asked.
	answers := netip.AddrPortFrom(addr(flow.Reverse.SrcIP), flow.Reverse.SrcPort)
	return f.wrong(asked, answers)
}

// wrong reports whether a flow should be forgotten that asks for one address and is
// answered from another, or from the same.
func (f *filter) wrong(asked, answers netip.AddrPort) bool {
	// A flow that was never translated, to an address that is not the host's, has
	// nothing to do with a port of the host: the container's own requests, say, to a
	// resolver somewhere, if it publishes port 53.
	if asked == answers && !f.local[asked.Addr()] {
		return false
	}
	for _, b := range f.came {
		if i, ok := index(b.Host, b.Count, asked); ok {
			return answers != netip.AddrPortFrom(b.Container.Addr(), b.Container.Port()+i)
		}
	}
	for _, b := range f.gone {
		if _, ok := index(b.Host, b.Count, asked); ok {
			return true
		}
		if _, ok := index(b.Container, b.Count, answers); ok && asked != answers {
			return true
		}
	}
	return false
}

// index returns which of count addresses, beginning with first, an address is. An
// unspecified first matches every address.
func index(first netip.AddrPort, count uint16, a netip.AddrPort) (i uint16, ok bool) {
	if !first.Addr().IsUnspecified() && first.Addr() != a.Addr() {
		return 0, false
	}
	i = a.Port() - first.Port()
	return i, a.Port() >= first.Port() && i < count
}

// addr is an address as netlink gives it, an IPv4 address never mapped into IPv6.
func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
