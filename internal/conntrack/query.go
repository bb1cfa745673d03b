package conntrack

import (
	"context"
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// The kernel tells flows apart while it lists them (linux/netfilter/nfnetlink_conntrack.h, from
// Linux 5.8 on; older ones list all). What it leaves out need not be copied and read here,
// which takes ten times as long; but it goes through all of its table for each query.
const (
	ctaFilter, ctaFilterOrig, ctaFilterReply = 25, 1, 2 // CTA_FILTER, CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS

	// Which parts of a tuple count (CTA_FILTER_FLAG of net/netfilter/nf_conntrack_netlink.c).
	bySource, byProto, bySourcePort, byDestinationPort = 1 << 0, 1 << 3, 1 << 4, 1 << 5

	// manyFlows is from how many flows on it is worth while to have the kernel tell them apart,
	// and mostQueries up to how many queries.
	manyFlows   = 2000
	mostQueries = 6

	ctaStatsGlobal, ctaStatsGlobalEntries = 5, 1 // IPCTNL_MSG_CT_GET_STATS, CTA_STATS_GLOBAL_ENTRIES
)

// query is what flows have in common. The zero value is all.
type query struct {
	proto     model.Proto // 0: any
	port      uint16      // that the first packet was sent to; 0: any. With a protocol
	from      netip.Addr  // that the first packet came from; zero: any. Of IPv4
	reply     netip.Addr  // that replies come from; likewise
	replyPort uint16      // likewise; 0: any. With a protocol
}

// queries are what find all that is stale, among others: one for all flows if there are few or
// too much is looked for, or an IPv6 address: of those the kernel lists all others
// (ctnetlink_filter_match_tuple, as of Linux 6.18).
func (f *filter) queries(tracked int) (all []query) {
	if tracked < manyFlows || len(f.subnets)+len(f.limits)+len(f.leaving)+len(f.apart) > 0 {
		return []query{{}}
	}
	for a := range f.left {
		if a.Is6() {
			return []query{{}}
		}
		all = append(all, query{from: a}, query{reply: a})
	}
	asked := func(b model.PortBinding) query {
		q := query{proto: b.Proto}
		if b.Count == 1 { // a range is no tuple
			q.port = b.Host.Port()
		}
		return q
	}
	for _, b := range f.came {
		all = append(all, asked(b))
	}
	for _, b := range f.gone {
		q := query{proto: b.Proto}
		if b.Container.Addr().Is4() {
			q.reply = b.Container.Addr()
		}
		if b.Count == 1 {
			q.replyPort = b.Container.Port()
		}
		all = append(all, asked(b), q)
	}
	seen := map[query]bool{}
	distinct := all[:0]
	for _, q := range all {
		if !seen[q] {
			seen[q] = true
			distinct = append(distinct, q)
		}
	}
	if len(distinct) > mostQueries {
		return []query{{}}
	}
	return distinct
}

// attributes has the kernel list what matches alone.
func (q query) attributes(req *nl.NetlinkRequest) {
	if q == (query{}) {
		return
	}
	var orig, reply uint32
	tuple := func(kind int, source netip.Addr, sourcePort, destination uint16, flags *uint32) {
		if !source.IsValid() && q.proto == 0 {
			return
		}
		t := nl.NewRtAttr(unix.NLA_F_NESTED|kind, nil)
		if source.IsValid() {
			t.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil).AddRtAttr(nl.CTA_IP_V4_SRC, source.AsSlice())
			*flags |= bySource
		}
		if q.proto != 0 {
			p := t.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
			p.AddRtAttr(nl.CTA_PROTO_NUM, nl.Uint8Attr(uint8(q.proto)))
			*flags |= byProto
			if sourcePort != 0 {
				p.AddRtAttr(nl.CTA_PROTO_SRC_PORT, nl.BEUint16Attr(sourcePort))
				*flags |= bySourcePort
			}
			if destination != 0 {
				p.AddRtAttr(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(destination))
				*flags |= byDestinationPort
			}
		}
		req.AddData(t)
	}
	tuple(nl.CTA_TUPLE_ORIG, q.from, 0, q.port, &orig)
	tuple(nl.CTA_TUPLE_REPLY, q.reply, q.replyPort, 0, &reply)
	flags := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
	flags.AddRtAttr(ctaFilterOrig, nl.Uint32Attr(orig))
	flags.AddRtAttr(ctaFilterReply, nl.Uint32Attr(reply))
	req.AddData(flags)
}

// tracked returns how many flows the namespace has, of all families.
func tracked(on sockets) (n int, err error) {
	req := request(model.IPv4, ctaStatsGlobal, unix.NLM_F_ACK)
	req.Sockets = on
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	for _, m := range msgs {
		if len(m) < nl.SizeofNfgenmsg {
			continue
		}
		err = attributes(m[nl.SizeofNfgenmsg:], func(kind uint16, value []byte) error {
			if kind == ctaStatsGlobalEntries && len(value) == 4 {
				n = int(binary.BigEndian.Uint32(value))
			}
			return nil
		})
	}
	return n, err
}

// listAll lists what matches and is found by the queries, each flow once.
func listAll(ctx context.Context, on sockets, f model.Family, queries []query, match func(flow) bool) (found []flow, err error) {
	seen := map[string]bool{}
	for _, q := range queries {
		some, err := list(ctx, on, f, q, match)
		if err != nil {
			return nil, err
		}
		for _, l := range some {
			key := l.String() + l.translated.String()
			if !seen[key] {
				seen[key] = true
				found = append(found, l)
			}
		}
	}
	return found, nil
}
