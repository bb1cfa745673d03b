package reconcile

import (
	"slices"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/spoof"
)

// spoofPort is an endpoint's port whose sender is checked, in that mode.
func spoofPort(n model.Network, e model.Endpoint, mode string) spoof.Port {
	more := e.SpoofSet.Over(e.Spoof)
	more.Mode = ""
	listed, class := n.ICCListed(), ""
	if listed {
		class = iccList(n).Class(e.Groups())
	}
	return spoof.Port{Audited: mode == model.SpoofAudit, Listed: listed, Class: class, Link: e.HostIface(), Bridge: n.Bridge, MAC: e.MAC, V4: e.V4.Addr(), V6: e.V6.Addr(), More: more}
}

// addShares lets each port of a container send from the addresses that the container has on its
// other networks: the kernel answers from the address that it was asked at, by the interface that
// its routes name, and asks by ARP from there, too (arp_announce in ip-sysctl). Of the endpoints only
// those count whose sandbox is one of some; nil: all that have one.
func (h *Host) addShares(endpoints []*model.Endpoint, only map[string]bool, networks map[string]*model.Network, o Options) {
	sandboxes := map[string][]*model.Endpoint{}
	for _, e := range endpoints {
		if e.Sandbox != "" && (only == nil || only[e.Sandbox]) && networks[e.NetworkID] != nil {
			sandboxes[e.Sandbox] = append(sandboxes[e.Sandbox], e)
		}
	}
	for _, all := range sandboxes {
		for _, e := range all {
			n := networks[e.NetworkID]
			if len(all) == 1 || model.SpoofMode(*n, *e, o.SpoofDefault) == model.SpoofAllow {
				continue
			}
			for _, other := range all {
				if other == e {
					continue
				}
				of := o.endpoint(*other)
				for _, f := range model.Families() {
					if a := of.Address(f).Addr(); a.IsValid() {
						h.Spoof.Shares = append(h.Spoof.Shares, spoof.Share{Link: e.HostIface(), Bridge: n.Bridge, MAC: e.MAC, Addr: a})
					}
				}
			}
		}
	}
}

// sharing are the sandboxes of endpoints that have gone or come, or have changed in what addShares
// looks at. gone and came are sorted by ID.
func sharing(gone, came []*model.Endpoint) map[string]bool {
	sandboxes := map[string]bool{}
	mergeShared(gone, came, compareEndpoints, func(had, has *model.Endpoint) {
		if had != nil && has != nil && sharesSame(had, has) {
			return
		}
		for _, e := range []*model.Endpoint{had, has} {
			if e != nil && e.Sandbox != "" {
				sandboxes[e.Sandbox] = true
			}
		}
	})
	return sandboxes
}

// sharesSame reports whether all of two records of an endpoint is the same that addShares looks
// at, and that decides whether its sender is checked: publishing a port changes nothing of it.
func sharesSame(a, b *model.Endpoint) bool {
	return a.ID == b.ID && a.NetworkID == b.NetworkID && a.Sandbox == b.Sandbox && a.MAC == b.MAC && a.V4 == b.V4 && a.V6 == b.V6 &&
		a.Spoof == b.Spoof && a.SpoofSet == b.SpoofSet && a.Egress == b.Egress && a.EgressSet == b.EgressSet && a.EgressMode == b.EgressMode && a.EgressModeSet == b.EgressModeSet && a.Group == b.Group && a.GroupSet == b.GroupSet
}

// checks reports whether any sender is checked, with endpoints that have come.
func (r *renderer) checks(came []*model.Endpoint) bool {
	return len(r.host.Spoof.Ports) > 0 || slices.ContainsFunc(came, func(e *model.Endpoint) bool {
		n := r.networks[e.NetworkID]
		return n != nil && model.SpoofMode(*n, *e, r.options.SpoofDefault) != model.SpoofAllow
	})
}
