package iptables

import (
	"fmt"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
)

// This file is about what becomes of packets that a list does not have.

// unlisted is the last rule of a list's chains.
func unlisted(a egress.Allowed) rule {
	if a.Audit() {
		return rule{"-g " + chainAudit, "The list is only watched: what it does not have is told of, and passes."}
	}
	return rule{"-g " + chainRefused, "Nothing else may be begun."}
}

// refused are the chains that lists lead to with what they don't have: each is there while some
// list leads to it.
func refused(all map[egress.Allowed]bool, untold bool) (chains []chain) {
	enforced, watched := false, false
	for a := range all {
		enforced, watched = enforced || !a.Audit(), watched || a.Audit()
	}
	if enforced {
		c := chain{name: chainRefused, strict: true}
		if !untold {
			c.add("", "", rule{tell(firewall.RefusedPrefix), "The process is told what was refused, of so many packets at most (mybr denied)."})
		}
		c.add("", "", rule{"-j DROP", "Nothing else may be begun."})
		chains = append(chains, c)
	}
	if watched {
		c := chain{name: chainAudit, strict: true}
		if !untold {
			c.add("", "", rule{"-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN", "What goes on was told of when it began."},
				rule{tell(firewall.AuditPrefix), "The process is told what would have been refused, of so many packets at most (mybr denied)."})
		}
		c.add("", "", rule{"-j RETURN", "It is not refused."})
		chains = append(chains, c)
	}
	return chains
}

// tell is the match and the target of what is told, as iptables-save(8) prints them.
func tell(prefix string) string {
	return fmt.Sprintf("-m limit --limit %d/sec --limit-burst %d -j NFLOG --nflog-prefix %s --nflog-group %d --nflog-size %d",
		firewall.RefusedRate, firewall.RefusedBurst, prefix, firewall.RefusedGroup, firewall.RefusedBytes)
}
