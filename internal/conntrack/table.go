package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// attempts is how often a dump is begun in all if it is interrupted: the kernel says
// so when what it was listing has changed meanwhile (NLM_F_DUMP_INTR).
const attempts = 5

// flow is one tracked flow.
type flow struct {
	proto       model.Proto
	from, asked netip.AddrPort // source and destination of its first packet; port 0 for protocols without ports
	answers     netip.AddrPort // the source of its replies: the container if the flow is translated, else asked
	translated  netip.AddrPort // the destination of its replies: from, unless its source is translated
	answered    bool           // there was a packet in the other direction
	expected    bool           // another flow has announced it (RELATED)
	tcpState    uint8          // TCP_CONNTRACK_… of linux/netfilter/nf_conntrack_tcp.h
	message     []byte         // the kernel's, without the header of netfilter's
}

// String returns "udp 10.0.0.9:4242 -> 192.0.2.2:53, which leads to 172.18.0.7:53".
func (l flow) String() string {
	text := fmt.Sprintf("%s %s -> %s", l.proto, end(l.from), end(l.asked))
	if l.answers != l.asked {
		text += ", which leads to " + end(l.answers)
	}
	return text
}

// end returns one end of a flow, without a port that is none.
func end(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// list reads the flows of a family that a query finds and returns those that match.
func list(ctx context.Context, on sockets, f model.Family, q query, match func(flow) bool) (found []flow, err error) {
	err = retry(ctx, func() error {
		found = nil
		var broken error
		req := request(f, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
		req.Sockets = on
		q.attributes(req)
		err := req.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(m []byte) bool {
			l, err := parse(m)
			switch {
			case err != nil:
				broken = err
			case match(l):
				l.message = slices.Clone(l.message) // the rest of the buffer is not kept
				found = append(found, l)
			}
			return broken == nil
		})
		return errors.Join(broken, err)
	})
	return found, err
}

// forget deletes flows, each by its addresses and its ID (CTA_ID). One that is gone is
// fine. One that has begun anew since has another ID as a rule, and stays.
func forget(ctx context.Context, on sockets, f model.Family, all []flow) error {
	var errs []error
	for _, l := range all {
		if err := context.Cause(ctx); err != nil {
			return errors.Join(append(errs, err)...)
		}
		req := request(f, nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
		req.Sockets = on
		req.AddRawData(l.message)
		err := fault.Point("conntrack: before forgetting a flow")
		if err == nil {
			_, err = req.Execute(unix.NETLINK_NETFILTER, 0)
		}
		fault.Passed("conntrack: after forgetting a flow")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("%s: %w", l, err))
		}
	}
	return errors.Join(errs...)
}

// request begins a message about flows (linux/netfilter/nfnetlink_conntrack.h).
func request(f model.Family, operation, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(int(netlink.ConntrackTable)<<8|operation, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: number(f), Version: nl.NFNETLINK_V0})
	return req
}

// number is a family as the kernel numbers it.
func number(f model.Family) uint8 {
	if f == model.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// retry calls fn until it is not interrupted. What it has found by then counts.
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

// localAddresses returns the family's addresses of all links.
func localAddresses(ctx context.Context, on *netlink.Handle, f model.Family) (map[netip.Addr]bool, error) {
	local := map[netip.Addr]bool{}
	err := retry(ctx, func() error {
		addrs, err := on.AddrList(nil, int(number(f)))
		for _, a := range addrs {
			ip, _ := netip.AddrFromSlice(a.IP)
			local[ip.Unmap()] = true
		}
		return err
	})
	return local, err
}

// IPS_EXPECTED and IPS_SEEN_REPLY (linux/netfilter/nf_conntrack_common.h).
const expected, seenReply = 1 << 0, 1 << 1

// parse reads a message of the kernel's about a flow. The packet that began it is in
// CTA_TUPLE_ORIG, the one that answers it in CTA_TUPLE_REPLY.
func parse(m []byte) (l flow, err error) {
	if len(m) < nl.SizeofNfgenmsg {
		return l, fmt.Errorf("a flow of %d bytes", len(m))
	}
	l.message = m[nl.SizeofNfgenmsg:]
	err = attributes(l.message, func(kind uint16, value []byte) (err error) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			l.proto, l.from, l.asked, err = parseTuple(value)
		case nl.CTA_TUPLE_REPLY:
			_, l.answers, l.translated, err = parseTuple(value)
		case nl.CTA_STATUS:
			if len(value) == 4 {
				status := binary.BigEndian.Uint32(value)
				l.expected, l.answered = status&expected != 0, status&seenReply != 0
			}
		case nl.CTA_PROTOINFO:
			l.tcpState, err = parseTCPState(value)
		}
		return err
	})
	return l, err
}

func parseTuple(tuple []byte) (proto model.Proto, source, destination netip.AddrPort, err error) {
	var addresses [2]netip.Addr
	var ports [2]uint16
	err = attributes(tuple, func(kind uint16, value []byte) error {
		return attributes(value, func(inner uint16, value []byte) error {
			switch {
			case kind == nl.CTA_TUPLE_IP && (inner == nl.CTA_IP_V4_SRC || inner == nl.CTA_IP_V6_SRC):
				addresses[0], _ = netip.AddrFromSlice(value)
			case kind == nl.CTA_TUPLE_IP && (inner == nl.CTA_IP_V4_DST || inner == nl.CTA_IP_V6_DST):
				addresses[1], _ = netip.AddrFromSlice(value)
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_NUM && len(value) == 1:
				proto = model.Proto(value[0])
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_SRC_PORT && len(value) == 2:
				ports[0] = binary.BigEndian.Uint16(value)
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_DST_PORT && len(value) == 2:
				ports[1] = binary.BigEndian.Uint16(value)
			}
			return nil
		})
	})
	return proto, netip.AddrPortFrom(addresses[0], ports[0]), netip.AddrPortFrom(addresses[1], ports[1]), err
}

func parseTCPState(info []byte) (state uint8, err error) {
	err = attributes(info, func(kind uint16, value []byte) error {
		if kind != nl.CTA_PROTOINFO_TCP {
			return nil
		}
		return attributes(value, func(kind uint16, value []byte) error {
			if kind == nl.CTA_PROTOINFO_TCP_STATE && len(value) == 1 {
				state = value[0]
			}
			return nil
		})
	})
	return state, err
}

// attributes calls fn for each attribute of a part of a message (struct nlattr of
// linux/netlink.h).
func attributes(part []byte, fn func(kind uint16, value []byte) error) error {
	all, err := nl.ParseRouteAttr(part)
	if err != nil {
		return err
	}
	for _, a := range all {
		if err := fn(a.Attr.Type&nl.NLA_TYPE_MASK, a.Value); err != nil {
			return err
		}
	}
	return nil
}
