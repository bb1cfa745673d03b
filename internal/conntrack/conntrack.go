// Package conntrack forgets tracked flows that would go on leading to where they may no
// longer lead.
//
// The nat table is asked about the first packet of a flow only (iptables(8)), and a
// flow that has been answered passes the filter. UDP has no end of a flow that the
// kernel could see, so one that a client keeps busy would follow the rules of its first
// packet for ever. TCP has one, but the kernel remembers a connection whose container is
// gone for up to five days (nf_conntrack_tcp_timeout_established) and lets a new SYN
// within it pass, to whoever has the address by then. And one that nobody has answered
// yet, because the port was reserved and not yet translated, would never be translated.
//
// Be aware: flows are looked for in the namespace of the calling thread, and by reading
// all of a family once, whatever the number of ports and addresses; none of a family in
// which there is nothing to look for.
package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// attempts is how often a dump is begun in all if it is interrupted: the kernel says
// so when what it was listing has changed meanwhile (NLM_F_DUMP_INTR).
const attempts = 5

// Change is what has happened to published ports and to containers' addresses. Only
// bindings with two addresses of one family count, since no others are translated, and
// of those that went only UDP.
type Change struct {
	Gone, Came []model.PortBinding
	Left       []netip.Addr // addresses whose containers are gone, whoever has them next
}

// Forget deletes the flows that a change has made wrong: those to a port that came
// which lead elsewhere than it does (of TCP only connections to the host itself that are
// not answered yet, of SCTP those to the host itself), and those to a port that went, or
// translated to the container's side of it; and those of every protocol that a container
// which left had at its end. To be called when the rules lead to the ports that came, and
// before their sockets answer. Flows through the host to the same port of somebody else stay. With
// nothing to look for, nothing is read.
func Forget(ctx context.Context, c Change) error {
	var errs []error
	for _, f := range families() {
		if err := f.forget(ctx, c); err != nil {
			errs = append(errs, fmt.Errorf("conntrack: %s: %w", f.name, err))
		}
	}
	return errors.Join(errs...)
}

// family is one address family.
type family struct {
	name   string
	number netlink.InetFamily
	has    func(netip.Addr) bool
}

func families() []family {
	return []family{
		{name: "IPv4", number: unix.AF_INET, has: netip.Addr.Is4},
		{name: "IPv6", number: unix.AF_INET6, has: netip.Addr.Is6},
	}
}

// forget is Forget for one family.
func (f family) forget(ctx context.Context, c Change) error {
	wrong := filter{
		gone: f.relevant(c.Gone, model.UDP),
		came: f.relevant(c.Came, model.TCP, model.UDP, model.SCTP),
		left: map[netip.Addr]bool{},
	}
	for _, a := range c.Left {
		if f.has(a) {
			wrong.left[a] = true
		}
	}
	if len(wrong.gone)+len(wrong.came)+len(wrong.left) == 0 {
		return nil
	}
	var err error
	if wrong.local, err = f.localAddresses(ctx); err != nil {
		return fmt.Errorf("addresses of the host: %w", err)
	}
	err = retry(ctx, func() error {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, f.number, &wrong)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget flows: %w", err)
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

// relevant returns the bindings of some protocols that can have translated flows in the
// family's table.
func (f family) relevant(all []model.PortBinding, protos ...model.Proto) (out []model.PortBinding) {
	for _, b := range all {
		if slices.Contains(protos, b.Proto) && f.has(b.Host.Addr()) && f.has(b.Container.Addr()) && b.Count > 0 {
			out = append(out, b)
		}
	}
	return out
}

// localAddresses returns the family's addresses of all links.
func (f family) localAddresses(ctx context.Context) (map[netip.Addr]bool, error) {
	local := map[netip.Addr]bool{}
	var addrs []netlink.Addr
	err := retry(ctx, func() (err error) {
		addrs, err = netlink.AddrList(nil, int(f.number))
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
	left       map[netip.Addr]bool
	local      map[netip.Addr]bool // the addresses of the host
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f *filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	// A container is who asks, whatever its address is made into, or who answers.
	if f.left[addr(flow.Forward.SrcIP)] || f.left[addr(flow.Reverse.SrcIP)] {
		return true
	}
	asked := netip.AddrPortFrom(addr(flow.Forward.DstIP), flow.Forward.DstPort)
	// Who answers: the container if the flow is translated, else who was asked.
	answers := netip.AddrPortFrom(addr(flow.Reverse.SrcIP), flow.Reverse.SrcPort)
	switch flow.Forward.Protocol {
	case unix.IPPROTO_UDP:
		return f.wrong(asked, answers)
	case unix.IPPROTO_TCP:
		tcp, ok := flow.ProtoInfo.(*netlink.ProtoInfoTCP)
		return ok && tcp.State == synSent && asked == answers && f.early(model.TCP, asked)
	case unix.IPPROTO_SCTP:
		return asked == answers && f.early(model.SCTP, asked)
	}
	return false
}

// synSent is TCP_CONNTRACK_SYN_SENT (linux/netfilter/nf_conntrack_tcp.h).
const synSent = 1

// early reports whether a flow to the host itself is one to a port that came: it began
// before the rules led it to the container.
func (f *filter) early(proto model.Proto, asked netip.AddrPort) bool {
	if !f.local[asked.Addr()] {
		return false
	}
	for _, b := range f.came {
		if _, ok := index(b.Host, b.Count, asked); ok && b.Proto == proto {
			return true
		}
	}
	return false
}

// wrong reports whether a UDP flow should be forgotten that asks for one address and is
// answered from another, or from the same.
func (f *filter) wrong(asked, answers netip.AddrPort) bool {
	// A flow that was never translated, to an address that is not the host's, has
	// nothing to do with a port of the host: the container's own requests, say, to a
	// resolver somewhere, if it publishes port 53.
	if asked == answers && !f.local[asked.Addr()] {
		return false
	}
	for _, b := range f.came {
		if i, ok := index(b.Host, b.Count, asked); ok && b.Proto == model.UDP {
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
