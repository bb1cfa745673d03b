package reconcile

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/spoof"
	"github.com/mybr/mybr/internal/sysctl"
)

// The names of the aspects, for Invalidate and for what operators are shown.
const (
	FirewalldAspect = "firewalld"
	FirewallAspect  = "firewall"
	SpoofAspect     = "senders"
	LinkAspect      = "links"
	SysctlAspect    = "sysctls"
	FlowAspect      = "flows"
	PortAspect      = "host ports"
)

// AspectNames lists them in the order of a pass.
func AspectNames() []string {
	return []string{FirewalldAspect, FirewallAspect, SpoofAspect, LinkAspect, SysctlAspect, FlowAspect, PortAspect}
}

// Appliers are those of the aspects that every mybr has.
type Appliers struct {
	Firewalld plan.Planner[firewalld.Set]
	Firewall  plan.Planner[firewall.Policy]
	Spoof     plan.Planner[spoof.Set] // nil: nobody checks who sends
	Links     plan.Planner[link.Set]
	Sysctls   plan.Planner[sysctl.Set]
	Flows     plan.Planner[conntrack.Set]
	Ports     plan.Planner[hostport.Set]
	// LookAtLink compares one link of a set with the host; nil: only a pass does.
	LookAtLink func(ctx context.Context, have link.Set, name string) plan.Finding
	// FirewallHint says why the packet filter may take long.
	FirewallHint string
}

// Aspects lists the aspects in the order of a pass.
//
// What may flush rules comes before them. Rules come before the links they guard, and
// before the host is made to forward. Ports come last: a port is served when what leads to
// it is there, and when flows are forgotten that began before: those would go past the
// rules to the process, from wherever they come.
//
// known is what was recorded when the process before ended: what has gone since has flows
// that may still be tracked.
func (a Appliers) Aspects(known model.Snapshot) []Aspect {
	all := []Aspect{
		Spec[firewalld.Set]{
			Name: FirewalldAspect, Hint: "does `firewall-cmd --state` answer?", Applier: a.Firewalld,
			Take:      func(h Host) firewalld.Set { return h.Firewalld },
			Followers: []string{FirewallAspect}, Remote: true, Blind: true,
		}.New(),
		Spec[firewall.Policy]{
			Name: FirewallAspect, Hint: a.FirewallHint, Applier: a.Firewall,
			Take:      func(h Host) firewall.Policy { return h.Firewall },
			Followers: []string{FlowAspect}, Guards: true,
		}.New(),
		Spec[link.Set]{
			Name: LinkAspect, Applier: a.Links,
			Take:      func(h Host) link.Set { return h.Links },
			Followers: []string{PortAspect}, // blocked links are known by their numbers
			Look:      a.LookAtLink,
		}.New(),
		Spec[sysctl.Set]{
			Name: SysctlAspect, Applier: a.Sysctls,
			Take:     func(h Host) sysctl.Set { return h.Sysctls },
			Concerns: Host.forwarded,
		}.New(),
		Spec[conntrack.Set]{
			Name: FlowAspect, Applier: a.Flows,
			Take: func(h Host) conntrack.Set {
				h.Flows.Process = conntrack.Process(h.Firewall.Process)
				return h.Flows
			},
			Background: func(error) bool { return true }, // flows end by themselves
			Invalidated: func(have conntrack.Set) conntrack.Set {
				have.Unsure = true
				return have
			},
		}.NewKnowing(conntrack.Set{Endpoints: flowEndpoints(known), Unsure: true, Partial: true}),
		Spec[hostport.Set]{
			Name: PortAspect, Applier: a.Ports,
			Take: func(h Host) hostport.Set { return h.Ports },
			// A request has its ports reserved beforehand; what another program took while mybr
			// was away is no request's failure.
			Background: func(err error) bool {
				return errors.Is(err, model.ErrConflict) || errors.Is(err, syscall.EADDRNOTAVAIL)
			},
		}.New(),
	}
	if a.Spoof == nil {
		return all
	}
	// Behind the rules of the packet filter, and before the links that are guarded: a container
	// whose sender is to be checked sends nothing before.
	return slices.Insert(all, 2, Spec[spoof.Set]{
		Name: SpoofAspect, Applier: a.Spoof,
		Take:   func(h Host) spoof.Set { return h.Spoof },
		Guards: true, Narrows: true,
	}.New())
}
