package model

import (
	"cmp"
	"slices"
)

// Same reports whether two records are deeply equal. One that a later snapshot has taken over
// unchanged shares its memory, and is known to be the same at once.
func (n *Network) Same(o *Network) bool {
	return n.ID == o.ID && n.Bridge == o.Bridge && n.Owned == o.Owned &&
		n.BridgeMAC == o.BridgeMAC && n.MTU == o.MTU && n.Internal == o.Internal && n.ICC == o.ICC && n.IfacePrefix == o.IfacePrefix &&
		n.HostBinding == o.HostBinding && sameList(n.Routes, o.Routes) && n.NoAnnounce == o.NoAnnounce && sameList(n.Trusted, o.Trusted) &&
		n.Engine == o.Engine && n.V4 == o.V4 && n.V6 == o.V6 && sameLimits(n.From, o.From) && sameLimits(n.FromSet, o.FromSet) &&
		n.Policy == o.Policy && n.PolicySet == o.PolicySet && n.Spoof == o.Spoof && n.SpoofSet == o.SpoofSet &&
		n.Egress == o.Egress && n.EgressSet == o.EgressSet && n.EgressMode == o.EgressMode && n.EgressModeSet == o.EgressModeSet && n.ICCList == o.ICCList && n.ICCSet == o.ICCSet
}

// Same reports whether two records are deeply equal, as that of a Network does.
func (e *Endpoint) Same(o *Endpoint) bool {
	return e.ID == o.ID && e.NetworkID == o.NetworkID && e.MAC == o.MAC && e.MACGiven == o.MACGiven && e.V4 == o.V4 && e.V6 == o.V6 &&
		e.Sandbox == o.Sandbox && sameList(e.Ports, o.Ports) && sameList(e.OpenV4, o.OpenV4) && sameList(e.OpenV6, o.OpenV6) &&
		sameList(e.Wanted, o.Wanted) && sameList(e.Added, o.Added) && sameList(e.Removed, o.Removed) && sameLimits(e.From, o.From) && sameLimits(e.FromSet, o.FromSet) &&
		e.Policy == o.Policy && e.PolicySet == o.PolicySet && e.Spoof == o.Spoof && e.SpoofSet == o.SpoofSet &&
		e.Egress == o.Egress && e.EgressSet == o.EgressSet && e.EgressMode == o.EgressMode && e.EgressModeSet == o.EgressModeSet && e.Group == o.Group && e.GroupSet == o.GroupSet
}

func sameLimits(a, b []Limit) bool {
	return slices.EqualFunc(a, b, func(a, b Limit) bool { return a.Same(b) && slices.Equal(a.From, b.From) && slices.Equal(a.Via, b.Via) })
}

func sameList[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// Compare orders bindings by protocol, host address and port, and by where they lead.
func (b PortBinding) Compare(o PortBinding) int {
	if c := cmp.Compare(b.Proto, o.Proto); c != 0 {
		return c
	}
	if c := b.Host.Compare(o.Host); c != 0 {
		return c
	}
	return cmp.Or(b.Container.Compare(o.Container), cmp.Compare(b.Count, o.Count))
}
