package link

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Counters is what the kernel has counted of a link since it was made (struct
// rtnl_link_stats64 of linux/if_link.h). A bridge counts what passes between its ports and
// the host, and so the world; not what its ports send each other.
type Counters struct {
	RxPackets, RxBytes, RxDropped uint64 // received by the host
	TxPackets, TxBytes, TxDropped uint64 // sent by the host
}

// Where the counters are in struct rtnl_link_stats64, each of 8 bytes.
const (
	statRxPackets = 0
	statTxPackets = 1
	statRxBytes   = 2
	statTxBytes   = 3
	statRxDropped = 6
	statTxDropped = 7
)

// BridgeCounters returns the counters of every bridge of the namespace, by name: one
// request, whatever the number of other links (kernels before 4.6 answer with all links,
// and the others are passed over).
func (a *Applier) BridgeCounters() (map[string]Counters, error) {
	msgs, err := a.kernel().dump(unix.RTM_GETLINK, unix.RTM_NEWLINK, bridgesOnly())
	if err != nil {
		return nil, fmt.Errorf("list bridges: %w", err)
	}
	counters := make(map[string]Counters, len(msgs))
	for _, m := range msgs {
		l, err := parseLink(m)
		if err != nil {
			return nil, fmt.Errorf("list bridges: %w", err)
		}
		if l.kind != kindBridge {
			continue
		}
		if counters[l.name], err = parseCounters(m); err != nil {
			return nil, fmt.Errorf("counters of bridge %s: %w", l.name, err)
		}
	}
	return counters, nil
}

// bridgesHeader asks a dump of links for bridges.
type bridgesHeader struct {
	*nl.IfInfomsg
	attrs []byte
}

func bridgesOnly() bridgesHeader {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte(kindBridge))
	return bridgesHeader{nl.NewIfInfomsg(unix.AF_UNSPEC), info.Serialize()}
}

func (h bridgesHeader) Len() int { return h.IfInfomsg.Len() + len(h.attrs) }

func (h bridgesHeader) Serialize() []byte { return append(h.IfInfomsg.Serialize(), h.attrs...) }

func parseCounters(m []byte) (c Counters, err error) {
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfInfomsg:])
	if err != nil {
		return c, err
	}
	for _, a := range attrs {
		if a.Attr.Type != unix.IFLA_STATS64 {
			continue
		}
		if len(a.Value) < 8*(statTxDropped+1) {
			return c, fmt.Errorf("%d bytes of IFLA_STATS64", len(a.Value))
		}
		at := func(i int) uint64 { return binary.NativeEndian.Uint64(a.Value[8*i:]) }
		return Counters{
			RxPackets: at(statRxPackets), RxBytes: at(statRxBytes), RxDropped: at(statRxDropped),
			TxPackets: at(statTxPackets), TxBytes: at(statTxBytes), TxDropped: at(statTxDropped),
		}, nil
	}
	return c, fmt.Errorf("the kernel tells none (IFLA_STATS64)")
}
