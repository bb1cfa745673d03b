package reconcile

import (
	"slices"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/spoof"
)

// spoofPort is an endpoint's port whose sender is checked.
func spoofPort(n model.Network, e model.Endpoint) spoof.Port {
	more := e.SpoofSet.Over(e.Spoof)
	more.Mode = ""
	return spoof.Port{Link: e.HostIface(), Bridge: n.Bridge, MAC: e.MAC, V4: e.V4.Addr(), V6: e.V6.Addr(), More: more}
}

// addShares lets each port of a container send from the addresses that the container has on its
// other networks: the kernel answers from the address that it was asked at, by the interface that
// its routes name, and asks by ARP from there, too (arp_announce in ip-sysctl).
func (h *Host) addShares(s model.Snapshot, networks map[string]*model.Network, o Options) {
	if len(h.Spoof.Ports) == 0 {
		return
	}
	sandboxes := map[string][]*model.Endpoint{}
	for i := range s.Endpoints {
		if e := &s.Endpoints[i]; e.Sandbox != "" && networks[e.NetworkID] != nil {
			sandboxes[e.Sandbox] = append(sandboxes[e.Sandbox], e)
		}
	}
	for _, all := range sandboxes {
		for _, e := range all {
			n := networks[e.NetworkID]
			if len(all) == 1 || !model.SpoofRefused(*n, *e, o.SpoofRefused) {
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

// shareChanges reports whether one of some endpoints has others in its sandbox, before or after.
func shareChanges(before, after []model.Endpoint, changed []*model.Endpoint) bool {
	sandboxes := map[string]bool{}
	for _, e := range changed {
		if e.Sandbox != "" {
			sandboxes[e.Sandbox] = true
		}
	}
	if len(sandboxes) == 0 {
		return false
	}
	for _, list := range [][]model.Endpoint{before, after} {
		seen := map[string]bool{}
		for i := range list {
			sandbox := list[i].Sandbox
			if sandboxes[sandbox] && seen[sandbox] {
				return true
			}
			seen[sandbox] = sandboxes[sandbox]
		}
	}
	return false
}

// checks reports whether any sender is checked, with endpoints that have come.
func (r *renderer) checks(came []*model.Endpoint) bool {
	return len(r.host.Spoof.Ports) > 0 || slices.ContainsFunc(came, func(e *model.Endpoint) bool {
		n := r.networks[e.NetworkID]
		return n != nil && model.SpoofRefused(*n, *e, r.options.SpoofRefused)
	})
}
