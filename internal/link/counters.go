package link

import (
	"encoding/binary"
	"errors"
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
	all, err := dump(a.kernel(), unix.RTM_GETLINK, unix.RTM_NEWLINK, linkHeader{nl.NewIfInfomsg(unix.AF_UNSPEC), bridgesOnly()}, parseCounters)
	if err != nil {
		return nil, fmt.Errorf("list bridges: %w", err)
	}
	counters := make(map[string]Counters, len(all))
	for _, l := range all {
		if l.kind == kindBridge {
			counters[l.name] = l.Counters
		}
	}
	return counters, nil
}

// bridgesOnly asks a dump of links for bridges.
func bridgesOnly() []byte {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte(kindBridge))
	return info.Serialize()
}

// counting is a link with its counters, which are those of bridges alone.
type counting struct {
	found
	Counters
}

func parseCounters(m []byte) (c counting, err error) {
	if c.found, err = parseLink(m); err != nil || c.kind != kindBridge {
		return c, err
	}
	var stats []byte
	err = attributes(m[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) {
		if kind == unix.IFLA_STATS64 {
			stats = value
		}
	})
	switch {
	case err != nil:
	case stats == nil:
		err = errors.New("the kernel tells none (IFLA_STATS64)")
	case len(stats) < 8*(statTxDropped+1):
		err = fmt.Errorf("%d bytes of IFLA_STATS64", len(stats))
	}
	if err != nil {
		return c, fmt.Errorf("counters of bridge %s: %w", c.name, err)
	}
	at := func(i int) uint64 { return binary.NativeEndian.Uint64(stats[8*i:]) }
	c.Counters = Counters{
		RxPackets: at(statRxPackets), RxBytes: at(statRxBytes), RxDropped: at(statRxDropped),
		TxPackets: at(statTxPackets), TxBytes: at(statTxBytes), TxDropped: at(statTxDropped),
	}
	return c, nil
}
