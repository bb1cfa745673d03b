package nftables

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
)

// This file is about what becomes of packets that a list does not have.

// unlisted is what becomes of them.
func unlisted(a egress.Allowed) (why string, do clause) {
	if a.Audit() {
		return "The list is only watched: what it does not have is told of, and passes.", verdict("goto " + chainAudit)
	}
	return "Nothing else may be begun.", verdict("goto " + chainRefused)
}

// refused are the chains that lists lead to with what they don't have.
func refused(untold bool) []chain {
	drop, watch := chain{name: chainRefused}, chain{name: chainAudit}
	if !untold {
		drop.add("The process is told what was refused, of so many packets at most (mybr denied).", limit(), logged(firewall.RefusedPrefix))
		watch.add("What goes on was told of when it began.", known(), verdict("return"))
		watch.add("The process is told what would have been refused, of so many packets at most (mybr denied).", limit(), logged(firewall.AuditPrefix))
	}
	drop.add("Nothing else may be begun.", verdict("drop"))
	watch.add("It is not refused.", verdict("return"))
	return []chain{drop, watch}
}

// limit matches so many packets in a second, and not more.
func limit() clause {
	return clause{fmt.Sprintf("limit rate %d/second burst %d packets", firewall.RefusedRate, firewall.RefusedBurst), []expr.Any{
		&expr.Limit{Type: expr.LimitTypePkts, Rate: firewall.RefusedRate, Unit: expr.LimitTimeSecond, Burst: firewall.RefusedBurst},
	}}
}

// logged tells of a packet, and lets it go on.
func logged(prefix string) clause {
	return clause{fmt.Sprintf("log prefix %q group %d snaplen %d", prefix, firewall.RefusedGroup, firewall.RefusedBytes), []expr.Any{
		&expr.Log{
			Key:   1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_SNAPLEN,
			Data:  []byte(prefix),
			Group: firewall.RefusedGroup, Snaplen: firewall.RefusedBytes,
		},
	}}
}
