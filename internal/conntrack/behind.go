package conntrack

import (
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// Behind returns what must be true of flows before requests are answered. To look for flows,
// the kernel goes through all of its table, which takes it 10 ms even if that is empty
// (nf_conntrack_buckets, 262144 of them on hosts with more than 4 GiB). Those of ports and
// addresses that went are looked for a moment later: the rules let none begin any more. But
// they are looked for at once if the address is another endpoint's already, and so are those
// to a port that comes, which must not go on when its socket answers, and those of a network
// that goes.
func Behind(have, want Set) Set {
	if have.Unsure || !slices.Equal(have.Subnets, want.Subnets) {
		return want
	}
	c := difference(&have, want)
	first := want
	first.Gone, first.Left = c.gone, c.left
	for _, f := range model.Families() {
		if len(relevant(f, c.came, model.TCP, model.UDP, model.SCTP)) > 0 {
			return want
		}
	}
	if slices.ContainsFunc(want.Endpoints, func(e Endpoint) bool {
		return slices.ContainsFunc([]netip.Addr{e.V4, e.V6}, func(a netip.Addr) bool { return a.IsValid() && slices.Contains(c.left, a) })
	}) {
		return want
	}
	return first
}
